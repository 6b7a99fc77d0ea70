"""Figures of a classifier before and after: counts, rates, areas, calibration, class by class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from medge.bench.agreement import tango_bounds
from medge.bench.binomial import sign_test
from medge.bench.calibration import calibration_error
from medge.bench.roc import auc

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

TWO_SIDED_95 = 0.975  # confidence of each bound of a two-sided 95 % interval


class Side(Struct, frozen=True, kw_only=True):
    """One class on one side, counted in frames; a rate without a denominator is None."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None
    auc: float | None
    calibration_error: float | None  # expected calibration error, 15 bins of equal width


class Change(Struct, frozen=True, kw_only=True):
    """Right decisions that were lost and gained among ``cases``, and what chance would do.

    ``mcnemar_p`` is the exact two-sided p-value that both are equally likely; ``low`` and ``high``
    are Tango's two-sided 95 % interval of (lost - gained) / cases.
    """

    lost: int
    gained: int
    cases: int
    mcnemar_p: float
    low: float
    high: float


class ClassFigures(Struct, frozen=True, kw_only=True):
    """One class of one output; ``judged`` when the verdict rests on it.

    ``auc_p`` is DeLong's two-sided p-value that the areas are equal, None where there is none.
    """

    output: str
    label: str
    judged: bool
    before: Side
    after: Side
    positives: Change
    negatives: Change
    auc_p: float | None


def side(chosen: Flags, scores: Floats, positive: Flags) -> Side:
    """Count one class on one side.

    Parameters
    ----------
    chosen, scores, positive
        Whether the class was the answer, its probability (NaN without an answer), and whether it is
        there; each of shape (frames,).
    """
    tp = int((chosen & positive).sum())
    fp = int((chosen & ~positive).sum())
    fn = int(positive.sum()) - tp
    tn = len(positive) - tp - fp - fn
    valid = ~np.isnan(scores)
    both = positive[valid].any() and not positive[valid].all()
    return Side(
        true_positives=tp,
        false_negatives=fn,
        false_positives=fp,
        true_negatives=tn,
        sensitivity=_ratio(tp, tp + fn),
        specificity=_ratio(tn, tn + fp),
        precision=_ratio(tp, tp + fp),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        auc=auc(scores[valid], positive[valid]) if both else None,
        calibration_error=calibration_error(scores[valid], positive[valid])
        if valid.any()
        else None,
    )


def change(lost: int, gained: int, cases: int) -> Change:
    """Describe what was lost and gained among cases of one kind."""
    low, high = tango_bounds(lost, gained, cases, TWO_SIDED_95)
    return Change(
        lost=lost,
        gained=gained,
        cases=cases,
        mcnemar_p=sign_test(lost, lost + gained),
        low=low,
        high=high,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
