"""The frame deadline: every frame is accounted for, and what is certified follows from counts."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from medge.bench.scenario.deadline import Pace, hold, pace_of, replay, told
from medge.errors import DeadlineError

MS = 1_000_000


class World:
    """Time that only passes when somebody works or sleeps."""

    def __init__(self, work_ns: Sequence[int], early: float = 1.0) -> None:
        self.now_ns = 12_345
        self.judged: list[int] = []
        self._work_ns, self._early = work_ns, early

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += max(1, round(seconds * 1e9 * self._early))

    def judge(self, frame: int) -> None:
        self.judged.append(frame)
        self.now_ns += self._work_ns[frame]

    def replay(self, pace: Pace) -> tuple[int | None, ...]:
        return replay(self.judge, pace, self.clock, self.sleep)


def by_events(work_ns: Sequence[int], pace: Pace) -> list[int | None]:
    """The same rule told by events: arrivals and ends of work, from one queue ordered by time."""
    answer: list[int | None] = [None] * pace.frames
    # At one moment frames arrive (0) before the judge looks for the next one (1).
    events = [(pace.arrival_ns(frame), 0, frame) for frame in range(pace.frames)]
    heapq.heapify(events)
    waiting: list[int] = []
    busy = False
    while events:
        now, kind, frame = heapq.heappop(events)
        if kind == 0:
            waiting.append(frame)
            if len(waiting) > pace.queue:
                waiting.pop(0)
        else:
            answer[frame] = now - pace.arrival_ns(frame)
            busy = False
        same_moment = events and events[0][:2] == (now, 0)
        if not busy and waiting and not same_moment:
            taken, busy = waiting.pop(0), True
            heapq.heappush(events, (now + work_ns[taken], 1, taken))
    return answer


# Drawing is slow only where the machine is busy with other things.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

paces = st.builds(
    Pace,
    fps=st.sampled_from((15.0, 24.0, 29.97, 30.0, 60.0)),
    deadline_ns=st.integers(1 * MS, 80 * MS),
    frames=st.integers(1, 60),
    queue=st.integers(1, 4),
    run_frames=st.integers(1, 30),
    freeze_ns=st.integers(0, 500 * MS),
)


@unhurried
@given(paces, st.data())
def test_frames_arrive_and_are_dropped_as_an_event_simulation_says(
    pace: Pace, data: st.DataObject
) -> None:
    work_ns = data.draw(
        st.lists(st.integers(1, 150 * MS), min_size=pace.frames, max_size=pace.frames)
    )
    world = World(work_ns)
    assert list(world.replay(pace)) == by_events(work_ns, pace)


@unhurried
@given(paces, st.data())
def test_every_frame_is_on_time_late_or_dropped(pace: Pace, data: st.DataObject) -> None:
    work_ns = data.draw(
        st.lists(st.integers(1, 150 * MS), min_size=pace.frames, max_size=pace.frames)
    )
    world = World(work_ns, early=data.draw(st.sampled_from((0.4, 1.0, 1.3))))
    latency_ns = world.replay(pace)
    deadline = told(latency_ns, pace, "made")
    assert deadline.on_time + deadline.late + deadline.dropped == pace.frames
    assert world.judged == [k for k, each in enumerate(latency_ns) if each is not None]
    assert world.judged[-1] == pace.frames - 1, "nothing newer can drop the last frame"
    assert len(deadline.first_ns) == (pace.frames - 1) // pace.run_frames
    assert deadline.longest_late_run <= deadline.late + deadline.dropped
    assert deadline.miss_ratio <= deadline.miss_high_ratio <= 1.0


def test_a_judge_that_keeps_up_is_never_waited_for() -> None:
    pace = pace_of(30.0, frames=90)
    latency_ns = World([10 * MS] * 90).replay(pace)
    assert set(latency_ns) == {10 * MS}


def test_a_judge_of_twice_the_period_loses_every_other_frame() -> None:
    pace = Pace(fps=25.0, deadline_ns=40 * MS, frames=20, run_frames=1000)
    latency_ns = World([80 * MS] * 20).replay(pace)
    assert [k for k, each in enumerate(latency_ns) if each is not None] == [*range(0, 19, 2), 19]
    deadline = told(latency_ns, pace, "made")
    assert (deadline.on_time, deadline.late, deadline.dropped) == (0, 11, 9)
    assert deadline.longest_late_run == 20


def test_one_frame_waits_by_default_so_that_a_dropped_one_is_late_already() -> None:
    pace = pace_of(30.0)
    assert pace.queue == 1
    assert pace.arrival_ns(1) - pace.arrival_ns(0) == pytest.approx(pace.deadline_ns, abs=1)


def test_no_frame_arrives_while_the_image_is_frozen() -> None:
    pace = Pace(fps=10.0, deadline_ns=1, frames=6, run_frames=3, freeze_ns=5_000 * MS)
    arrivals = [pace.arrival_ns(frame) // MS for frame in range(6)]
    assert arrivals == [0, 100, 200, 5300, 5400, 5500]


def test_the_first_result_after_a_freeze_is_that_of_a_later_frame_if_the_first_is_dropped() -> None:
    pace = Pace(fps=10.0, deadline_ns=100 * MS, frames=8, run_frames=4, freeze_ns=100 * MS)
    # Frame 3 arrives at 300 ms and takes 450 ms: frames 4 (500) and 5 (600) go for 6 (700).
    work_ns = [10 * MS] * 3 + [450 * MS] + [10 * MS] * 4
    latency_ns = World(work_ns).replay(pace)
    assert latency_ns[4:7] == (None, None, 60 * MS)
    assert told(latency_ns, pace, "made").first_ns == (260 * MS,)


def latencies(frames: int, missed: Sequence[int], pace: Pace) -> list[int | None]:
    return [pace.deadline_ns + 1 if k in missed else MS for k in range(frames)]


# The counts of MLPerf's early stopping rule at p99 and 99 % (inference_rules.adoc, its appendix).
@pytest.mark.parametrize(("late", "needed"), [(0, 459), (1, 662), (2, 838)])
def test_p99_is_certified_from_the_counts_of_mlperf_on(late: int, needed: int) -> None:
    pace = pace_of(30.0)
    missed = [100, 300][:late]
    enough = told(latencies(needed, missed, pace), pace, "made")
    assert enough.certified
    assert enough.missing_frames == 0
    one_less = told(latencies(needed - 1, missed, pace), pace, "made")
    assert not one_less.certified
    assert one_less.missing_frames == 1


@unhurried
@given(st.integers(0, 12), st.integers(1, 1500))
def test_the_bound_is_clopper_and_pearsons_where_misses_stand_alone(late: int, frames: int) -> None:
    pace = pace_of(30.0)
    missed = [(k + 1) * frames // (late + 1) for k in range(late)]
    if late and min(b - a for a, b in zip([-99, *missed], [*missed, 9999], strict=True)) < 100:
        return  # they do not stand alone
    deadline = told(latencies(frames, missed, pace), pace, "made")
    found = deadline.late
    expected = 1.0 if found == frames else scipy_stats.beta.ppf(0.99, found + 1, frames - found)
    assert deadline.miss_high_ratio == pytest.approx(expected, rel=1e-9)
    assert deadline.certified == (deadline.miss_high_ratio <= 0.01)


def test_misses_in_a_row_prove_less_than_they_seem_to() -> None:
    pace = pace_of(30.0)
    alone = told(latencies(1500, range(0, 1500, 150), pace), pace, "made")
    together = told(latencies(1500, range(700, 710), pace), pace, "made")
    assert alone.late == together.late == 10
    assert together.miss_high_ratio > alone.miss_high_ratio
    assert (alone.longest_late_run, together.longest_late_run) == (1, 10)
    # Ten misses in a row are one event in 150 frames.
    assert together.miss_high_ratio == pytest.approx(scipy_stats.beta.ppf(0.99, 2, 149))


@unhurried
@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_the_bound_is_never_below_that_of_misses_on_their_own(marks: list[bool]) -> None:
    pace = pace_of(30.0)
    missed = [k for k, each in enumerate(marks) if each]
    found = told(latencies(len(marks), missed, pace), pace, "made")
    k, n = len(missed), len(marks)
    plain = 1.0 if k == n else float(scipy_stats.beta.ppf(0.99, k + 1, n - k))
    assert found.miss_high_ratio >= plain - 1e-9


@pytest.mark.parametrize(
    ("frames", "missed", "word"),
    [(300, (), "159"), (300, (7,), "362"), (300, range(0, 300, 3), "faster")],
)
def test_what_is_not_certified_is_refused_with_the_next_step(
    frames: int, missed: Sequence[int], word: str
) -> None:
    pace = pace_of(30.0)
    with pytest.raises(DeadlineError, match=word) as error:
        hold(told(latencies(frames, missed, pace), pace, "made"))
    assert (error.value.rule, error.value.exit_code) == ("deadline", 7)


def test_what_is_certified_is_held() -> None:
    pace = pace_of(30.0)
    hold(told(latencies(900, (5, 500), pace), pace, "made"))


def test_the_clock_is_asked_after_the_decision_and_sleep_may_be_short() -> None:
    sleeps: list[float] = []
    now = [0]

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        now[0] += max(1, round(seconds * 1e9 / 3))

    def judge(_frame: int) -> None:
        now[0] += 4 * MS

    clock: Callable[[], int] = lambda: now[0]
    latency_ns = replay(judge, pace_of(30.0, frames=4), clock, sleep)
    assert len(sleeps) > 3
    assert all(each is not None and 4 * MS <= each < 5 * MS for each in latency_ns)
