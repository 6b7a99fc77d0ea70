"""A soak on a clock that the test moves: duty and rest, minutes, throttling, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.bench.scenario.burst import MOST_CALLS, Worked, burst
from medge.bench.scenario.soak import Duty, Soaking
from medge.bench.sections import Absent, Soak
from medge.profiles.sensors.trace import Channel, Trace

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
CALL = 20_000_000  # 50 pictures a second


class Device:
    """A device on a clock of its own: its calls get slower by the minute if it is told so."""

    def __init__(self, slower: Callable[[float], float] = lambda seconds: 1.0) -> None:
        self.now = 5 * SECOND
        self.begun = self.now
        self.slower = slower
        self.slept_ns = 0
        self.calls = 0

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept_ns += round(seconds * SECOND)
        self.now += round(seconds * SECOND)

    def call(self) -> None:
        self.calls += 1
        jitter = 1.0 + (self.calls * 7919 % 100) / 10_000  # no two alike, in no order
        self.now += round(CALL * self.slower((self.now - self.begun) / SECOND) * jitter)

    def work(self, duration_ns: int) -> Worked:
        return burst(self.call, duration_ns, self.clock)


def soaked(device: Device, duty: Duty) -> Soaking:
    soaking = Soaking(duty, device.clock, device.sleep)
    soaking.run(device.work)
    return soaking


def found(soaking: Soaking, trace: Trace | None = None) -> Soak:
    told = soaking.result(trace)
    assert isinstance(told, Soak)
    return told


CLINIC = Duty(total_ns=30 * MINUTE, duty_ns=12 * SECOND, rest_ns=48 * SECOND)


def test_half_an_hour_at_twelve_seconds_of_work_a_minute_has_thirty_rows() -> None:
    device = Device()
    soaking = soaked(device, CLINIC)
    told = found(soaking)
    assert [minute.minute for minute in told.minutes] == list(range(1, 31))
    assert all(590 <= minute.pictures <= 600 for minute in told.minutes)
    assert sum(minute.pictures for minute in told.minutes) == device.calls
    assert told.sustained_per_s == pytest.approx(50.0, rel=0.01)
    assert told.low is not None
    assert told.high is not None
    assert told.low <= 1.0 <= told.high
    assert told.ratio == pytest.approx(1.0, abs=0.002)
    assert not told.interrupted
    assert soaking.complete
    assert told.asked_ns == 30 * MINUTE
    lasted_ns = device.now - device.begun  # the last rest is left out: nothing follows it
    assert lasted_ns == pytest.approx(29 * MINUTE + 12 * SECOND, abs=SECOND)
    assert told.lasted_ns == lasted_ns
    assert all(minute.p99_ns is not None for minute in told.minutes)


def test_a_device_that_slows_down_is_seen_in_ratio_rate_and_rows() -> None:
    device = Device(lambda seconds: 1.0 if seconds < 600 else 1.5)
    told = found(soaked(device, CLINIC))
    assert told.ratio == pytest.approx(1.5, rel=0.01)
    assert told.low is not None
    assert told.low > 1.45
    assert told.sustained_per_s == pytest.approx(50.0 / 1.5, rel=0.02)
    assert told.minutes[9].p50_ns < 1.1 * CALL < told.minutes[10].p50_ns


def test_without_rest_it_works_on_and_bursts_stay_short() -> None:
    device = Device()
    longest = [0]

    def work(duration_ns: int) -> Worked:
        longest[0] = max(longest[0], duration_ns)
        return device.work(duration_ns)

    soaking = Soaking(Duty(2 * MINUTE, MINUTE, 0), device.clock, device.sleep)
    soaking.run(work)
    assert device.slept_ns == 0
    assert longest[0] <= 10 * SECOND
    assert [minute.minute for minute in found(soaking).minutes] == [1, 2]


def test_a_call_that_outlasts_its_duty_delays_what_follows_and_minutes_of_rest_have_no_row() -> (
    None
):
    slow = Device(lambda seconds: 500.0)  # ten seconds a call
    told = found(soaked(slow, Duty(5 * MINUTE, SECOND, 119 * SECOND)))
    assert [minute.minute for minute in told.minutes] == [1, 3, 5]
    assert [minute.pictures for minute in told.minutes] == [1, 1, 1]
    assert (told.low, told.high) == (None, None)  # one call bounds no median
    assert told.minutes[0].p99_ns is None


def sensed(soaking: Soaking, **columns: tuple[str, Callable[[float], float | None]]) -> Trace:
    """Return a trace, one value a second, by seconds since the start of the soak."""
    assert soaking.start_ns is not None
    start = soaking.start_ns
    units = {"clock": "MHz", "temperature": "C"}
    return Trace(
        channels=tuple(
            Channel(quantity=name, part="cpu0", unit=units.get(name, unit), source="test")  # type: ignore[arg-type]
            for name, (unit, _) in columns.items()
        ),
        at_ns=tuple(start + second * SECOND for second in range(31 * 60)),
        values=tuple(
            tuple(tell(float(second)) for second in range(31 * 60)) for _, tell in columns.values()
        ),
    )


def test_sensors_stand_beside_every_minute_and_the_first_throttling_has_its_time() -> None:
    soaking = soaked(Device(), CLINIC)
    trace = sensed(
        soaking,
        clock=("", lambda s: 3400.0 if s % 60 < 12 else 800.0),
        temperature=("", lambda s: 40.0 + s / 60.0),
        throttle=("events", lambda s: 0.0 if s < 605 else 3.0),
    )
    told = found(soaking, trace)
    gpu = soaking.result(trace, "gpu0")
    assert isinstance(gpu, Soak)
    assert {minute.clock_mhz for minute in gpu.minutes} == {None}
    assert told.throttle_s == 605.0
    assert [minute.throttled for minute in told.minutes] == [number == 10 for number in range(30)]
    assert {minute.clock_mhz for minute in told.minutes} == {3400.0}  # rests do not count
    assert told.minutes[0].temperature_c == pytest.approx(40.2, abs=0.05)


def test_no_throttling_is_none_and_no_sensor_is_absent() -> None:
    soaking = soaked(Device(), Duty(2 * MINUTE, 12 * SECOND, 48 * SECOND))
    quiet = sensed(soaking, throttle=("level", lambda s: 0.0))
    assert found(soaking, quiet).throttle_s is None
    blind = Trace(channels=(), at_ns=(), values=(), missing={"throttle": "a virtual machine"})
    assert found(soaking, blind).throttle_s == Absent(reason="a virtual machine")
    assert isinstance(found(soaking).throttle_s, Absent)
    assert found(soaking).minutes[0].throttled is None


@pytest.mark.parametrize("during", ["work", "rest"])
def test_ctrl_c_leaves_what_was_taken_and_says_that_it_is_not_all(during: str) -> None:
    device = Device()

    def interrupted(moment: float) -> None:
        if moment >= 125 * SECOND:
            raise KeyboardInterrupt

    def work(duration_ns: int) -> Worked:
        if during == "work":
            interrupted(device.now - device.begun)
        return device.work(duration_ns)

    def sleep(seconds: float) -> None:
        device.sleep(seconds)
        if during == "rest":
            interrupted(device.now - device.begun)

    soaking = Soaking(CLINIC, device.clock, sleep)
    with pytest.raises(KeyboardInterrupt):
        soaking.run(work)
    told = found(soaking)
    assert told.interrupted
    assert [minute.minute for minute in told.minutes] == [1, 2, 3]
    assert told.lasted_ns is not None
    assert told.lasted_ns < 3 * MINUTE


def test_a_soak_that_ended_at_once_is_absent() -> None:
    device = Device()

    def broken(duration_ns: int) -> Worked:
        raise KeyboardInterrupt

    soaking = Soaking(CLINIC, device.clock, device.sleep)
    assert isinstance(soaking.result(None), Absent)
    with pytest.raises(KeyboardInterrupt):
        soaking.run(broken)
    assert soaking.result(None) == Absent(reason="the soak ended before its first picture")


def test_progress_is_told_until_the_end() -> None:
    device, told = Device(), []
    soaking = Soaking(Duty(MINUTE, 2 * SECOND, 8 * SECOND), device.clock, device.sleep)
    soaking.run(device.work, lambda done_ns, all_ns: told.append((done_ns, all_ns)))
    assert told == sorted(told)
    assert told[-1] == (MINUTE, MINUTE)
    assert len(told) > 30


@settings(max_examples=60, deadline=None)
@given(
    total_s=st.integers(1, 400),
    duty_s=st.integers(1, 90),
    rest_s=st.integers(0, 90),
    slow=st.floats(10.0, 500.0),
)
def test_every_call_is_in_one_minute_and_the_soak_ends_in_time(
    total_s: int, duty_s: int, rest_s: int, slow: float
) -> None:
    device = Device(lambda seconds: slow)
    duty = Duty(total_s * SECOND, duty_s * SECOND, rest_s * SECOND)
    told = found(soaked(device, duty))
    assert sum(minute.pictures for minute in told.minutes) == device.calls
    longest = CALL * slow * 1.01 + 1
    lasted = device.now - device.begun
    assert (total_s - rest_s) * SECOND - longest <= lasted <= total_s * SECOND + longest
    numbers = [minute.minute for minute in told.minutes]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= total_s // 60 + 1


def test_a_burst_has_one_call_at_least_and_not_too_many() -> None:
    device = Device()
    one = burst(device.call, 0, device.clock)
    assert len(one.calls_ns) == one.pictures == 1
    ticks = iter(range(10_000_000))
    many = burst(lambda: None, 10 * SECOND, lambda: next(ticks))
    assert len(many.calls_ns) == MOST_CALLS
