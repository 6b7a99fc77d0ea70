"""Idle gaps: what is timed after a pause, within which time, and what keeping warm would gain."""

from __future__ import annotations

import pytest

from medge.bench.profile.idle_gaps import GAPS_NS, KeepWarm, first_ns, idle_gaps, keep_warm
from medge.bench.sections import IdleGap

S = 1_000_000_000
MS = 1_000_000


class Device:
    """Falls asleep: the first calls after a pause of ``sleeps_ns`` take longer, by what is left."""

    def __init__(self, call_ns: int = 5 * MS, sleeps_ns: int = 1 << 62) -> None:
        self.now_ns = 0
        self.call_ns, self.sleeps_ns = call_ns, sleeps_ns
        self.extra: list[int] = []
        self.pauses: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.pauses.append(seconds)
        if seconds * 1e9 >= self.sleeps_ns:
            self.extra = [10 * MS, 40 * MS]

    def call(self) -> None:
        self.now_ns += self.call_ns + (self.extra.pop() if self.extra else 0)

    def gaps(self, budget_ns: int) -> tuple[IdleGap, ...]:
        return idle_gaps(self.call, budget_ns, clock=self.clock, sleep=self.sleep)


def test_calls_after_a_pause_are_kept_one_by_one() -> None:
    found = {gap.gap_ns: gap for gap in Device(sleeps_ns=3 * S).gaps(600 * S)}
    assert tuple(found) == (0, *GAPS_NS)
    assert set(found[1 * S].calls_ns) == {(5 * MS,) * 10}
    assert set(found[3 * S].calls_ns) == {(45 * MS, 15 * MS, *(5 * MS,) * 8)}
    assert [first_ns(found[60 * S], call) for call in range(3)] == [45 * MS, 15 * MS, 5 * MS]


@pytest.mark.parametrize("budget_s", [1, 40, 120, 240, 1200])
def test_the_map_ends_within_its_time_and_short_pauses_are_tried_most(budget_s: int) -> None:
    device = Device()
    found = device.gaps(budget_s * S)
    assert device.now_ns <= budget_s * S
    counts = [len(gap.calls_ns) for gap in found]
    assert counts == sorted(counts, reverse=True)
    assert max(counts) <= 10
    longest = found[-1].gap_ns
    if budget_s == 40:
        assert longest == 10 * S
    if budget_s == 240:
        assert (longest, counts[-1]) == (60 * S, 2)


def test_a_slow_call_does_not_burst_the_time() -> None:
    device = Device(call_ns=2 * S)
    device.gaps(60 * S)
    assert device.now_ns <= 60 * S


def test_the_device_is_at_work_before_every_pause() -> None:
    device = Device()
    worked: list[int] = []
    last = 0

    def sleep(seconds: float) -> None:
        nonlocal last
        worked.append(device.now_ns - last)
        device.sleep(seconds)
        last = device.now_ns

    idle_gaps(device.call, 30 * S, clock=device.clock, sleep=sleep)
    assert min(worked) >= 300 * MS


def test_what_keeping_warm_gains_is_read_off_the_map() -> None:
    found = keep_warm(Device(sleeps_ns=3 * S).gaps(600 * S))
    assert found == KeepWarm(
        every_ns=1 * S,
        gap_ns=60 * S,
        pauses=5,
        warm_ns=5 * MS,
        late_ns=45 * MS,
        kept_ns=5 * MS,
    )
    assert found.gain_ns == 40 * MS
    assert found.busy_ratio == pytest.approx(0.005, rel=0.01)


def test_nothing_is_gained_where_no_pause_costs_anything() -> None:
    assert keep_warm(Device().gaps(600 * S)) is None
    assert keep_warm(()) is None


def test_one_late_call_after_one_pause_shows_nothing_and_two_do() -> None:
    warm = IdleGap(gap_ns=0, calls_ns=((5 * MS,) * 10,) * 5)
    short = IdleGap(gap_ns=S, calls_ns=((5 * MS,) * 10,) * 5)
    late = (50 * MS, *(5 * MS,) * 9)
    assert keep_warm([warm, short, IdleGap(gap_ns=60 * S, calls_ns=(late,))]) is None
    assert keep_warm([warm, short, IdleGap(gap_ns=60 * S, calls_ns=(late, late))]) is not None


def test_where_every_pause_is_late_the_shortest_one_is_the_best_that_is_known() -> None:
    warm = IdleGap(gap_ns=0, calls_ns=((5 * MS,) * 10,) * 5)
    short = IdleGap(gap_ns=S, calls_ns=((20 * MS, *(5 * MS,) * 9),) * 5)
    long = IdleGap(gap_ns=9 * S, calls_ns=((90 * MS, *(5 * MS,) * 9),) * 5)
    found = keep_warm([warm, short, long])
    assert found is not None
    assert (found.every_ns, found.gain_ns) == (S, 70 * MS)
