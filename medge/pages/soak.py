"""A soak as rows for people: what is sustained, what throttled, and minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medge.bench.sections import Absent

if TYPE_CHECKING:
    from medge.bench.result import Result
    from medge.bench.sections import Soak, SoakMinute

Row = tuple[str, str, str]
MOST_SHOWN = 12  # minutes; JSON has all


def soak(result: Result) -> Iterator[Row]:
    """Yield what a long run at a duty cycle showed."""
    found = None if result.sections is None else result.sections.soak
    if isinstance(found, Absent):
        yield ("soak", "not measured", found.reason)
    elif found is not None:
        yield from _soak(found)


def _soak(found: Soak) -> Iterator[Row]:
    yield ("soak", "of", _asked(found))
    yield ("soak", "sustained", f"{found.sustained_per_s:.3g} pictures in a second of work")
    yield ("soak", "last minute", _last(found))
    if isinstance(found.throttle_s, Absent):
        yield ("soak", "throttled", f"not known: {found.throttle_s.reason}")
    elif found.throttle_s is None:
        yield ("soak", "throttled", "never")
    else:
        yield ("soak", "throttled", f"first after {found.throttle_s:.0f} s")
    for minute in _shown(found.minutes):
        yield ("soak", f"minute {minute.minute}", _minute(minute))


def _last(found: Soak) -> str:
    if len(found.minutes) == 1:
        return "is the first: a longer soak compares them"
    value = f"p50 {found.ratio:.3f} of the first minute's"
    if found.low is None or found.high is None:
        return f"{value} (their calls cannot bound it)"
    return f"{value} ({found.low:.3f} to {found.high:.3f})"


def _asked(found: Soak) -> str:
    cycle = f"{found.duty_ns / 1e9:g} s of work, {found.rest_ns / 1e9:g} s of rest"
    if found.asked_ns is None or found.lasted_ns is None:
        return cycle
    if found.interrupted:
        lasted, asked = _time(found.lasted_ns), _time(found.asked_ns)
        return f"{lasted} of {asked}, then interrupted; {cycle}"
    return f"{_time(found.asked_ns)}: {cycle}"


def _time(time_ns: int) -> str:
    seconds = time_ns / 1e9
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _shown(minutes: tuple[SoakMinute, ...]) -> list[SoakMinute]:
    """Return the first, the last, and some evenly between them."""
    if len(minutes) <= MOST_SHOWN:
        return list(minutes)
    last = len(minutes) - 1
    return [minutes[place * last // (MOST_SHOWN - 1)] for place in range(MOST_SHOWN)]


def _minute(minute: SoakMinute) -> str:
    told = [f"{minute.pictures} pictures", f"p50 {minute.p50_ns / 1e6:.3g} ms"]
    if minute.p99_ns is not None:
        told.append(f"p99 {minute.p99_ns / 1e6:.3g} ms")
    if minute.clock_mhz is not None:
        told.append(f"{minute.clock_mhz:.0f} MHz")
    if minute.temperature_c is not None:
        told.append(f"{minute.temperature_c:.0f} C")
    if minute.throttled:
        told.append("throttled")
    return ", ".join(told)
