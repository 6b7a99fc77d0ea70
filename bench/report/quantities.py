"""Quantities as people read them: three digits, a unit, and the interval beside the value."""

from __future__ import annotations

import math

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def number(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, thousands apart, never with an exponent."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}".replace("-", MINUS)


def setting(value: float) -> str:
    """Write a number that somebody chose, with the digits that it was chosen with."""
    return f"{value:.6g}".replace("-", MINUS)


def milliseconds(time_ns: float) -> str:
    """Write a time in ms."""
    return f"{number(time_ns / 1e6)} ms"


def milliseconds_between(low_ns: float, high_ns: float) -> str:
    """Write an interval in ms, as ``1.21-1.24 ms``, with digits enough to tell its ends apart."""
    low, high = told_apart(low_ns / 1e6, high_ns / 1e6)
    return f"{low}{DASH}{high} ms"


def told_apart(low: float, high: float) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to tell them apart, at most six."""
    for digits in range(3, 7):
        ends = number(low, digits), number(high, digits)
        if ends[0] != ends[1] or low == high:
            break
    return ends


def percent(ratio: float) -> str:
    """Write a part of 1 as percent; no rounding makes what is not all of it 100 %."""
    shown = number(100.0 * ratio)
    if shown == "100" and ratio < 1.0:
        shown = number(100.0 * ratio, 5)
    return f"{shown} %"


def percent_set(ratio: float) -> str:
    """Write a part of 1 that somebody chose, as a margin, as percent."""
    return f"{setting(100.0 * ratio)} %"


def size(size_bytes: float) -> str:
    """Write a size with the unit that fits, in powers of 1000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size_bytes) >= factor:
            return f"{number(size_bytes / factor)} {unit}"
    return f"{size_bytes:.0f} B".replace("-", MINUS)


def count(number_of: int, one: str, many: str | None = None) -> str:
    """Write ``1 frame``, ``1,200 frames``."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def clean(text: str) -> str:
    """Replace what is no visible character: it could drive a terminal or reverse a line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
