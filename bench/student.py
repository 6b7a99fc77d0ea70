"""Student's t distribution: its quantiles, for means of few blocks."""

from __future__ import annotations

from math import cos, expm1, pi, sin, sqrt
from statistics import NormalDist


def t_quantile(confidence: float, freedom: float) -> float:
    """Return the t that bounds a mean from both sides, such as 2.776 for 95 % and 4.

    Hill, "Student's t-quantiles", Algorithm 396, Communications of the ACM 13, 1970: right to
    about six digits from 3 degrees of freedom on, exact for 1 and 2.

    Parameters
    ----------
    confidence
        Above 0 and below 1.
    freedom
        Degrees of freedom, at least 1; need not be whole (Welch's approximation gives such).
    """
    if not 0.0 < confidence < 1.0 or freedom < 1.0:
        raise ValueError(f"no t of confidence {confidence} and {freedom} degrees of freedom")
    tails = 1.0 - confidence
    if freedom == 1.0:
        return cos(tails * pi / 2.0) / sin(tails * pi / 2.0)
    if freedom == 2.0:
        return sqrt(2.0 / (tails * (2.0 - tails)) - 2.0)
    a = 1.0 / (freedom - 0.5)
    b = 48.0 / (a * a)
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * sqrt(a * pi / 2.0) * freedom
    y = (d * tails) ** (2.0 / freedom)
    if y <= 0.05 + a:
        inner = 1.0 / (
            ((freedom + 6.0) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2.0) * 3.0
        )
        y = ((inner + 0.5 / (freedom + 4.0)) * y - 1.0) * (freedom + 1.0) / (
            freedom + 2.0
        ) + 1.0 / y
        return sqrt(freedom * y)
    x = NormalDist().inv_cdf(tails / 2.0)
    y = x * x
    if freedom < 5.0:
        c += 0.3 * (freedom - 4.5) * (x + 0.6)
    c = (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b + c
    y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
    return sqrt(freedom * expm1(a * y * y))
