"""Checks: one figure against its margin; what passes, fails, or needs more cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

from medge.bench.agreement import tango_bounds
from medge.bench.binomial import at_most, lower, upper
from medge.bench.roc import Flags, Floats, paired_auc
from medge.engine.evidence import Check, Verdict

CONFIDENCE = 0.95  # of every one-sided bound
LEAST_OF_EACH = 30  # positives, and negatives: with 10, DeLong's 5 % bounds err up to 21 %


def flip_check(name: str, flips: int, cases: int, margin: float) -> Check:
    """Judge how many decisions changed: Clopper and Pearson's exact bounds of flips / cases."""
    low = lower(flips, cases, CONFIDENCE) if cases else 0.0
    high = upper(flips, cases, CONFIDENCE) if cases else 1.0
    value = flips / cases if cases else 0.0
    missing = partial(_missing, flips, cases, margin)
    return _check(name, value, (low, high), margin=margin, cases=cases, missing=missing)


def loss_check(name: str, lost: int, gained: int, cases: int, margin: float) -> Check:
    """Judge how many right decisions were lost among the cases of one kind.

    ``value`` is the net loss (lost - gained) / cases. For a pass the exact upper bound of
    lost / cases counts: decisions gained in other patients do not give the lost ones back. For a
    fail the net loss itself must be beyond the margin (Tango's score bound).
    """
    low, _ = tango_bounds(lost, gained, cases, CONFIDENCE)
    high = upper(lost, cases, CONFIDENCE) if cases else 1.0
    value = (lost - gained) / cases if cases else 0.0
    missing = partial(_missing, lost, cases, margin)
    return _check(name, value, (low, high), margin=margin, cases=cases, missing=missing)


def auc_check(name: str, before: Floats, after: Floats, positive: Flags, margin: float) -> Check:
    """Judge the loss of the area under the ROC curve: DeLong's bounds.

    With fewer than 30 cases of either kind it is inconclusive, whatever the areas are.

    Parameters
    ----------
    before, after
        Scores of the same cases, shape (n,), not NaN.
    positive
        Which cases are diseased, shape (n,).
    """
    cases = len(positive)
    positives = int(positive.sum())
    lacking = sum(max(0, LEAST_OF_EACH - count) for count in (positives, cases - positives))
    if lacking:
        all_open = (-1.0, 1.0)
        return _check(name, 0.0, all_open, margin=margin, cases=cases, missing=lambda: lacking)
    found = paired_auc(before, after, positive)
    low, high = found.bounds(CONFIDENCE)

    def missing() -> int:
        # Cases without any difference shrink drop and error alike: the bound falls as 1 / cases.
        return math.ceil(cases * (high / margin - 1.0))

    return _check(name, found.drop, (low, high), margin=margin, cases=cases, missing=missing)


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """Return the worst: all must pass.

    An intersection-union test (Berger 1982, Technometrics 24:295): a false pass needs every check
    to pass falsely, so each keeps its full 5 % and nothing is divided among them.
    """
    found = {check.verdict for check in checks}
    if "fail" in found:
        return "fail"
    return "inconclusive" if "inconclusive" in found else "pass"


def _check(
    name: str,
    value: float,
    bounds: tuple[float, float],
    *,
    margin: float,
    cases: int,
    missing: Callable[[], int],
) -> Check:
    low, high = bounds
    verdict: Verdict = "pass" if high <= margin else "fail" if low > margin else "inconclusive"
    return Check(
        name=name,
        value=value,
        low=low,
        high=high,
        margin=margin,
        cases=cases,
        missing_cases=missing() if verdict == "inconclusive" else 0,
        verdict=verdict,
    )


def _missing(events: int, cases: int, margin: float) -> int:
    """Return how many more cases without an event would bring the upper bound to the margin."""

    def too_few(more: int) -> bool:
        # The bound is above the margin where so few events are still likely at the margin.
        return at_most(events, cases + more, margin) > 1.0 - CONFIDENCE

    low, high = 0, 1
    while too_few(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if too_few(middle) else (low, middle)
    return high
