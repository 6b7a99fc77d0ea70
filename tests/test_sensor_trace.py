"""Traces of sensors: counters that wrap, throttling, the busiest part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles.sensors.trace import Channel, Trace, highest, risen, throttled


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.integers(0, 499), min_size=1, max_size=30),
    start=st.integers(0, 999),
    wraps_at=st.just(1000),
)
def test_a_counter_rises_over_its_wraps_as_if_it_had_none(
    steps: list[int], start: int, wraps_at: int
) -> None:
    total, endless = start, [start]
    for step in steps:
        total += step
        endless.append(total)
    read = [value % wraps_at for value in endless]
    assert risen(read, wraps_at) == [value - start for value in endless]


@pytest.mark.parametrize(
    ("values", "wraps_at"),
    [([2.0, 1.0], None), ([9.0, 1.0], 5.0), ([900.0, 899.0], 1000.0), ([700.0, 201.0], 1000.0)],
)
def test_a_counter_that_goes_back_without_a_wrap_is_refused(
    values: list[float], wraps_at: float | None
) -> None:
    with pytest.raises(ValueError, match="went back"):
        risen(values, wraps_at)


def channel(quantity: str, part: str, unit: str) -> Channel:
    return Channel(quantity=quantity, part=part, unit=unit, source="test")  # type: ignore[arg-type]


def test_throttling_is_told_by_bits_levels_and_rising_counters() -> None:
    trace = Trace(
        channels=(
            channel("throttle", "gpu0", "reasons"),
            channel("throttle", "cores", "events"),
            channel("clock", "cpu0", "MHz"),
        ),
        at_ns=(0, 1, 2, 3, 4),
        values=(
            (0.0, 0.0, 4.0, None, None),
            (7.0, 7.0, 7.0, 9.0, None),
            (1.0, 2.0, None, 4.0, 5.0),
        ),
    )
    assert throttled(trace) == (False, False, True, True, None)
    nothing = Trace(channels=trace.channels[2:], at_ns=trace.at_ns, values=trace.values[2:])
    assert throttled(nothing) == (None,) * 5


def test_the_highest_value_is_that_of_the_busiest_part() -> None:
    trace = Trace(
        channels=(
            channel("clock", "cpu0", "MHz"),
            channel("clock", "cpu1", "MHz"),
            channel("clock", "gpu0", "MHz"),
        ),
        at_ns=(0, 1, 2),
        values=((800.0, None, None), (3400.0, 1200.0, None), (200.0, 300.0, 400.0)),
    )
    assert highest(trace, "clock", "cpu") == (3400.0, 1200.0, None)
    assert highest(trace, "clock") == (3400.0, 1200.0, 400.0)
    assert highest(trace, "temperature") == ()
