"""`medge quantize`: make narrower variants of a bundle, each with what it costs in decisions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.verbs.drift import MARGIN
from medge.verbs.options import EXISTING, format_options, seconds

if TYPE_CHECKING:
    from medge.exporters.quantize import QuantizeReport


@click.command(short_help="Make variants of fewer bits, each with its verdict.")
@click.argument("bundle", metavar="B")
@click.option("--calib", type=EXISTING, required=True, metavar="DIR", help="Typical pictures.")
@click.option("-o", "--out", type=EXISTING, required=True, metavar="B2.medge", help="New bundle.")
@click.option("--data", type=EXISTING, metavar="DIR", help="Pictures to judge decisions on.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, outputs, subgroups.")
@click.option("--max-flip", type=MARGIN, default=0.01, show_default=True, help="Part of images.")
@click.option("--max-auc-drop", type=MARGIN, default=0.005, show_default=True)
@click.option("--max-sens-drop", type=MARGIN, default=0.01, show_default=True)
@click.option(
    "--precisions", metavar="LIST", help="Of fp16,int8,int8-cpu,mixed; default: all of them."
)
@click.option("--method", default="auto", metavar="NAME", help="minmax, percentile, entropy, auto.")
@click.option(
    "--time-budget",
    callback=lambda _context, _parameter, text: seconds(text),
    default="10m",
    show_default=True,
    metavar="TIME",
    help="For the search of mixed precision.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@format_options
def command(
    *,
    bundle: str,
    calib: Path,
    out: Path,
    data: Path | None,
    labels: Path | None,
    max_flip: float,
    max_auc_drop: float,
    max_sens_drop: float,
    precisions: str | None,
    method: str,
    time_budget: float,
    overwrite: bool,
    form: str,
    as_json: bool,
) -> None:
    """Calibrate B on the pictures of --calib and write B2: fp32 as it was, and narrower variants.

    B2 is always written; each variant has its verdict, as docs/quantize.md explains. Pictures that
    calibrate never judge.
    """
    from medge.bench.drift import Judge
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.engine.evidence import Margins
    from medge.exporters.quantize import (
        PRECISIONS,
        QuantizeRequest,
        check_request,
        quantize_bundle,
    )
    from medge.output import write_page
    from medge.pages.quantize import quantize_object, quantize_rows

    if labels is not None and data is None:
        raise click.UsageError("--labels needs --data, the folder of the images.")
    request = QuantizeRequest(
        out=out,
        method=method,
        precisions=PRECISIONS if precisions is None else tuple(precisions.split(",")),
        time_budget_s=time_budget,
        overwrite=overwrite,
    )
    check_request(request)
    from medge.exporters.calibrate import file_sha256, read_calibration_set  # needs onnx
    from medge.graph_court import Court, stopwatch

    margins = Margins(flip_ratio=max_flip, auc_drop=max_auc_drop, sensitivity_drop=max_sens_drop)
    with open_bundle(find_bundle(bundle)) as opened:
        pictures = read_calibration_set(calib, opened.manifest)
        court = None
        if data is not None:
            calibrated = frozenset(pictures.digests)
            images = Judge(opened, data, labels, margins, excluded=calibrated, progress=_counted())
            court = Court(opened, images, "" if labels is None else file_sha256(labels))
            request = replace(request, judged_by=court.key)
        report = quantize_bundle(
            opened,
            pictures,
            request,
            judge=None if court is None else court.judge,
            stopwatch=stopwatch(opened),
            progress=_told,
        )
    left_out = 0 if court is None else court.left_out
    if court is not None:
        _stamp(report)
    form = "json" if as_json else form
    write_page(form, quantize_object(report, left_out), quantize_rows(report, left_out))


def _stamp(report: QuantizeReport) -> None:
    """Enter every verdict in the new bundle's passport: it holds for this device."""
    from medge.engine.passport import stamp

    for made in report.made:
        for drift in made.judged:
            stamp(report.digest, drift)


def _told(step: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{step} ...", err=True)


def _counted() -> Callable[[int, int], None]:
    live = sys.stderr.isatty()

    def told(done: int, total: int) -> None:
        if live:
            click.echo(f"\r{done} of {total} pictures ", err=True, nl=done == total)

    return told
