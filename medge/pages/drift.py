"""What a drift gate found, as rows for people and one object for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from medge.console import Row, percent_text

if TYPE_CHECKING:
    from medge.bench.drift_report import Flip, Group, Report
    from medge.bench.figures import Change, ClassFigures
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Check, Margins

MOST_SHOWN = 20  # flips in a table of one precision; JSON has up to 1000
MOST_OF_SEVERAL = 5


def drift_object(bundle: Bundle, reports: Sequence[Report], exit_code: int) -> dict[str, Any]:
    """Return everything that is known, in plain JSON types; ratios as parts of 1."""
    manifest = bundle.manifest
    return {
        "schema": "medge.drift/1",
        "exit_code": exit_code,
        "bundle": f"{manifest.name} {manifest.version}",
        "bundle_sha256": bundle.digest,
        "demonstration": manifest.demonstration,
        "reports": [msgspec.to_builtins(report) for report in reports],
    }


def drift_rows(bundle: Bundle, reports: Sequence[Report]) -> Iterator[Row]:
    """Yield the verdicts, then what they rest on, most important first."""
    for part, what, value in _rows(bundle, reports):
        # Names of files and subgroups come from elsewhere: they must not drive a terminal.
        yield _printable(part), _printable(what), _printable(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _rows(bundle: Bundle, reports: Sequence[Report]) -> Iterator[Row]:
    manifest = bundle.manifest
    yield ("bundle", "name", f"{manifest.name} {manifest.version}")
    if manifest.demonstration:
        yield ("bundle", "warning", "demonstration model, not for clinical use")
    for report in reports:
        yield ("verdict", report.drift.precision, _verdict(report))
    several = len(reports) > 1
    for report in reports:
        of = f"{report.drift.precision} " if several else ""
        yield from _report_rows(report, of)
        yield from _flip_rows(report, of, MOST_OF_SEVERAL if several else MOST_SHOWN)
        for rule, count in sorted(Counter(each.rule for each in report.refused).items()):
            yield (f"{of}refused", rule, f"{count}, not judged")


def _verdict(report: Report) -> str:
    drift = report.drift
    told: str = drift.verdict
    if report.why_not:
        return f"{told}: {report.why_not}"
    if drift.verdict == "inconclusive":
        told += f": needs at least {drift.missing_cases} more images without a loss"
        told += "; accepted by --accept-inconclusive" if drift.accepted else ""
    failed = [check.name for check in drift.checks if check.verdict == "fail"]
    if failed:
        told += f": {', '.join(failed)}"
    return told if drift.labelled else f"{told} (only flips are judged without labels)"


def _report_rows(report: Report, of: str) -> Iterator[Row]:
    drift = report.drift
    runs = f"{drift.backend} {drift.backend_version} on {drift.tier}"
    yield (f"{of}judged", "against", f"{drift.against}, {runs}")
    yield (f"{of}judged", "images", _images(report))
    if report.max_score_difference is not None:
        largest = f"{report.max_score_difference:.2g} in a score"
        yield (f"{of}judged", "largest difference", largest)
    for check in drift.checks:
        yield (f"{of}checks", check.name, _check(check))
    yield (f"{of}checks", "margins, bounds", _margins(drift.margins))
    for output in report.outputs:
        yield (
            f"{of}figures",
            f"accuracy of {output.output}",
            f"{_pair(output.accuracy_before, output.accuracy_after)} of {output.frames}",
        )
    for figures in _shown(report.classes):
        yield from _class_rows(figures, f"{of}figures")
    for group in report.groups:
        yield (f"{of}groups", f"{group.column} {group.value or '(none)'}", _group(group))


def _flip_rows(report: Report, of: str, most: int) -> Iterator[Row]:
    judged = {(figures.output, figures.label) for figures in report.classes if figures.judged}
    for flip in report.flipped[:most]:
        yield (f"{of}flipped", _labels(flip), _flip(flip, judged))
    listed = len(report.flipped)
    if listed > most:
        more = max(listed, report.drift.flips) - most
        yield (f"{of}flipped", "more", f"{more}; --json lists {listed}")


def _margins(margins: Margins) -> str:
    flips, areas = percent_text(margins.flip_ratio), percent_text(margins.auc_drop)
    rights = percent_text(margins.sensitivity_drop)
    return f"flips {flips}, AUC {areas}, sensitivity and specificity {rights}; one-sided 95 %"


def _images(report: Report) -> str:
    told = f"{report.drift.cases} of {report.files} files, {report.frames} frames"
    if report.copies:
        told += f"; {report.copies} copies left out"
    if report.excluded:
        told += f"; {report.excluded} calibrated and may not judge"
    if report.invalid:
        told += f"; {report.invalid} frames without a valid answer"
    return told


def _check(check: Check) -> str:
    """Say value and upper bound: a pass rests on the bound."""
    told = f"{check.verdict}: {percent_text(check.value)}, at most {percent_text(check.high)}"
    told += f" of {check.cases}"
    return f"{told}, {check.missing_cases} more needed" if check.missing_cases else told


def _class_rows(figures: ClassFigures, part: str) -> Iterator[Row]:
    before, after = figures.before, figures.after
    for name, value, changed in (
        ("sensitivity", "sensitivity", figures.positives),
        ("specificity", "specificity", figures.negatives),
    ):
        pair = _pair(getattr(before, value), getattr(after, value))
        yield (part, f"{name} of {figures.label}", f"{pair}; {_change(changed)}")
    yield (
        part,
        f"precision, F1 of {figures.label}",
        f"{_pair(before.precision, after.precision)}, {_pair(before.f1, after.f1)}",
    )
    area = _pair(before.auc, after.auc)
    if figures.auc_p is not None:
        area += f" (p {figures.auc_p:.2g})"
    yield (
        part,
        f"AUC, ECE of {figures.label}",
        f"{area}, {_pair(before.calibration_error, after.calibration_error)}",
    )


def _pair(before: float | None, after: float | None) -> str:
    first, second = (("-" if value is None else f"{value:.4f}") for value in (before, after))
    return first if first == second else f"{first} → {second}"


def _change(change: Change) -> str:
    told = f"{change.lost} lost, {change.gained} gained of {change.cases}"
    return f"{told}, p {change.mcnemar_p:.2g}" if change.lost + change.gained else told


def _shown(classes: Sequence[ClassFigures]) -> Iterator[ClassFigures]:
    """Leave out what says the same: of two classes, the one that is not judged."""
    count = Counter(figures.output for figures in classes)
    return (figures for figures in classes if figures.judged or count[figures.output] != 2)


def _group(group: Group) -> str:
    """Say the subgroup's flips, and which of its checks failed."""
    told = _check(group.checks[0])
    failed = [check.name for check in group.checks[1:] if check.verdict == "fail"]
    return f"{told}; fails: {', '.join(failed)}" if failed else told


def _labels(flip: Flip) -> str:
    sides = (flip.before, flip.after)
    before, after = ("invalid" if side is None else "|".join(side) or "none" for side in sides)
    return f"{before} → {after}"


def _flip(flip: Flip, judged: Collection[tuple[str, str]]) -> str:
    """Name the frame, and the probability that decided on either side."""
    told = flip.file if flip.frame == 0 else f"{flip.file} frame {flip.frame}"
    labels = (flip.before or ()) + (flip.after or ())
    # Thresholds are those of judged classes: 0.67 of "normal" explains nothing.
    label = next((each for each in labels if (flip.output, each) in judged), "".join(labels[:1]))
    if label and flip.scores_before and flip.scores_after:
        told += f": {label} {flip.scores_before[label]:.3f} → {flip.scores_after[label]:.3f}"
    return told if flip.truth is None else f"{told}; is {'|'.join(flip.truth) or 'none'}"
