"""Warm-up: calls go on until one more window of them tells nothing new."""

from __future__ import annotations

import math

import numpy as np

from medge.bench.procedure import WarmUp
from medge.bench.stats import Samples


def settled(taken_ns: Samples, rule: WarmUp) -> bool:
    """Return whether the last window of calls is alike to the one before it.

    Mann and Whitney (Annals of Mathematical Statistics 18, 1947) compare them by ranks, so that one
    late call changes little. On a quiet machine it finds differences that matter to nobody; hence
    the tolerance.

    Parameters
    ----------
    taken_ns
        All untimed calls so far, in order; fewer than two windows have not settled.
    """
    window = rule.window
    if len(taken_ns) < 2 * window:
        return False
    before, last = np.asarray(taken_ns[-2 * window : -window]), np.asarray(taken_ns[-window:])
    return (
        abs(shift_ratio(taken_ns, rule)) <= rule.tolerance_ratio
        or rank_test(before, last) >= rule.level
    )


def shift_ratio(taken_ns: Samples, rule: WarmUp) -> float:
    """Return by how much the last window's median exceeds the one's before: 0.1 is 10 % slower."""
    window = rule.window
    before = float(np.median(taken_ns[-2 * window : -window]))
    return float(np.median(taken_ns[-window:])) / max(1.0, before) - 1.0


def rank_test(a: Samples, b: Samples) -> float:
    """Return the two-sided p-value of Mann and Whitney's test, corrected for ties and continuity.

    The normal approximation, which is good from 5 samples a side on.
    """
    count_a, count_b = len(a), len(b)
    both = np.concatenate([a, b])
    values, place, ties = np.unique(both, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return 1.0
    last_ranks = np.cumsum(ties)
    ranks = (last_ranks - (ties - 1) / 2.0)[place]  # those who are equal share their middle rank
    count = count_a + count_b
    above = float(np.sum(ranks[:count_a])) - count_a * (count_a + 1) / 2.0
    tied = float(np.sum(ties.astype(float) ** 3 - ties)) / (count * (count - 1.0))
    deviation = math.sqrt(count_a * count_b / 12.0 * (count + 1.0 - tied))
    distance = max(0.0, abs(above - count_a * count_b / 2.0) - 0.5)
    return math.erfc(distance / deviation / math.sqrt(2.0))
