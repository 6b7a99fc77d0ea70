"""`medge results`: what was measured: listed, shown, exported, imported and removed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.errors import InputError, UsageError
from medge.verbs.group import WithDefault
from medge.verbs.options import EXISTING, output_options

if TYPE_CHECKING:
    from medge.bench.result import Result
    from medge.bench.store import Store
    from medge.pages.results import Imported, Line

NUMBER = click.IntRange(1)


@click.group(cls=WithDefault, name="results", short_help="What was measured: list, show, export.")
def command() -> None:
    """Show, exchange and remove the results that `medge profile` and others stored.

    They lie in MEDGE_HOME/results.sqlite; docs/results-store.md says how.
    """


@command.command("list", short_help="One row a result; meant when no verb is typed.")
@click.option("--bundle", metavar="NAME|PATH|DIGEST", help="Only those of this bundle.")
@click.option("--device", metavar="NAME", help="A part of its name; here for this machine.")
@click.option("--backend", metavar="NAME")
@click.option("--precision", metavar="NAME")
@click.option("--since", metavar="AGE|DATE", help="As 12h, 90d, 2w or 2026-11-21.")
@click.option("-n", "most", type=NUMBER, default=20, show_default=True, help="The newest so many.")
@output_options
def list_(
    *,
    bundle: str | None,
    device: str | None,
    backend: str | None,
    precision: str | None,
    since: str | None,
    most: int,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """List results, the newest last.

    p50 and p99 are those of the network alone; p99 is - where the samples cannot bound it.
    """
    from medge.bench.selection import Wanted, moment, newest
    from medge.bench.store import Store
    from medge.output import write_page
    from medge.pages.results import line_of, list_columns, list_object, list_rows
    from medge.profiles.device import identity

    wanted = Wanted(
        bundle=bundle and _digest(bundle),
        device=device,
        backend=backend,
        precision=precision,
        since=since and moment(since),
    )
    here = identity()
    with Store.open(writable=False) as store:
        stored = len(store.numbers())
        lines = [line_of(number, one, here) for number, one in newest(store, wanted, here, most)]
    form = "json" if as_json else form
    write_page(form, list_object(lines, stored), list_rows(lines, form), output, list_columns(form))


@command.command(short_help="Everything that is known of one result.")
@click.argument("number", type=NUMBER, metavar="N")
@output_options
def show(*, number: int, form: str, as_json: bool, output: Path | None) -> None:
    """Show result N: latencies with intervals, memory, energy, doubts and evidence."""
    from medge.bench.store import Store
    from medge.output import write_page
    from medge.pages.results import result_object, result_rows
    from medge.profiles.device import identity

    with Store.open(writable=False) as store:
        found = store.get(number)
    here = identity()
    form = "json" if as_json else form
    write_page(form, result_object(number, found, here), result_rows(number, found, here), output)


@command.command(short_help="Write results for other tools and machines.")
@click.argument("numbers", type=NUMBER, nargs=-1, required=True, metavar="N...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "jsonl", "csv", "pytest-benchmark"]),
    default="json",
    show_default=True,
)
@click.option("--samples", is_flag=True, help="With csv: one row a sample instead of a stage.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def export(*, numbers: tuple[int, ...], form: str, samples: bool, output: Path | None) -> None:
    """Export results N...

    json and jsonl hold everything and can be imported again; docs/profile.schema.json describes
    them. csv is for spreadsheets, pytest-benchmark for `pytest-benchmark compare`.
    """
    from medge.bench.store import Store
    from medge.output import write_text

    if samples and form != "csv":
        raise UsageError("export-samples", "--samples is for --format csv; json has all samples.")
    with Store.open(writable=False) as store:
        found = [(number, store.get(number)) for number in dict.fromkeys(numbers)]
    write_text(_exported(found, form, samples=samples), output)


@command.command("import", short_help="Add results of other machines, or again.")
@click.argument("files", type=EXISTING, nargs=-1, required=True, metavar="FILE...")
@output_options
def import_(*, files: tuple[Path, ...], form: str, as_json: bool, output: Path | None) -> None:
    """Import exported results from each FILE.

    Each is checked and added whole, or refused and the others go on (exit code 3). One that is
    there already is not added again; nothing is ever overwritten.
    """
    from medge.bench.store import Store
    from medge.output import write_page
    from medge.pages.results import import_object, import_rows

    with Store.open() as store:
        found = [one for path in files for one in _imported(store, path)]
    code = InputError.exit_code if any(one.outcome == "refused" for one in found) else 0
    write_page(
        "json" if as_json else form,
        import_object(found, code),
        import_rows(found),
        output,
        ("file", "what", "why"),
    )
    if code:
        raise SystemExit(code)


@command.command(short_help="Remove results, and give their space back.")
@click.argument("numbers", type=NUMBER, nargs=-1, metavar="[N...]")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="All but the newest N.")
@click.option("--older-than", metavar="AGE|DATE", help="As 12h, 90d, 2w or 2026-11-21.")
@click.option("--yes", is_flag=True, help="Do not ask; needed without a terminal.")
@output_options
def prune(
    *,
    numbers: tuple[int, ...],
    keep: int | None,
    older_than: str | None,
    yes: bool,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Remove results N..., or those that --keep or --older-than names, after saying which.

    All or none go. Their numbers are not given again.
    """
    from medge.bench.selection import read
    from medge.bench.store import Store
    from medge.output import write_page
    from medge.pages.results import line_of, prune_object, prune_rows
    from medge.profiles.device import identity

    if [bool(numbers), keep is not None, older_than is not None].count(True) != 1:
        raise UsageError(
            "prune-what", "Say what goes: numbers, --keep N or --older-than 90d, one of the three."
        )
    here = identity()
    with Store.open(writable=False) as store:
        going = _going(store, numbers, keep, older_than)
        lines = [line_of(number, read(store, number), here) for number in going]
    shrunk = None
    if lines:
        if not yes and not _agreed(lines):
            click.echo("nothing was removed", err=True)
            return
        with Store.open() as store:
            store.remove(going)
            shrunk = store.shrink()
    form = "json" if as_json else form
    write_page(form, prune_object(lines, shrunk), prune_rows(lines, shrunk), output)


def _digest(bundle: str) -> str:
    """Return the digest that a name, a path or the digest itself means."""
    from medge.bench.selection import is_digest
    from medge.engine.bundle import find_bundle, open_bundle

    if is_digest(bundle):
        return bundle
    with open_bundle(find_bundle(bundle)) as opened:
        return opened.digest


def _exported(found: Sequence[tuple[int, Result]], form: str, *, samples: bool) -> str:
    import msgspec

    import medge
    from medge.bench import exchange_forms
    from medge.bench.exchange import encode
    from medge.console import rows_text

    if form == "csv":
        rows = exchange_forms.sample_rows(found) if samples else exchange_forms.summary_rows(found)
        columns = exchange_forms.SAMPLE_COLUMNS if samples else exchange_forms.SUMMARY_COLUMNS
        return rows_text("csv", columns, rows, terminal=False)
    if form == "pytest-benchmark":
        run = exchange_forms.pytest_benchmark(found, medge.__version__)
        return msgspec.json.format(msgspec.json.encode(run), indent=4).decode() + "\n"
    if form == "json" and len(found) == 1:
        return encode(found[0][1], indent=True).decode()
    lines = [encode(result).decode().rstrip("\n") for _, result in found]
    return "[\n" + ",\n".join(lines) + "\n]\n" if form == "json" else "\n".join(lines) + "\n"


def _imported(store: Store, path: Path) -> Iterator[Imported]:
    """Add every document of a file, each for itself."""
    from medge.bench.exchange import read_documents
    from medge.pages.results import Imported
    from medge.profiles.device import identity

    here = identity()
    try:
        for found in read_documents(path):
            if found.result is None:
                yield _refused(found.name, found.refused)
                continue
            number, outcome = store.find(found.result), "already-there"
            if number is None:
                number, outcome = store.add(found.result), "added"
            yield Imported(
                file=found.name,
                outcome=outcome,
                result=number,
                device=found.result.device.name,
                here=found.result.device_identity == here,
            )
    except InputError as error:
        yield _refused(path.name, error)


def _refused(name: str, error: InputError | None) -> Imported:
    from medge.pages.results import Imported

    if error is None:
        raise ValueError("a document is a result or refused")
    return Imported(file=name, outcome="refused", rule=error.rule, message=error.message)


def _going(
    store: Store, numbers: Sequence[int], keep: int | None, older_than: str | None
) -> tuple[int, ...]:
    from medge.bench.selection import moment, older

    if older_than is not None:
        return tuple(older(store, moment(older_than)))
    if keep is not None:
        return store.numbers()[: max(0, len(store.numbers()) - keep)]
    for number in numbers:
        if number not in store.numbers():
            store.get(number)  # says that there is none
    return tuple(dict.fromkeys(numbers))


def _agreed(lines: Sequence[Line]) -> bool:
    """Ask at a terminal; elsewhere nobody could answer."""
    from medge.console import rows_text
    from medge.pages.results import COLUMNS, list_rows

    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(
            "prune-yes",
            f"{len(lines)} results would be removed for good, and there is no terminal to ask at. "
            "Add --yes.",
        )
    click.echo(rows_text("table", COLUMNS, list_rows(lines, "table"), terminal=False), err=True)
    return click.confirm(f"Remove {len(lines)} results for good?", err=True)
