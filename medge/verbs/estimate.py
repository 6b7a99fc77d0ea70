"""`medge estimate`: how fast a network would be on a device that is not at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.verbs.options import EXISTING, FiniteRange, output_options

if TYPE_CHECKING:
    from medge.estimate import Answer, Question


@click.command(short_help="Say how fast a network would be on a device that is not at hand.")
@click.argument("bundle", required=False, metavar="[B]")
@click.option("--target", metavar="ID", help="A device of `medge targets`, or this-machine.")
@click.option("--all", "everywhere", is_flag=True, help="Every device of the catalog.")
@click.option("--study", metavar="REF", help="The hardware of a study of `medge studies`.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--precision", default="fp32", show_default=True, help="fp32, amp, fp16 or int8.")
@click.option("--runtime", metavar="NAME", help="As tensorrt. Default: the best that it still has.")
@click.option(
    "--fps",
    type=FiniteRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Pictures a second that a device should hold.",
)
@click.option(
    "--calibrate", type=EXISTING, metavar="FILE", help="CSV of what was measured on the device."
)
@output_options
def command(
    *,
    bundle: str | None,
    target: str | None,
    everywhere: bool,
    study: str | None,
    batch: int,
    precision: str,
    runtime: str | None,
    fps: float,
    calibrate: Path | None,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Estimate latency, throughput and memory of B on hardware that is not at hand.

    B is a bundle's folder, a built-in name, or a published network as resnet50. With --study and no
    B it is the study's own network. Nothing is run; every figure is estimated, with an interval, or
    there is none and the reason is told.
    """
    from medge.estimate import Question, find_subject, on_all, on_study, on_target
    from medge.profiles.study import find_study

    if sum((target is not None, everywhere, study is not None)) != 1:
        raise click.UsageError("Give one of --target ID, --all, --study REF.")
    if calibrate is not None and target is None:
        raise click.UsageError("--calibrate needs --target ID: rows are of one device.")
    asked = Question(batch, precision, runtime, fps)
    if target is not None:
        found = on_target(find_subject(bundle), target, asked, calibrate)
    elif study is not None:
        found = on_study(find_study(study), find_subject(bundle) if bundle else None, asked)
    else:
        found = on_all(find_subject(bundle), asked)
    _show("json" if as_json else form, output, found, asked)


def _show(form: str, output: Path | None, found: Answer, asked: Question) -> None:
    """Write the answer as one page, as a table, or for programs."""
    from medge.output import write_page, write_text
    from medge.pages.estimate import CSV_COLUMNS, csv_rows, estimate_object, page_rows, table_text

    page = len(found.plans) == 1 and found.study is None
    if form == "csv":
        write_page(form, {}, csv_rows(found, asked.fps), output, CSV_COLUMNS)
    elif form in {"json", "jsonl"} or page:
        said = estimate_object(found, asked.fps)
        write_page(form, said, page_rows(found, asked.fps), output)
    else:
        terminal = output is None and sys.stdout.isatty()
        write_text(table_text(form, found, asked, terminal=terminal), output)
