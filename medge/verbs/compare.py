"""`medge compare`: whether one result is faster than another, and stays within the gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.errors import GateError, UsageError
from medge.verbs.options import output_options

if TYPE_CHECKING:
    from medge.bench.gates import Judged
    from medge.bench.result import Result


@click.command(short_help="Say whether one result is faster than another.")
@click.argument("results", nargs=-1, metavar="A B")
@click.option("--stage", default="infer", show_default=True, metavar="NAME")
@click.option("--baseline", metavar="FILE|NAME", help="Stands for A.")
@click.option("--save-baseline", metavar="FILE|NAME", help="Keep B, unless a gate fails.")
@click.option("--fail-if", multiple=True, metavar="GATE", help="As 'p99 > +5%' or 'p99 > 33ms'.")
@click.option("--strict", is_flag=True, help="A gate that cannot be told fails too.")
@click.option("--across-devices", is_flag=True, help="Compare although the devices differ.")
@output_options
def command(
    *,
    results: tuple[str, ...],
    stage: str,
    baseline: str | None,
    save_baseline: str | None,
    fail_if: tuple[str, ...],
    strict: bool,
    across_devices: bool,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Compare result B with A, the one before: faster, slower, or cannot tell, at a level of 1 %.

    A and B are numbers of `medge results`, exported files, or bundles, whose newest result is
    meant. Exit code 8 when a gate fails. docs/compare.md explains verdicts, gates and use in CI.
    """
    from medge.bench.compare import PERCENTILES, compare_results
    from medge.bench.gates import judge, parse, percentiles
    from medge.bench.named import find_baseline, find_result
    from medge.output import write_page
    from medge.pages.compare import compare_columns, compare_object, compare_rows

    gates = tuple(parse(text) for text in fail_if)
    sides = [*([find_baseline(baseline)] if baseline else []), *map(find_result, results)]
    if len(sides) == 1 and save_baseline and not baseline and not gates:
        _save(save_baseline, sides[0][1])
        return
    if len(sides) != 2:
        raise UsageError("compare-sides", _usage(len(results), baseline))
    (a_name, a), (b_name, b) = sides
    found = compare_results(
        a,
        b,
        stage,
        names=(a_name, b_name),
        percentiles=tuple(dict.fromkeys((*PERCENTILES, *percentiles(gates)))),
        across_devices=across_devices,
    )
    judged = judge(gates, found)
    failed = [one for one in judged if one.outcome == "fails" or (strict and _untold(one))]
    form, code = "json" if as_json else form, GateError.exit_code if failed else 0
    write_page(
        form,
        compare_object(found, judged, code),
        compare_rows(found, judged, form),
        output,
        compare_columns(form),
    )
    _warn(judged, strict=strict)
    if failed:
        raise _failed(failed)
    if save_baseline:
        _save(save_baseline, b)


def _untold(judged: Judged) -> bool:
    return judged.outcome == "cannot-tell"


def _failed(failed: list[Judged]) -> GateError:
    from medge.pages.compare import judged_text

    told = "; ".join(f"{one.gate.text}: {judged_text(one)}" for one in failed)
    return GateError(
        "regression",
        f"{told}. Find what became slower, or save a new baseline if it was meant.",
    )


def _warn(judged: tuple[Judged, ...], *, strict: bool) -> None:
    for one in judged:
        if _untold(one) and not strict:
            click.echo(
                f"warning: the gate {one.gate.text} cannot be told from these samples and was "
                "passed; measure longer, or use --strict.",
                err=True,
            )


def _save(name: str, result: Result) -> None:
    from medge.bench.exchange import encode
    from medge.bench.named import is_file_name, save_baseline
    from medge.output import write_text

    if is_file_name(name):
        path = Path(name)
        write_text(encode(result, indent=True).decode(), path)
    else:
        path = save_baseline(name, result)
    click.echo(f"baseline saved: {path}", err=True)


def _usage(named: int, baseline: str | None) -> str:
    if baseline:
        return f"With --baseline one result is compared; {named} were named."
    return (
        f"Two results are compared; {named} were named. Name A and B by their numbers in `medge "
        "results`, or use --baseline for A."
    )
