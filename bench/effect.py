"""Effects: by how much a figure of B differs from A's, with an interval and a word for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from msgspec import Struct

from medge.bench.binomial import two_sided
from medge.bench.doubts import MIN_INDEPENDENT
from medge.bench.stats import (
    Samples,
    compare,
    interval_cases,
    percentile,
    percentile_interval,
    session_interval,
    worth,
)
from medge.profiles.terms import Count, Text

Word = Literal["lower", "higher", "cannot-tell"]
Unit = Literal["ns", "bytes", "mJ", "ratio"]
Bounds = tuple[float, float, float]  # low, value, high

MOST_EXACT = 400  # pairs of samples up to which ranks are counted, not approximated


class Effect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much one figure of B differs from A's.

    Parameters
    ----------
    scale
        ``relative``: ``change`` is B / A - 1, so 0.05 means that B has 5 % more; ``difference``: it
        is B - A, in ``unit``.
    low, high
        Bounds of the change with ``confidence``; None where the samples are too few to bound it.
    b_low, b_high
        Bounds of B's own figure with the same confidence, in ``unit``.
    verdict
        What B is against A; ``cannot-tell`` while 0 lies between the bounds.
    independent
        As many independent samples the shorter side is worth; 0 where it is no sample.
    missing
        How many more of them would be needed to bound the change at all.
    """

    metric: Text
    unit: Unit
    scale: Literal["relative", "difference"] = "relative"
    a: float
    b: float
    change: float
    low: float | None
    high: float | None
    b_low: float | None
    b_high: float | None
    confidence: float
    verdict: Word
    paired: bool = False
    independent: float = 0.0
    missing: Count = 0


def percentile_effect(
    a_ns: Samples,
    b_ns: Samples,
    p: float,
    confidence: float,
    allowance_ratio: float = 0.0,
    *,
    earlier_p50_ns: Sequence[int] = (),
) -> Effect:
    """Compare a percentile of two series that were taken apart from each other.

    Each side's own bounds (order statistics, of as many samples as it is worth) are joined to those
    of the ratio by Zou and Donner's rule (Statistics in Medicine 27, 2008), on the log scale.

    Parameters
    ----------
    allowance_ratio
        What two sessions may differ by although nothing was changed; the bounds are widened by it.
    earlier_p50_ns
        Medians of earlier sessions of A, over which the bounds of its p50 reach.
    """
    sides = [
        _bounds(side, p, confidence, before)
        for side, before in ((a_ns, earlier_p50_ns), (b_ns, ()))
    ]
    found = min(worth(a_ns, p), worth(b_ns, p))
    missing = _missing(p, confidence, found, min(len(a_ns), len(b_ns)))
    a, b = percentile(a_ns, p), percentile(b_ns, p)
    joined = None
    if sides[0] is not None and sides[1] is not None and not missing:
        joined = _widened(ratio_bounds(sides[0], sides[1]), allowance_ratio)
    return Effect(
        metric=f"p{p * 100:g}",
        unit="ns",
        a=float(a),
        b=float(b),
        change=b / a - 1.0,
        low=joined and joined[0],
        high=joined and joined[1],
        b_low=sides[1] and sides[1][0],
        b_high=sides[1] and sides[1][2],
        confidence=confidence,
        verdict=_word(joined),
        independent=found,
        missing=max(1, missing) if joined is None else 0,
    )


def paired_effect(
    a_ns: Samples, b_ns: Samples, confidence: float, allowance_ratio: float = 0.0
) -> Effect:
    """Compare the medians of two series that were taken in the same rounds.

    The change is the median over the pairs, bounded by the sign test (``stats.compare``): what
    slowed both members of a pair alike cancels. Samples beyond the shorter series have no partner.

    Parameters
    ----------
    allowance_ratio
        What two processes may differ by although they run the same; the bounds are widened by it.
    """
    pairs = min(len(a_ns), len(b_ns))
    found = compare(b_ns[:pairs], a_ns[:pairs], confidence)
    own = _bounds(b_ns, 0.5, confidence)
    missing = _missing(0.5, confidence, found.independent_pairs, pairs)
    joined = None
    if math.isfinite(found.high) and not missing:
        joined = _widened((found.low - 1.0, found.high - 1.0), allowance_ratio)
    return Effect(
        metric="p50",
        unit="ns",
        a=float(percentile(a_ns, 0.5)),
        b=float(percentile(b_ns, 0.5)),
        change=found.ratio - 1.0,
        low=joined and joined[0],
        high=joined and joined[1],
        b_low=own and own[0],
        b_high=own and own[2],
        confidence=confidence,
        verdict=_word(joined),
        paired=True,
        independent=found.independent_pairs,
        missing=max(1, missing) if joined is None else 0,
    )


def rank_effect(
    metric: str, a_ns: Sequence[int], b_ns: Sequence[int], confidence: float, allowance_ratio: float
) -> Effect:
    """Compare few independent times, such as starts of processes, by their ranks.

    The change is the median of all ratios b / a, its bounds the order statistics of them that Mann
    and Whitney's test leaves (Hodges and Lehmann, Annals of Mathematical Statistics 34, 1963).
    """
    a, b = np.asarray(a_ns, np.float64), np.asarray(b_ns, np.float64)
    ratios = np.sort(np.divide.outer(b, a).ravel())
    rank = _outer_rank(len(a), len(b), confidence)
    joined = None
    if rank:
        low, high = float(ratios[rank - 1]) - 1.0, float(ratios[-rank]) - 1.0
        joined = _widened((low, high), allowance_ratio)
    own = _bounds(b_ns, 0.5, confidence)
    return Effect(
        metric=metric,
        unit="ns",
        a=float(np.median(a)),
        b=float(np.median(b)),
        change=float(np.median(ratios)) - 1.0,
        low=joined and joined[0],
        high=joined and joined[1],
        b_low=own and own[0],
        b_high=own and own[2],
        confidence=confidence,
        verdict=_word(joined),
        independent=float(min(len(a), len(b))),
        missing=0 if rank else 1,
    )


def reading_effect(
    metric: str, unit: Unit, a: float, b: float, *, confidence: float, allowance_ratio: float
) -> Effect:
    """Compare one reading a side: all that bounds it is what two sessions may differ by."""
    joined = _widened((b / a - 1.0, b / a - 1.0), allowance_ratio) if a > 0 else None
    return Effect(
        metric=metric,
        unit=unit,
        a=a,
        b=b,
        change=b / a - 1.0 if a > 0 else 0.0,
        low=joined and joined[0],
        high=joined and joined[1],
        b_low=b,
        b_high=b,
        confidence=confidence,
        verdict=_word(joined),
        missing=0 if joined else 1,
    )


def bounded_effect(
    metric: str, unit: Unit, a: Bounds, b: Bounds, *, confidence: float, allowance_ratio: float
) -> Effect:
    """Compare two figures that bring 95 % intervals, which are widened to ``confidence``.

    Widened in proportion to the normal distribution's quantiles; a side that may be 0 or less has
    no ratio, and nothing can be told.
    """
    wide_a, wide_b = (_at_level(side, confidence) for side in (a, b))
    whole = min(wide_a[0], wide_b[0]) > 0
    joined = _widened(ratio_bounds(wide_a, wide_b), allowance_ratio) if whole else None
    return Effect(
        metric=metric,
        unit=unit,
        a=a[1],
        b=b[1],
        change=b[1] / a[1] - 1.0 if a[1] > 0 else 0.0,
        low=joined and joined[0],
        high=joined and joined[1],
        b_low=wide_b[0],
        b_high=wide_b[2],
        confidence=confidence,
        verdict=_word(joined),
        missing=0 if joined else 1,
    )


def rate_effect(metric: str, a: tuple[int, int], b: tuple[int, int], confidence: float) -> Effect:
    """Compare two rates, each as (how many, of how many): the change is their difference.

    Each side's exact bounds (Clopper and Pearson) are joined by Zou and Donner's rule.
    """
    (a_low, a_high), (b_low, b_high) = (two_sided(*side, confidence) for side in (a, b))
    a_rate, b_rate = a[0] / a[1], b[0] / b[1]
    change = b_rate - a_rate
    low = change - math.hypot(b_rate - b_low, a_high - a_rate)
    high = change + math.hypot(b_high - b_rate, a_rate - a_low)
    return Effect(
        metric=metric,
        unit="ratio",
        scale="difference",
        a=a_rate,
        b=b_rate,
        change=change,
        low=low,
        high=high,
        b_low=b_low,
        b_high=b_high,
        confidence=confidence,
        verdict=_word((low, high)),
        independent=float(min(a[1], b[1])),
    )


def ratio_bounds(a: Bounds, b: Bounds) -> tuple[float, float]:
    """Join the bounds of two independent figures above 0 to those of B / A - 1."""
    (a_low, a_log, a_high), (b_low, b_log, b_high) = (tuple(map(math.log, x)) for x in (a, b))
    change = b_log - a_log
    low = change - math.hypot(b_log - b_low, a_high - a_log)
    high = change + math.hypot(b_high - b_log, a_log - a_low)
    return math.expm1(low), math.expm1(high)


def _bounds(
    samples_ns: Samples, p: float, confidence: float, earlier_p50_ns: Sequence[int] = ()
) -> Bounds | None:
    if p == 0.5:
        found = session_interval(samples_ns, earlier_p50_ns, confidence)
    else:
        found = percentile_interval(samples_ns, p, confidence)
    if found is None:
        return None
    return float(found.low), float(percentile(samples_ns, p)), float(found.high)


def _missing(p: float, confidence: float, found: float, samples: int) -> int:
    """Return how many more independent samples are needed before a bound is worth showing.

    Where samples follow each other closely, their correlation is itself known too badly from few
    independent ones: at a lag-one correlation of 0.97 one verdict in ten would be wrong.
    """
    needed = _needed(p, confidence)
    if found < samples / 2.0:
        needed = max(needed, math.ceil(MIN_INDEPENDENT))
    return max(0, math.ceil(needed - math.floor(found)))


@lru_cache(maxsize=64)
def _needed(p: float, confidence: float) -> int:
    return interval_cases(p, confidence)


def _widened(bounds: tuple[float, float], allowance_ratio: float) -> tuple[float, float]:
    by = 1.0 + allowance_ratio
    return (1.0 + bounds[0]) / by - 1.0, (1.0 + bounds[1]) * by - 1.0


def _word(bounds: tuple[float, float] | None) -> Word:
    if bounds is None or bounds[0] <= 0.0 <= bounds[1]:
        return "cannot-tell"
    return "lower" if bounds[1] < 0.0 else "higher"


def _at_level(bounds: Bounds, confidence: float) -> Bounds:
    normal = NormalDist()
    factor = normal.inv_cdf(0.5 + confidence / 2.0) / normal.inv_cdf(0.975)
    low, value, high = bounds
    return value - factor * (value - low), value, value + factor * (high - value)


def _outer_rank(a: int, b: int, confidence: float) -> int:
    """Return the rank, from either end, of the ratios that bound the change; 0 for too few."""
    side = (1.0 - confidence) / 2.0
    if a * b > MOST_EXACT:
        middle, spread = a * b / 2.0, math.sqrt(a * b * (a + b + 1) / 12.0)
        return max(0, math.floor(middle + NormalDist().inv_cdf(side) * spread - 0.5) + 1)
    # ways[u]: orders of both in which a's precede b's u times (Mann and Whitney 1947), that is the
    # product of (1 - x^(b + i)) / (1 - x^i) for i to a.
    ways = np.zeros(a * b + 1)
    ways[0] = 1.0
    for i in range(1, a + 1):
        for u in range(a * b, b + i - 1, -1):
            ways[u] -= ways[u - b - i]
        for u in range(i, a * b + 1):
            ways[u] += ways[u - i]
    below = np.cumsum(ways) / np.sum(ways)
    return int(np.searchsorted(below, side, side="right"))
