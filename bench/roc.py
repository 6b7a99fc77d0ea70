"""ROC: areas under paired curves and their difference after DeLong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairedAuc:
    """Two areas of the same cases; ``error`` is the standard error of ``drop``."""

    before: float
    after: float
    error: float
    positives: int
    negatives: int

    @property
    def drop(self) -> float:
        """What was lost, -1..1."""
        return self.before - self.after

    @property
    def p(self) -> float:
        """Two-sided p-value that nothing was lost or gained; 1 for equal curves."""
        if self.error == 0.0:
            return 1.0 if self.drop == 0.0 else 0.0
        return 2.0 * NormalDist().cdf(-abs(self.drop) / self.error)

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return one-sided bounds of ``drop``."""
        reach = NormalDist().inv_cdf(confidence) * self.error
        return self.drop - reach, self.drop + reach


def auc(scores: Floats, positive: Flags) -> float:
    """Return the area under one curve; ties count half (Mann-Whitney)."""
    return _components(scores, positive)[0]


def paired_auc(before: Floats, after: Floats, positive: Flags) -> PairedAuc:
    """Compare two scores of the same cases (DeLong, DeLong and Clarke-Pearson 1988).

    With midranks as in Sun and Xu 2014 (IEEE Signal Process Lett 21:1389): n log n.

    Parameters
    ----------
    before, after
        Scores, shape (n,), finite or infinite, not NaN.
    positive
        Which cases are diseased, shape (n,); at least two of each kind.

    Raises
    ------
    ValueError
        Fewer than two positives or negatives: there is no variance.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if min(positives, negatives) < 2:
        raise ValueError("an interval of the AUC needs two positive and two negative cases")
    area_before, of_positives, of_negatives = _components(before, positive)
    area_after, others_positive, others_negative = _components(after, positive)
    # The variance of a difference is that of the differences: no covariances that cancel badly.
    variance = (
        float(np.var(of_positives - others_positive, ddof=1)) / positives
        + float(np.var(of_negatives - others_negative, ddof=1)) / negatives
    )
    return PairedAuc(area_before, area_after, math.sqrt(variance), positives, negatives)


def _components(scores: Floats, positive: Flags) -> tuple[float, Floats, Floats]:
    """Return the area, and the structural components of positives and of negatives."""
    diseased, healthy = scores[positive], scores[~positive]
    together = _midranks(np.concatenate([diseased, healthy]))
    m, n = len(diseased), len(healthy)
    of_diseased = (together[:m] - _midranks(diseased)) / n
    of_healthy = 1.0 - (together[m:] - _midranks(healthy)) / m
    return float(of_diseased.mean()), of_diseased, of_healthy


def _midranks(values: Floats) -> Floats:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[index]
    return ranks
