"""`medge drift`: judge whether another precision makes the same decisions as the reference."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medge.errors import GateError, UsageError
from medge.verbs.options import EXISTING, FiniteRange, output_options

if TYPE_CHECKING:
    from medge.bench.drift_report import Report
    from medge.engine.bundle import Bundle

MARGIN = FiniteRange(0, 1, min_open=True)


@click.command(short_help="Judge whether another precision decides the same.")
@click.argument("bundle", required=False, metavar="[B]")
@click.option("--data", type=EXISTING, required=True, metavar="DIR", help="Pictures to judge on.")
@click.option("--labels", type=EXISTING, metavar="FILE", help="CSV: file, outputs, subgroups.")
@click.option("--precision", multiple=True, metavar="NAME", help="Default: every other variant.")
@click.option("--against", default="fp32", show_default=True, metavar="NAME", help="Reference.")
@click.option("--backend", default="auto", metavar="NAME", help="auto, onnxruntime or openvino.")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, nvidia:0, GPU, ...")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: all CPUs allowed here.")
@click.option("--max-flip", type=MARGIN, default=0.01, show_default=True, help="Part of images.")
@click.option("--max-auc-drop", type=MARGIN, default=0.005, show_default=True)
@click.option(
    "--max-sens-drop",
    type=MARGIN,
    default=0.01,
    show_default=True,
    help="Part of the positives lost; of the negatives too.",
)
@click.option("--accept-inconclusive", is_flag=True, help="Take too few images; is recorded.")
@click.option("--no-stamp", is_flag=True, help="Do not enter the verdict in the passport.")
@output_options
def command(
    *,
    bundle: str | None,
    data: Path,
    labels: Path | None,
    precision: tuple[str, ...],
    against: str,
    backend: str,
    device: str,
    threads: int | None,
    max_flip: float,
    max_auc_drop: float,
    max_sens_drop: float,
    accept_inconclusive: bool,
    no_stamp: bool,
    form: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Compare the decisions of B's precisions with those of its reference on the same pictures.

    B is a bundle's folder or built-in name. Exit code 0 when all pass, 8 when one fails, is
    inconclusive or cannot be judged. docs/drift.md explains verdicts and label files.
    """
    from medge.bench.drift import Judge
    from medge.engine.bundle import find_bundle, open_bundle
    from medge.engine.evidence import Margins
    from medge.engine.select import choose
    from medge.output import write_page
    from medge.pages.drift import drift_object, drift_rows

    margins = Margins(flip_ratio=max_flip, auc_drop=max_auc_drop, sensitivity_drop=max_sens_drop)
    with open_bundle(find_bundle(bundle)) as opened:
        asked = precision or _others(opened, against)
        choices = [choose(opened, backend, device, name, threads) for name in asked]
        # On the default backend: only there is fp32 what the golden cases were made with.
        reference = choose(opened, precision=against)
        judge = Judge(opened, data, labels, margins, reference=reference, progress=_progress())
        found = judge.judge_many([(choice, None) for choice in choices])
        reports = [_accepted(report) if accept_inconclusive else report for report in found]
        code = 0 if all(report.drift.passed for report in reports) else GateError.exit_code
        form = "json" if as_json else form
        write_page(form, drift_object(opened, reports, code), drift_rows(opened, reports), output)
        # A passport speaks of fp32; what passes against something else may be far from that.
        if not no_stamp and against == "fp32":
            _stamp(opened, reports)
    if code:
        raise SystemExit(code)


def _others(bundle: Bundle, against: str) -> tuple[str, ...]:
    found = tuple(v.name for v in bundle.manifest.variants if v.name != against)
    if not found:
        raise UsageError(
            "nothing-to-judge",
            f"{bundle.path.name} has no other precision than {against}. Make some with `medge "
            "quantize`, or name what the runtime offers: --backend openvino --precision bf16.",
        )
    return found


def _accepted(report: Report) -> Report:
    import msgspec

    drift = report.drift
    if drift.verdict != "inconclusive":
        return report
    accepted = msgspec.structs.replace(drift, accepted=True)
    return msgspec.structs.replace(report, drift=accepted)


def _stamp(bundle: Bundle, reports: Sequence[Report]) -> None:
    from medge.engine.passport import stamp

    for report in reports:
        stamp(bundle.digest, report.drift)


def _progress() -> Callable[[int, int], None]:
    """Return what tells a person at a terminal how far the judge is."""
    live = sys.stderr.isatty()

    def told(done: int, total: int) -> None:
        if live:
            click.echo(f"\r{done} of {total} pictures ", err=True, nl=done == total)

    return told
