"""Calibration: how far probabilities stand from the frequencies they promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BINS = 15  # of equal width, as Guo et al. 2017 (On calibration of modern neural networks) use


def calibration_error(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error of one class, 0..1 (Naeini et al. 2015).

    The mean, weighted by cases, of the distance between a bin's mean probability and the part of
    its cases that are positive; 15 bins of equal width, a bound belongs to the bin below it.

    Parameters
    ----------
    scores
        Probabilities of the class, shape (n,), n at least 1.
    positive
        Whether the class is there, shape (n,).
    """
    bins = np.clip(np.ceil(scores * BINS).astype(np.int64) - 1, 0, BINS - 1)
    promised = np.bincount(bins, weights=scores, minlength=BINS)
    found = np.bincount(bins, weights=positive.astype(np.float64), minlength=BINS)
    return float(np.abs(promised - found).sum() / len(scores))
