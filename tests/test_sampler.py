"""The sampler: what it reads, when, what it costs, and what happens when a sensor breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from medge.profiles.sensors import Sampler, Sensors
from medge.profiles.sensors.source import Source
from medge.profiles.sensors.trace import Channel

CLOCK = Channel(quantity="clock", part="cpu0", unit="MHz", source="test")
HEAT = Channel(quantity="temperature", part="cpu0", unit="C", source="test")


def sensors(*reads: Callable[[], float | None]) -> Sensors:
    """Return sensors whose channels are read by these."""
    return Sensors(
        [
            Source(channel, read, lambda: None)
            for channel, read in zip((CLOCK, HEAT), reads, strict=False)
        ],
        {"power": "no sensor"},
    )


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20.0
    while not condition() and time.monotonic() < until:
        time.sleep(0.002)
    assert condition()


def test_readings_come_at_the_period_with_their_moments_and_failures_are_none() -> None:
    values = iter([1000.0, None, 3000.0, *[4000.0] * 10_000])
    enough = threading.Event()
    heat = iter(range(10_000))

    def read_heat() -> float:
        number = next(heat)
        if number >= 5:
            enough.set()
        return float(number)

    with Sampler(sensors(lambda: next(values), read_heat), period_ns=2_000_000) as sampler:
        before = time.perf_counter_ns()
        assert enough.wait(20.0)
    after = time.perf_counter_ns()
    trace = sampler.trace(origin_ns=before)
    assert trace.values[0][:4] == (1000.0, None, 3000.0, 4000.0)
    assert trace.values[1][:3] == (0.0, 1.0, 2.0)
    assert list(trace.at_ns) == sorted(trace.at_ns)
    assert trace.at_ns[-1] <= after - before
    assert all(b - a >= 1_000_000 for a, b in zip(trace.at_ns, trace.at_ns[2:], strict=False))
    assert trace.missing == {"power": "no sensor"}
    assert trace.period_ns == 2_000_000
    assert trace.read_ns is not None
    length = len(trace.at_ns)
    time.sleep(0.01)
    assert len(sampler.trace().at_ns) == length  # it has stopped


def test_a_part_of_the_time_can_be_asked_for() -> None:
    moments = iter(range(0, 100, 5))  # a reading begins and ends 5 apart
    sampler = Sampler(sensors(lambda: 1.0), clock=lambda: next(moments))
    for _ in range(4):
        sampler.read_now()
    assert sampler.trace().at_ns == (2, 12, 22, 32)
    assert sampler.trace(origin_ns=10, start_ns=12, end_ns=22).at_ns == (2, 12)
    cost = sampler.cost
    assert cost is not None
    assert (cost.readings, cost.wall_ns) == (4, 5)


def test_while_paused_nothing_is_read() -> None:
    count = [0]

    def read() -> float:
        count[0] += 1
        return 0.0

    with Sampler(sensors(read), period_ns=1_000_000) as sampler:
        wait_for(lambda: count[0] > 2)
        sampler.pause()
        time.sleep(0.01)  # a reading under way may end
        paused_at = count[0]
        time.sleep(0.03)
        assert count[0] == paused_at
        sampler.resume()
        wait_for(lambda: count[0] > paused_at)
        cost = sampler.cost
    assert cost is not None
    assert 0.0 <= cost.cpu_ratio < 1.0


def test_what_a_sensor_raises_reaches_who_asks() -> None:
    def broken() -> float:
        raise RuntimeError("a bug in a reader")

    sampler = Sampler(sensors(broken), period_ns=1_000_000)
    with pytest.raises(RuntimeError, match="a bug in a reader"), sampler:
        wait_for(lambda: sampler._fault is not None)
    with pytest.raises(RuntimeError, match="a bug in a reader"):
        sampler.trace()


def test_without_a_channel_no_thread_runs() -> None:
    before = threading.active_count()
    with Sampler(Sensors([], {"clock": "nothing tells it"})) as sampler:
        assert threading.active_count() == before
    assert sampler.cost is None
    assert sampler.trace().channels == ()
    assert sampler.trace().missing == {"clock": "nothing tells it"}


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Sampler(Sensors([], {}), period_ns=0)
