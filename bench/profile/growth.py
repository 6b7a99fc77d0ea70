"""Growth: whether memory rises with the calls, by a slope that single steps do not decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from medge.bench.stats import independent

MIN_POINTS = 8  # below, the normal approximation of Kendall's score does not hold


class Slope(NamedTuple):
    """A rise for each step of x, within ``low`` and ``high``."""

    value: float
    low: float
    high: float


def slope(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Slope:
    """Return the median slope over all pairs of points, with its interval.

    Theil's estimator with Sen's interval (Journal of the American Statistical Association 63,
    1968): no distribution is assumed, and a point that is off, as one step of an allocator, moves
    it little. Points that follow each other are alike; the variance of Kendall's score grows by as
    much as they are worth fewer independent ones (``stats.independent`` of the residuals' signs).

    Parameters
    ----------
    x
        Rising, at least 8.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    count = len(xs)
    if count < MIN_POINTS or len(ys) != count or np.any(np.diff(xs) <= 0):
        raise ValueError(f"expected at least {MIN_POINTS} points with rising x, found {count}")
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((ys[second] - ys[first]) / (xs[second] - xs[first]))
    value = float(np.median(slopes))
    residual = ys - value * xs
    above = np.sign(residual - np.median(residual))
    worth = independent(above) if np.any(above) else float(count)
    _, ties = np.unique(ys, return_counts=True)
    tied = float(np.sum(ties * (ties - 1.0) * (2.0 * ties + 5.0)))
    variance = (count * (count - 1.0) * (2.0 * count + 5.0) - tied) / 18.0 * count / worth
    reach = NormalDist().inv_cdf(0.5 + confidence / 2.0) * math.sqrt(variance)
    total = len(slopes)
    low = max(0, math.floor((total - reach) / 2.0) - 1)
    high = min(total - 1, math.ceil((total + reach) / 2.0))
    return Slope(value, float(slopes[low]), float(slopes[high]))
