"""What sensors gave over time: channels, their values, and what can be told from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from msgspec import Struct

from medge.profiles.terms import Count, Positive, Text

Quantity: TypeAlias = Literal["clock", "temperature", "power", "energy", "throttle", "load"]
Values: TypeAlias = tuple[float | None, ...]


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity that a sensor gives: ``clock`` of ``cpu0`` in ``MHz``, and where it is read.

    Parameters
    ----------
    part
        What it belongs to: ``cpu0``, ``gpu0``, ``package-0``, a rail's or a thermal zone's name.
    unit
        Throttling comes in three: ``reasons`` are the bits of what slows the device down now,
        ``level`` how far it is held back now, ``events`` how often it was since it started.
    update_ns
        How often the source has a new value at most; None where nobody says.
    wraps_at
        The value at which a counter begins again with 0; None for one that does not.
    within
        The part whose channel of the same quantity holds this one too: never add both.
    """

    quantity: Quantity
    part: Text
    unit: Literal["MHz", "C", "W", "J", "reasons", "level", "events", "ratio"]
    source: Text
    update_ns: Positive | None = None
    wraps_at: float | None = None
    within: Text | None = None


class Trace(Struct, frozen=True, kw_only=True, tag="trace", forbid_unknown_fields=True):
    """What the sensors gave while a candidate ran.

    ``at_ns`` counts from the first timed call; ``values[c][i]`` is channel c at moment i, None
    where that reading failed. ``missing`` says for each quantity that has no channel why.
    ``read_ns`` is what one reading of all channels took, as a median, every ``period_ns``.
    """

    channels: tuple[Channel, ...]
    at_ns: tuple[int, ...]
    values: tuple[Values, ...]
    missing: dict[str, Text] = {}
    period_ns: Count | None = None
    read_ns: Count | None = None


def highest(trace: Trace, quantity: Quantity, parts: str = "") -> Values:
    """Return the largest value of a quantity at every moment, None where no channel told it.

    The clock of CPUs is that of the busiest one: others may sleep meanwhile.

    Parameters
    ----------
    parts
        How the names of the parts begin, such as ``gpu``; empty for all.
    """
    columns = [
        values
        for channel, values in zip(trace.channels, trace.values, strict=True)
        if channel.quantity == quantity and channel.part.startswith(parts)
    ]
    return tuple(
        max((value for value in moment if value is not None), default=None)
        for moment in zip(*columns, strict=True)
    )


def throttled(trace: Trace) -> tuple[bool | None, ...]:
    """Return at every moment whether a part was slowed down, None where no channel could tell.

    A counter tells it at the first moment that it has risen since the one before, so it tells
    nothing at the very first.
    """
    columns = [
        _slowed(channel, values)
        for channel, values in zip(trace.channels, trace.values, strict=True)
        if channel.quantity == "throttle"
    ]
    if not columns:
        return (None,) * len(trace.at_ns)
    return tuple(_any(moment) for moment in zip(*columns, strict=True))


def _slowed(channel: Channel, values: Values) -> list[bool | None]:
    if channel.unit != "events":
        return [None if value is None else value > 0 for value in values]
    told: list[bool | None] = [None] if values else []
    for before, after in pairwise(values):
        told.append(None if before is None or after is None else after > before)
    return told


def _any(moment: Sequence[bool | None]) -> bool | None:
    known = [told for told in moment if told is not None]
    return any(known) if known else None


def risen(values: Sequence[float], wraps_at: float | None = None) -> list[float]:
    """Return how far a counter has risen since its first value, over any number of wraps.

    A counter that went back has begun again, if by that it rose less than half its range: between
    two readings none rises so far, and so one that was set back is told from one that wrapped.

    Parameters
    ----------
    values
        Readings in order, at least one.
    wraps_at
        The value at which it begins again with 0 (Linux, powercap: ``max_energy_range_uj``).

    Raises
    ------
    ValueError
        The counter went back, and not by wrapping.
    """
    total, rises = 0.0, [0.0]
    for before, after in pairwise(values):
        step = after - before
        if step < 0.0:
            step += 0.0 if wraps_at is None else wraps_at
            if wraps_at is None or not 0.0 <= step < wraps_at / 2.0:
                raise ValueError("its counter went back")
        total += step
        rises.append(total)
    return rises
