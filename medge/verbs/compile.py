"""`medge compile`: find the fastest way to run a bundle here that makes the same decisions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.verbs.options import EXISTING, MOST_BATCH, FiniteRange, format_options

if TYPE_CHECKING:
    from medge.bench.choose import Judge
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift
    from medge.engine.select import Choice
    from medge.profiles.target import Target


@click.command(short_help="Find the fastest way to run a bundle here that decides the same.")
@click.argument("bundle", required=False, metavar="[B]")
@click.option("--device", metavar="NAME", help="Only this device: cpu, GPU.0, NPU. Default: all.")
@click.option("--data", type=EXISTING, metavar="DIR", help="Judge decisions on these images.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, output, subgroups.")
@click.option("--latency", "goal", flag_value="latency", default=True, help="One picture, soonest.")
@click.option("--throughput", "goal", flag_value="throughput", help="Most pictures a second.")
@click.option(
    "--time-budget",
    "budget_s",
    type=FiniteRange(1),
    default=30.0,
    metavar="S",
    show_default=True,
    help="Seconds that one contest may last.",
)
@click.option("--target", metavar="ID", help="Instead: build for a device of `medge targets`.")
@click.option(
    "--batch",
    type=click.IntRange(1, MOST_BATCH),
    default=1,
    show_default=True,
    metavar="N",
    help="With --target: pictures in each call.",
)
@click.option("-o", "--out", type=EXISTING, metavar="DIR", help="With --target: put it there.")
@format_options
@click.pass_context
def command(
    context: click.Context,
    *,
    bundle: str | None,
    device: str | None,
    data: Path | None,
    labels: Path | None,
    goal: str,
    budget_s: float,
    target: str | None,
    batch: int,
    out: Path | None,
    form: str,
    as_json: bool,
) -> None:
    """Build every way to run B on this machine, time them, and seal the fastest that may run.

    B is a bundle's folder or built-in name, the same as for `medge run` if left out. Every
    precision but fp32 needs a pass of the drift gate: stored by `medge quantize` or `medge drift`,
    or judged here with --data.

    With --target nothing is timed: plans are built ahead of time for an NVIDIA GPU that
    TensorRT-RTX compiles for, and a build bundle is written for a Jetson, which builds its own.
    """
    form = "json" if as_json else form
    if target is not None:
        _only_built(context)
        _build_for(target, bundle, batch, out, form)
        return
    if context.get_parameter_source("batch") is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError(
            "--batch needs --target: for this machine --latency takes single pictures, and "
            "--throughput chooses how many."
        )
    if out is not None:
        raise click.UsageError("-o needs --target: what is built for this machine stays here.")
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
    write_page(form, compile_object(sealed), compile_rows(sealed), columns=COLUMNS)


def _only_built(context: click.Context) -> None:
    """Refuse options that are about measuring here."""
    for name, shown in (
        *(("device", "--device"), ("data", "--data"), ("labels", "--labels")),
        *(("goal", "--latency and --throughput"), ("budget_s", "--time-budget")),
    ):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(
                f"{shown} cannot be used with --target: nothing is timed for a device that is "
                "not here. Type `medge compile` on it for that."
            )


def _build_for(target_id: str, bundle: str | None, batch: int, out: Path | None, form: str) -> None:
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.exporters.ahead_of_time import route_of
    from medge.profiles.target import find_target

    target = find_target(target_id)
    route = route_of(target)
    with open_bundle(find_bundle(bundle)) as opened:
        if route == "plans":
            _plans(opened, target, batch, out, form)
        else:
            _build_bundle(opened, target, batch, out or Path(), form)


def _plans(bundle: Bundle, target: Target, batch: int, out: Path | None, form: str) -> None:
    """Build plans, tell what came of it, and write them where that was asked for."""
    from medge.exporters.ahead_of_time import check_built, compile_ahead
    from medge.exporters.plan_folder import check_folder, plans_object, write_plans
    from medge.output import write_page
    from medge.pages.plans import COLUMNS, plans_notes, plans_rows

    if out is not None:
        check_folder(out)
    found = compile_ahead(bundle, target, _told, batch=batch)
    notes = list(plans_notes(found))
    if out is not None and found.plans:
        notes.append(f"{write_plans(found, out)} holds the plans")
    write_page(form, plans_object(found), plans_rows(found), columns=COLUMNS)
    for note in notes:
        click.echo(note, err=True)
    check_built(found)


def _build_bundle(bundle: Bundle, target: Target, batch: int, folder: Path, form: str) -> None:
    """Write what a Jetson builds its engines from."""
    from medge.exporters.jetson.write import write_build_bundle
    from medge.output import write_page
    from medge.pages.build_bundle import COLUMNS, build_object, build_rows

    made = write_build_bundle(bundle, target, folder, batch=batch)
    write_page(form, build_object(made), build_rows(made), columns=COLUMNS)


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
