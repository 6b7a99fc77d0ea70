"""Exact binomial statistics: tails, quantiles, bounds of a rate, and the sign test (McNemar)."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, exp, expm1, floor, lgamma, log, log1p, sqrt

TINY = 1e-300  # keeps Lentz's fractions from dividing by zero


def at_most(k: int, n: int, p: float) -> float:
    """Return P(X <= k) of X ~ Binomial(n, p), to about nine digits for n up to ten million.

    It is the regularised incomplete beta function I(1 - p; n - k, k + 1) (DLMF 8.17.5).

    Parameters
    ----------
    k
        Any whole number: below 0 the answer is 0, from ``n`` on it is 1.
    n
        Trials, at least 0.
    p
        Chance of a success, 0 to 1.
    """
    _check(n, p)
    if k < 0:
        return 0.0
    if k >= n or p == 0.0:
        return 1.0
    if p == 1.0:
        return 0.0
    return _beta(n - k, k + 1, log1p(-p), log(p), 1.0 - p)


def at_least(k: int, n: int, p: float) -> float:
    """Return P(X >= k) of X ~ Binomial(n, p); as precise in its small values as ``at_most``."""
    _check(n, p)
    if k <= 0:
        return 1.0
    if k > n or p == 0.0:
        return 0.0
    if p == 1.0:
        return 1.0
    return _beta(k, n - k + 1, log(p), log1p(-p), p)


def quantile(q: float, n: int, p: float) -> int:
    """Return the smallest k with P(X <= k) >= q, for X ~ Binomial(n, p) and q within 0..1."""
    _check(n, p)
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"q must be within 0 and 1, found {q}")
    spread = 8.0 * sqrt(n * p * (1.0 - p)) + 8.0  # holds all but 1e-14 of the chance
    low, high = max(-1, floor(n * p - spread)), min(n, ceil(n * p + spread))
    if at_most(low, n, p) >= q:
        low = -1
    if at_most(high, n, p) < q:
        high = n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at_most(middle, n, p) >= q else (middle, high)
    return high


def upper(k: int, n: int, confidence: float) -> float:
    """Return the one-sided upper bound of a rate of which k successes in n trials were seen.

    Clopper and Pearson (Biometrika 26, 1934): the largest rate under which k or fewer successes
    still have the chance ``1 - confidence``. None in 299 bounds the rate at 1 % with 95 %.
    """
    _check_seen(k, n, confidence)
    if k == n:
        return 1.0
    if k == 0:
        return -expm1(log1p(-confidence) / n)
    return _where(lambda p: at_most(k, n, p) > 1.0 - confidence)


def lower(k: int, n: int, confidence: float) -> float:
    """Return the one-sided lower bound of a rate of which k successes in n trials were seen."""
    _check_seen(k, n, confidence)
    if k == 0:
        return 0.0
    if k == n:
        return exp(log1p(-confidence) / n)
    return _where(lambda p: at_least(k, n, p) < 1.0 - confidence)


def two_sided(k: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the exact interval of a rate: half of what may go wrong lies on either side."""
    side = 0.5 + confidence / 2.0
    return lower(k, n, side), upper(k, n, side)


def sign_test(k: int, n: int) -> float:
    """Return the two-sided p-value of k successes in n trials where both ways are as likely.

    With k the cases that only one of two classifiers gets right, and n those that exactly one of
    them gets right, this is McNemar's exact test. 1 where n is 0.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k must be within 0 and n, found {k} of {n}")
    return min(1.0, 2.0 * at_most(min(k, n - k), n, 0.5))


def _where(below: Callable[[float], bool]) -> float:
    """Return where a condition that holds left of one point of 0..1, and only there, ends."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2.0
        if high - low <= 1e-15 * high or not low < middle < high:
            return middle
        low, high = (middle, high) if below(middle) else (low, middle)


def _beta(a: int, b: int, log_x: float, log_y: float, x: float) -> float:
    """Return I(x; a, b) with y = 1 - x, whose logarithms are given as they are known best."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log_x + b * log_y)
    if x <= (a + 1.0) / (a + b + 2.0):  # where the fraction converges fast
        return min(1.0, front * _fraction(a, b, x) / a)
    return max(0.0, 1.0 - front * _fraction(b, a, exp(log_y)) / b)


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction DLMF 8.17.22 by Lentz's method (Thompson and Barnett 1986)."""
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _not_zero(1.0 + term * d)
            c = _not_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            return value
    raise ArithmeticError(f"the binomial tail did not converge: a={a}, b={b}, x={x}")


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def _check(n: int, p: float) -> None:
    if n < 0 or not 0.0 <= p <= 1.0:
        raise ValueError(f"n must be at least 0 and p within 0 and 1, found n={n}, p={p}")


def _check_seen(k: int, n: int, confidence: float) -> None:
    if not 0 <= k <= n or n == 0 or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"expected 0 <= k <= n, n above 0 and a confidence between 0 and 1, found k={k}, "
            f"n={n}, confidence={confidence}"
        )
