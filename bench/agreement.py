"""Agreement of paired decisions: Tango's score interval of what was lost on balance."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist


def tango_bounds(lost: int, gained: int, cases: int, confidence: float) -> tuple[float, float]:
    """Return one-sided bounds of the net loss (lost - gained) / cases.

    Score method for the difference of paired proportions (Tango 1998, Stat Med 17:891-908); valid
    with no discordant pair at all, where Wald's interval has no width.

    Parameters
    ----------
    confidence
        Of each bound: 0.95 gives the limits of the two-sided 90 % interval.

    Returns
    -------
    tuple of float
        Lower and upper bound, within -1..1; (-1, 1) without cases.
    """
    if cases == 0:
        return -1.0, 1.0
    z = NormalDist().inv_cdf(confidence)
    value = (lost - gained) / cases

    def score(difference: float) -> float:
        return _score(lost, gained, cases, difference)

    return _falls_to(z, score, -1.0, value), _falls_to(-z, score, value, 1.0)


def _falls_to(level: float, function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function passes ``level``, to the last bit."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):  # neighbours among the floats
            return middle
        if function(middle) > level:
            low = middle
        else:
            high = middle


def _score(lost: int, gained: int, cases: int, difference: float) -> float:
    """Return Tango's statistic; the nuisance proportion is its maximum likelihood estimate."""
    a = 2.0 * cases
    b = (2.0 * cases - lost + gained) * difference - lost - gained
    c = -gained * difference * (1.0 - difference)
    gain_ratio = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = cases * (2.0 * gain_ratio + difference * (1.0 - difference))
    distance = lost - gained - cases * difference
    if variance <= 0.0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)
