"""What a quantization made, as rows for people and one object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from medge.console import Row, bytes_text, percent_text

if TYPE_CHECKING:
    from medge.engine.evidence import Drift
    from medge.exporters.quantize import Made, QuantizeReport


def quantize_object(report: QuantizeReport, left_out: int) -> dict[str, Any]:
    """Return the report in plain JSON types; times in nanoseconds, sizes in bytes.

    Parameters
    ----------
    left_out
        How many files of the judged folder did not judge because they calibrated.
    """
    return {
        "schema": "medge.quantize/1",
        "path": str(report.path),
        "sha256": report.digest,
        "parent_sha256": report.parent_sha256,
        "calibration": {
            "pictures": report.calibration_frames,
            "sha256": report.calibration_sha256,
            "refused": report.refused,
            "not_judging": left_out,
        },
        "variants": [
            {
                **msgspec.to_builtins(made.variant),
                "bytes": made.bytes,
                "judged": msgspec.to_builtins(made.judged),
            }
            for made in report.made
        ],
        "advice": report.advice,
        "notes": report.notes,
        "time_ns": report.time_ns,
    }


def quantize_rows(report: QuantizeReport, left_out: int) -> Iterator[Row]:
    """Yield the verdicts, how each variant was made, and where the time went."""
    manifest = report.manifest
    yield ("bundle", "path", str(report.path))
    yield ("bundle", "name", f"{manifest.name} {manifest.version}")
    yield ("bundle", "sha256", report.digest)
    yield ("bundle", "made from", report.parent_sha256)
    for made in report.made:
        yield ("verdict", made.variant.name, _verdict(made.variant.drift))
    for sentence in report.advice:
        yield ("verdict", "", sentence)
    yield from _calibration_rows(report, left_out)
    for made in report.made:
        yield from _variant_rows(made)
    for note in report.notes:
        yield ("notes", "", note)
    for step, time_ns in report.time_ns.items():
        yield ("time", step, f"{time_ns / 1e9:.2f} s")


def _calibration_rows(report: QuantizeReport, left_out: int) -> Iterator[Row]:
    yield ("calibration", "pictures", str(report.calibration_frames))
    yield ("calibration", "sha256", report.calibration_sha256)
    for rule, count in sorted(report.refused.items()):
        yield ("calibration", f"refused: {rule}", str(count))
    if left_out:
        yield ("calibration", "left out of judging", f"{left_out} files, because they calibrated")


def _variant_rows(made: Made) -> Iterator[Row]:
    variant = made.variant
    yield (variant.name, "made by", variant.method or "")
    layers = f"{variant.narrow_layers} of {variant.compute_layers}"
    yield (variant.name, "layers in fewer bits", layers)
    yield (variant.name, "size", bytes_text(made.bytes))
    yield (variant.name, "golden tolerance", f"{variant.golden_tolerance:.2g}")
    for drift in made.judged:
        flips = f"{drift.flips} of {drift.cases} decisions differ"
        worst = max(drift.checks, key=lambda check: check.high - check.margin, default=None)
        if worst is not None:
            flips += (
                f"; tightest: {worst.name} at most {percent_text(worst.high)}, "
                f"allowed {percent_text(worst.margin)}"
            )
        yield (variant.name, f"on {drift.backend}", f"{drift.verdict}: {flips}")


def _verdict(drift: Drift | None) -> str:
    if drift is None:
        return "not judged: add --data and --labels"
    told: str = drift.verdict
    if drift.verdict == "inconclusive":
        told += f": needs at least {drift.missing_cases} more images without a loss"
    failed = [check.name for check in drift.checks if check.verdict == "fail"]
    if failed:
        told += f": {', '.join(failed)}"
    return f"{told} ({drift.backend} on {drift.tier}, {drift.cases} images)"
