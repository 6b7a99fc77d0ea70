"""`medge bench`: which device, which precision: many ways to run many bundles, in one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.errors import BackendError, UsageError
from medge.verbs.options import EXISTING, MOST_BATCH, FiniteRange, output_options

if TYPE_CHECKING:
    from medge.bench.matrix.cells import Asked, Plan
    from medge.engine.bundle import Bundle

MOST_STREAMS = 1024


@click.command(short_help="Measure many ways to run bundles, in one table.")
@click.option("--bundles", multiple=True, metavar="B,...", help="Folders or built-in names.")
@click.option("--backends", multiple=True, metavar="NAME,...", help="Default: all installed.")
@click.option("--precisions", multiple=True, metavar="NAME,...", help="Default: all there are.")
@click.option("--batches", multiple=True, metavar="N,...", help="Pictures in a call. Default: 1.")
@click.option("--streams", multiple=True, metavar="N,...", help="Calls at once. Default: 1.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="cpu, cpu:0-3 (these CPUs), nvidia:0,1, nvidia:all, GPU.0, all; may be repeated. "
    "Default: cpu.",
)
@click.option(
    "--price-per-hour",
    type=FiniteRange(0, min_open=True),
    metavar="X",
    help="Of this device, in any currency: adds the cost of a million pictures.",
)
@click.option("--data", type=EXISTING, metavar="DIR", help="Judge decisions on these images.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, output, subgroups.")
@click.option(
    "--seconds",
    type=FiniteRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="S",
    help="How long each cell is measured.",
)
@click.option(
    "--time-limit",
    "limit_s",
    type=FiniteRange(1),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Longest time of one cell, loading included.",
)
@click.option("--resume", is_flag=True, help="Go on: take what was measured before and holds.")
@click.option("--studies", is_flag=True, help="The 80 studies of the review beside this machine.")
@click.option("--only", multiple=True, metavar="REF", help="With --studies: these studies only.")
@output_options
def command(
    *,
    bundles: tuple[str, ...],
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    batches: tuple[str, ...],
    streams: tuple[str, ...],
    devices: tuple[str, ...],
    price_per_hour: float | None,
    data: Path | None,
    labels: Path | None,
    seconds: float,
    limit_s: float,
    resume: bool,
    studies: bool,
    only: tuple[str, ...],
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Measure every bundle on every backend, precision, batch and device; each in its own process.

    What cannot run is a row with its reason. Every cell is stored when it is done: after an
    interruption --resume goes on. With several devices each works alone, then all at once. Results
    of other machines (`medge results import`) stand in the same table.

    With --studies: the networks of the review's studies, timed here with untrained weights, beside
    an estimate for the hardware that each study used.
    """
    form = "json" if as_json else form
    axes = (bundles, backends, precisions, batches, streams, devices, data, labels, price_per_hour)
    if studies:
        if any(axes):
            raise click.UsageError("--studies takes --only, --resume and --time-limit only.")
        _studies(only, resume=resume, limit_s=limit_s, form=form, output=output)
        return
    if only:
        raise click.UsageError("--only needs --studies.")
    if labels is not None and data is None:
        raise click.UsageError("--labels needs --data, the folder of the images.")
    from medge.bench.matrix.cells import Asked
    from medge.bench.matrix.places import CPU, read_places

    asked = Asked(
        backends=tuple(_words(backends)),
        precisions=tuple(_words(precisions)),
        batches=_numbers("--batches", batches, MOST_BATCH),
        streams=_numbers("--streams", streams, MOST_STREAMS),
        places=read_places(devices or (CPU,)),
        seconds=seconds,
    )
    names = tuple(_words(bundles)) or (None,)
    if data is not None and len(names) > 1:
        raise click.UsageError("--data judges one bundle; give one with --bundles.")
    _matrix(
        names,
        asked,
        judged_on=None if data is None else (data, labels),
        resume=resume,
        limit_s=limit_s,
        price_per_hour=price_per_hour,
        form=form,
        output=output,
    )


def _matrix(
    names: Sequence[str | None],
    asked: Asked,
    *,
    judged_on: tuple[Path, Path | None] | None,
    resume: bool,
    limit_s: float,
    price_per_hour: float | None,
    form: str,
    output: Path | None,
) -> None:
    """Plan, judge, measure, write."""
    from medge.bench.matrix.cells import Subject, plan
    from medge.bench.matrix.rows import matrix_of
    from medge.bench.matrix.session import Session
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.eta import Eta
    from medge.output import write_page, write_text
    from medge.pages.bench import CSV_COLUMNS, bench_object, bench_text, csv_rows

    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(find_bundle(name))) for name in names]
        subjects = list({each.digest: Subject.of(each) for each in opened}.values())
        planned = plan(subjects, asked)
        if judged_on is not None:
            _judge(opened[0], planned, *judged_on)
    eta = Eta()
    session = Session(planned, resume=resume, limit_s=limit_s, progress=eta)
    try:
        results = session.run()
    finally:
        eta.clear()
    found = matrix_of(planned, asked, results, before=session.before, price_per_hour=price_per_hour)
    if form in {"json", "jsonl"}:
        write_page(form, bench_object(found), (), output)
    elif form == "csv":
        write_page(form, {}, csv_rows(found), output, CSV_COLUMNS)
    else:
        write_text(bench_text(found, form), output)
    if all(row.pictures_per_s is None for row in found.rows):
        raise SystemExit(BackendError.exit_code)


def _judge(bundle: Bundle, planned: Plan, data: Path, labels: Path | None) -> None:
    """Judge every precision of the plan on the images, once for each backend and kind of device."""
    import msgspec

    from medge.bench.candidates import is_reference, judged_as
    from medge.bench.drift import Judge
    from medge.bench.entrants import choice_of
    from medge.engine.passport import stamp

    wanted = {
        judged_as(cell.candidate): cell.candidate
        for cell in planned.cells
        if not is_reference(cell.candidate) and cell.candidate.streams == 1
    }
    judge = Judge(bundle, data, labels)
    for candidate in wanted.values():
        plain = msgspec.structs.replace(candidate, batch=1, streams=1)
        stamp(bundle.digest, judge.judge(choice_of(plain)).drift)


def _studies(
    only: tuple[str, ...], *, resume: bool, limit_s: float, form: str, output: Path | None
) -> None:
    """Write the review beside this machine."""
    from medge.bench.matrix.review import review
    from medge.eta import Eta
    from medge.exporters.published import published_graph
    from medge.output import write_page, write_text
    from medge.pages.bench_studies import CSV_COLUMNS, csv_rows, page_text, review_object
    from medge.profiles.study import find_study, studies

    asked = [find_study(ref) for ref in dict.fromkeys(only)] or list(studies().values())
    eta = Eta()
    try:
        found = review(asked, published_graph, resume=resume, limit_s=limit_s, progress=eta)
    finally:
        eta.clear()
    if form in {"json", "jsonl"}:
        write_page(form, review_object(found), (), output)
    elif form == "csv":
        write_page(form, {}, csv_rows(found), output, CSV_COLUMNS)
    else:
        terminal = output is None and sys.stdout.isatty()
        write_text(page_text(found, form, terminal=terminal), output)


def _words(typed: Sequence[str]) -> Sequence[str]:
    """Return what was typed behind one option, repeated or separated by commas, once each."""
    words = (word.strip() for one in typed for word in one.split(","))
    return list(dict.fromkeys(word for word in words if word))


def _numbers(option: str, typed: Sequence[str], most: int) -> tuple[int, ...]:
    words = _words(typed)
    wrong = [word for word in words if not word.isdecimal() or not 1 <= int(word) <= most]
    if wrong:
        raise UsageError(
            "bench-number",
            f"{option} has {wrong[0][:20]!r}; whole numbers from 1 to {most} are taken, as 1,4,16.",
        )
    return tuple(int(word) for word in words) or (1,)
