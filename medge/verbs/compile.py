"""`medge compile`: find the fastest way to run a bundle here that makes the same decisions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.verbs.options import EXISTING, format_options

if TYPE_CHECKING:
    from medge.bench.choose import Judge
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift
    from medge.engine.select import Choice


@click.command(short_help="Find the fastest way to run a bundle here that decides the same.")
@click.argument("bundle", required=False, metavar="B")
@click.option("--device", metavar="NAME", help="Only this device: cpu, GPU.0, NPU. Default: all.")
@click.option("--data", type=EXISTING, metavar="DIR", help="Judge decisions on these images.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, output, subgroups.")
@click.option("--latency", "goal", flag_value="latency", default=True, help="One picture, soonest.")
@click.option("--throughput", "goal", flag_value="throughput", help="Most pictures a second.")
@click.option(
    "--time-budget",
    "budget_s",
    type=click.FloatRange(1),
    default=30.0,
    metavar="S",
    show_default=True,
    help="Seconds that one contest may last.",
)
@format_options
def command(
    *,
    bundle: str | None,
    device: str | None,
    data: Path | None,
    labels: Path | None,
    goal: str,
    budget_s: float,
    form: str,
    as_json: bool,
) -> None:
    """Build every way to run B on this machine, time them, and seal the fastest that may run.

    B is a bundle's folder or built-in name. Every precision but fp32 needs a pass of the drift
    gate: stored by `medge quantize` or `medge drift`, or judged here with --data.
    """
    from medge.bench.choose import CompileRequest, choose_fastest
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.output import write_page
    from medge.pages.compile import COLUMNS, compile_object, compile_rows

    asked = CompileRequest(
        goal="throughput" if goal == "throughput" else "latency",
        device=device,
        budget_ns=int(budget_s * 1e9),
    )
    if labels is not None and data is None:
        raise click.UsageError("--labels needs --data, the folder of the images.")
    with open_bundle(find_bundle(bundle)) as opened:
        judge = None if data is None else _judge(opened, data, labels)
        sealed = choose_fastest(opened, asked, judge, _told)
    write_page(
        "json" if as_json else form, compile_object(sealed), compile_rows(sealed), columns=COLUMNS
    )


def _judge(bundle: Bundle, data: Path, labels: Path | None) -> Judge:
    """Return what judges a choice on the images, and enters the verdict in the passport."""
    from medge.bench.drift import Judge as OnImages
    from medge.engine.passport import stamp

    on_images = OnImages(bundle, data, labels)

    def judge(choice: Choice) -> Drift:
        drift = on_images.judge(choice).drift
        stamp(bundle.digest, drift)
        return drift

    return judge


def _told(step: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{step} ...", err=True)
