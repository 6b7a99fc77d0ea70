"""What a classifier's scores are worth: figures with 95 % intervals, and operating points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]

NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value 0..1 with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def area_under_curve(scores: Scores, diseased: Truth) -> Figure:
    """Return the area under the ROC curve with DeLong's interval.

    DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837): the variance comes from how much
    of the other class each single case beats. Midranks count ties as halves (Sun and Xu 2014,
    IEEE Signal Processing Letters 21:1389). The interval is cut at 0 and 1.

    Parameters
    ----------
    scores
        Higher means more likely diseased, shape (n,).
    diseased
        Shape (n,), with at least two cases of either kind.
    """
    sick, well = scores[diseased], scores[~diseased]
    if min(len(sick), len(well)) < 2:
        raise ValueError(f"needs 2 cases of either kind, found {len(sick)} and {len(well)}")
    together = _midranks(np.concatenate((sick, well)))
    beaten = (together[: len(sick)] - _midranks(sick)) / len(well)
    unbeaten = 1 - (together[len(sick) :] - _midranks(well)) / len(sick)
    variance = beaten.var(ddof=1) / len(sick) + unbeaten.var(ddof=1) / len(well)
    area, margin = float(beaten.mean()), NORMAL_95 * math.sqrt(variance)
    return Figure(area, max(0.0, area - margin), min(1.0, area + margin))


def share(hits: int, cases: int) -> Figure:
    """Return a share with Wilson's interval (1927, JASA 22:209), sound near 0 and 1 too."""
    if cases < 1:
        raise ValueError("a share needs at least one case")
    value, square = hits / cases, NORMAL_95**2
    middle = (value + square / (2 * cases)) / (1 + square / cases)
    margin = math.sqrt(value * (1 - value) / cases + square / (4 * cases**2))
    margin *= NORMAL_95 / (1 + square / cases)
    return Figure(value, max(0.0, middle - margin), min(1.0, middle + margin))


def sensitivity(probabilities: Scores, diseased: Truth, threshold: float) -> Figure:
    """Return the share of diseased cases whose probability reaches the threshold."""
    return share(int((probabilities[diseased] >= threshold).sum()), int(diseased.sum()))


def specificity(probabilities: Scores, diseased: Truth, threshold: float) -> Figure:
    """Return the share of other cases whose probability stays below the threshold."""
    return share(int((probabilities[~diseased] < threshold).sum()), int((~diseased).sum()))


def threshold_for(probabilities: Scores, diseased: Truth, wanted: float) -> float:
    """Return a threshold that finds at least the ``wanted`` share (above 0) of the diseased.

    It lies halfway to the next case below, so that the last case found does not hang on rounding,
    and is rounded to 3 decimals where that changes no decision.
    """
    ordered = np.sort(probabilities[diseased])[::-1]
    last = float(ordered[math.ceil(wanted * len(ordered) - 1e-9) - 1])
    below = probabilities[probabilities < last]
    halfway = (last + float(below.max())) / 2 if len(below) else last
    rounded = round(halfway, 3)
    same = np.array_equal(probabilities >= rounded, probabilities >= last)
    return rounded if same else halfway


def _midranks(values: Scores) -> Scores:
    """Return ranks from 1; equal values share the middle of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], np.float64)
