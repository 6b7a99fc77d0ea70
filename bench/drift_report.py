"""Reports: all that is told of one candidate's drift, for pages and programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

from medge.bench.checks import auc_check, flip_check, loss_check, verdict_of
from medge.bench.figures import Change, ClassFigures, Flags, change, side
from medge.bench.roc import paired_auc
from medge.engine.evidence import Check, Drift, Verdict

if TYPE_CHECKING:
    from medge.bench.images import Images
    from medge.bench.pairing import Pairing
    from medge.engine.manifest import Manifest, Output

MOST_FLIPS = 1000  # listed; the count is always whole


class Refused(Struct, frozen=True, kw_only=True):
    """A file, or one frame of it, that was not judged."""

    file: str
    frame: int | None
    rule: str


class Flip(Struct, frozen=True, kw_only=True):
    """A frame whose labels changed in one output; None stands for no valid answer.

    Scores are the probabilities of all classes; ``truth`` is None when the label is not known.
    """

    file: str
    frame: int
    output: str
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    scores_before: dict[str, float] | None
    scores_after: dict[str, float] | None
    truth: tuple[str, ...] | None


class OutputFigures(Struct, frozen=True, kw_only=True):
    """Accuracy of one output over its labelled frames: the part with exactly the true labels."""

    output: str
    frames: int
    accuracy_before: float
    accuracy_after: float


class Group(Struct, frozen=True, kw_only=True):
    """The same checks within one subgroup. They inform; the verdict does not rest on them."""

    column: str
    value: str
    cases: int
    verdict: Verdict
    checks: tuple[Check, ...]


class Report(Struct, frozen=True, kw_only=True):
    """Drift with everything behind it; ``drift`` is what bundles and passports keep.

    ``cases`` of the drift are files; ``frames`` were judged in them. ``excluded`` files calibrated
    the candidate, ``copies`` had the content of another file. ``why_not`` tells why there is no
    verdict. ``invalid`` frames were answered by the reference alone. ``max_score_difference`` is
    None where no frame has two answers. ``flipped`` lists at most 1000.
    """

    drift: Drift
    why_not: str
    frames: int
    files: int
    excluded: int
    copies: int
    invalid: int
    max_score_difference: float | None
    outputs: tuple[OutputFigures, ...]
    classes: tuple[ClassFigures, ...]
    groups: tuple[Group, ...]
    flipped: tuple[Flip, ...]
    refused: tuple[Refused, ...]


def report_of(
    drift: Drift, pairing: Pairing, images: Images, manifest: Manifest, why_not: str
) -> Report:
    """Fill in the checks, the verdict and everything behind them.

    Parameters
    ----------
    drift
        Evidence without checks.
    why_not
        Why no verdict means anything, "" when one does.
    """
    told = _Told(drift, pairing, images, manifest)
    everything = np.ones(len(pairing.files), dtype=bool)
    checks = tuple(told.checks(everything))
    verdict = verdict_of(checks)
    if why_not:
        verdict = "not-judged"
        checks = tuple(
            msgspec.structs.replace(check, verdict="not-judged", missing_cases=0)
            for check in checks
        )
    return Report(
        drift=msgspec.structs.replace(drift, checks=checks, verdict=verdict),
        why_not=why_not,
        frames=int(pairing.judged.sum()),
        files=len(images.files),
        excluded=images.excluded,
        copies=images.copies,
        invalid=int((pairing.before.valid & ~pairing.after.valid).sum()),
        max_score_difference=_largest_difference(pairing),
        outputs=tuple(told.outputs()),
        classes=tuple(told.classes()),
        groups=tuple(told.groups()),
        flipped=tuple(told.flips()),
        refused=tuple(_refused(pairing)),
    )


def _largest_difference(pairing: Pairing) -> float | None:
    both = pairing.before.valid & pairing.after.valid
    if not both.any():
        return None
    return max(
        float(np.abs(answers.scores - pairing.after.outputs[name].scores)[both].max())
        for name, answers in pairing.before.outputs.items()
    )


def _refused(pairing: Pairing) -> Iterator[Refused]:
    """Yield what no network was asked, then what neither side could answer."""
    before = pairing.before
    for each in before.refused:
        yield Refused(file=_told(before.files[each.file]), frame=each.frame, rule=each.rule)
    for row in np.flatnonzero(~pairing.judged).tolist():
        file, frame = before.files[int(before.file[row])], int(before.frame[row])
        yield Refused(file=_told(file), frame=frame, rule=before.invalid[row])


def judged_classes(output: Output) -> tuple[str, ...]:
    """Return the classes that the verdict rests on.

    Those with an operating threshold; without any, every class. Of two classes one says it all:
    the sensitivity of one is the specificity of the other.
    """
    if output.task == "single-label" and output.thresholds:
        return tuple(threshold.label for threshold in output.thresholds)
    if output.task == "single-label" and len(output.classes) == 2:
        return output.classes[1:]
    return output.classes


class _Told:
    """Works the parts of a report out of paired decisions and labels."""

    def __init__(self, drift: Drift, pairing: Pairing, images: Images, manifest: Manifest) -> None:
        self._margins = drift.margins
        self._pairing = pairing
        self._images = images
        self._manifest = manifest
        labels = images.labels
        rows = pairing.files
        self._truth = {} if labels is None else {n: t[rows] for n, t in labels.truth.items()}
        self._known = {} if labels is None else {n: k[rows] for n, k in labels.known.items()}

    def checks(self, cases: Flags) -> Iterator[Check]:
        """Yield the checks over some of the cases, (cases,)."""
        flipped = self._pairing.flipped[cases]
        yield flip_check("flips", int(flipped.sum()), len(flipped), self._margins.flip_ratio)
        for output in self._manifest.outputs if self._truth else ():
            for label in judged_classes(output):
                yield from self._class_checks(output, label, cases & self._known[output.name])

    def _class_checks(self, output: Output, label: str, cases: Flags) -> Iterator[Check]:
        index = output.classes.index(label)
        positive = self._truth[output.name][:, index]
        rights = self._pairing.rights(output.name, index, positive)
        named = label if len(self._manifest.outputs) == 1 else f"{label} ({output.name})"
        for what, kind in (("sensitivity", positive), ("specificity", ~positive)):
            among = cases & kind
            yield loss_check(
                f"{what} drop of {named}",
                int(rights.lost[among].sum()),
                int(rights.gained[among].sum()),
                int(among.sum()),
                self._margins.sensitivity_drop,
            )
        before, after, having = self._pairing.scores(output.name, index, positive)
        mine = cases[having]
        yield auc_check(
            f"AUC drop of {named}",
            before[mine],
            after[mine],
            positive[having][mine],
            self._margins.auc_drop,
        )

    def groups(self) -> Iterator[Group]:
        labels = self._images.labels
        for column, values in () if labels is None else labels.groups.items():
            of_case = np.array(values, dtype=object)[self._pairing.files]
            for value in sorted(set(of_case)):
                mine = of_case == value
                checks = tuple(self.checks(mine))
                yield Group(
                    column=column,
                    value=value,
                    cases=int(mine.sum()),
                    verdict=verdict_of(checks),
                    checks=checks,
                )

    def outputs(self) -> Iterator[OutputFigures]:
        pairing = self._pairing
        for name, truth in self._truth.items():
            known = self._known[name][pairing.case]
            right = []
            for each in (pairing.before, pairing.after):
                equal = (each.outputs[name].chosen[pairing.judged] == truth[pairing.case]).all(1)
                right.append((equal & each.valid[pairing.judged])[known])
            if known.any():
                yield OutputFigures(
                    output=name,
                    frames=int(known.sum()),
                    accuracy_before=float(right[0].mean()),
                    accuracy_after=float(right[1].mean()),
                )

    def classes(self) -> Iterator[ClassFigures]:
        for output in self._manifest.outputs if self._truth else ():
            judged = judged_classes(output)
            for index, label in enumerate(output.classes):
                yield self._class(output, index, judged=label in judged)

    def _class(self, output: Output, index: int, *, judged: bool) -> ClassFigures:
        pairing = self._pairing
        known = self._known[output.name]
        positive = self._truth[output.name][:, index]
        frames = known[pairing.case]
        there = positive[pairing.case][frames]
        before, after = (
            side(
                answers.chosen[pairing.judged, index][frames],
                answers.scores[pairing.judged, index][frames],
                there,
            )
            for answers in (pairing.before.outputs[output.name], pairing.after.outputs[output.name])
        )
        return ClassFigures(
            output=output.name,
            label=output.classes[index],
            judged=judged,
            before=before,
            after=after,
            positives=self._change(output.name, index, known & positive),
            negatives=self._change(output.name, index, known & ~positive),
            auc_p=self._auc_p(output.name, index),
        )

    def _change(self, name: str, index: int, cases: Flags) -> Change:
        rights = self._pairing.rights(name, index, self._truth[name][:, index])
        return change(
            int(rights.lost[cases].sum()), int(rights.gained[cases].sum()), int(cases.sum())
        )

    def _auc_p(self, name: str, index: int) -> float | None:
        positive = self._truth[name][:, index]
        before, after, having = self._pairing.scores(name, index, positive)
        known = self._known[name][having]
        there = positive[having][known]
        if min(there.sum(), (~there).sum()) < 2:
            return None
        return paired_auc(before[known], after[known], there).p

    def flips(self) -> Iterator[Flip]:
        """Yield the first flips, output by output of each flipped frame."""
        pairing = self._pairing
        rows = np.flatnonzero(pairing.judged)[pairing.flipped_frames]
        left = MOST_FLIPS
        for row in rows.tolist():
            for output in self._manifest.outputs:
                flip = self._flip(row, output)
                if flip.before != flip.after and left > 0:
                    left -= 1
                    yield flip

    def _flip(self, row: int, output: Output) -> Flip:
        pairing = self._pairing
        labels: list[tuple[str, ...] | None] = []
        scores: list[dict[str, float] | None] = []
        for each in (pairing.before, pairing.after):
            answers = each.outputs[output.name]
            valid = each.invalid[row] == ""
            labels.append(_named(answers.chosen[row], output) if valid else None)
            scores.append(
                dict(zip(output.classes, answers.scores[row].tolist(), strict=True))
                if valid
                else None
            )
        file = int(pairing.before.file[row])
        case = int(np.searchsorted(pairing.files, file))
        known = bool(self._truth) and bool(self._known[output.name][case])
        return Flip(
            file=_told(pairing.before.files[file]),
            frame=int(pairing.before.frame[row]),
            output=output.name,
            before=labels[0],
            after=labels[1],
            scores_before=scores[0],
            scores_after=scores[1],
            truth=_named(self._truth[output.name][case], output) if known else None,
        )


def _told(path: Path) -> str:
    """Return a path as text; bytes that are no UTF-8 are told as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _named(chosen: Flags, output: Output) -> tuple[str, ...]:
    return tuple(
        label for label, there in zip(output.classes, chosen.tolist(), strict=True) if there
    )
