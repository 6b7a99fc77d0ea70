"""Measuring: what is timed, in which order, when warm-up ends, and what is doubted."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from medge.bench.doubts import doubts
from medge.bench.measure import Measurement, Rounds, Stopwatch, measure, measure_interleaved
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.stats import percentile
from medge.bench.warm_up import rank_test, settled
from medge.errors import UsageError

COLD = WarmUp(max_calls=0)


class Machine:
    """A clock that moves only when a call or a rest passes, and says what happened."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.log.append("rest")
        self.now_ns += round(seconds * 1e9)

    def call(self, name: str, times_ns: Iterator[int]) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now_ns += next(times_ns)

        return run


def exactly(count: int) -> Sampling:
    return Sampling(min_samples=count, max_samples=count)


def test_samples_are_the_times_of_the_calls_in_their_order() -> None:
    machine = Machine()
    call = machine.call("a", iter([5, 3, 9, 4]))
    procedure = Procedure(warm_up=COLD, sampling=exactly(4), span="decode")
    found = measure(call, procedure, machine.clock, machine.sleep)
    assert found == Measurement("decode", (5, 3, 9, 4), procedure)


def test_rests_and_lead_ins_are_outside_the_span() -> None:
    machine = Machine()
    call = machine.call("a", cycle([100, 7]))
    procedure = Procedure(warm_up=COLD, sampling=exactly(3), rest_ns=50, lead_in=1)
    assert measure(call, procedure, machine.clock, machine.sleep).samples_ns == (7, 7, 7)
    assert machine.log == ["a", "rest", "a"] * 3


def test_a_turn_of_several_calls_is_one_sample_of_their_mean() -> None:
    machine = Machine()
    call = machine.call("a", cycle([10, 20, 33]))
    procedure = Procedure(warm_up=COLD, sampling=exactly(2), turn_calls=3)
    assert measure(call, procedure, machine.clock, machine.sleep).samples_ns == (21, 21)


def test_every_round_has_one_turn_of_each_in_an_order_that_the_seed_decides() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine()
        calls = {name: machine.call(name, repeat(5)) for name in "abc"}
        procedure = Procedure(warm_up=COLD, sampling=exactly(60), seed=seed)
        measure_interleaved(calls, procedure, machine.clock, machine.sleep)
        return ["".join(machine.log[at : at + 3]) for at in range(0, 180, 3)]

    rounds = order(1)
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert set(rounds) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert order(1) == rounds != order(2)


def test_interleaved_measurements_say_so() -> None:
    machine = Machine()
    calls = {name: machine.call(name, repeat(5)) for name in "ab"}
    found = measure_interleaved(
        calls, Procedure(warm_up=COLD, sampling=exactly(2)), machine.clock, machine.sleep
    )
    assert {one.procedure.order for one in found.values()} == {"interleaved"}


def test_who_is_dropped_has_no_more_turns_and_stays_paired() -> None:
    machine = Machine()
    calls = {"a": machine.call("a", iter(range(100))), "b": machine.call("b", repeat(7))}
    procedure = Procedure(warm_up=COLD)
    timers = {
        name: Stopwatch(call, procedure, machine.clock, machine.sleep)
        for name, call in calls.items()
    }
    rounds = Rounds(timers, procedure, machine.clock)
    for _ in range(3):
        rounds.step()
    rounds.drop("a")
    for _ in range(2):
        rounds.step()
    assert rounds.racing == ("b",)
    assert rounds.samples_ns("a") == (0, 1, 2)
    assert rounds.measurement("b").samples_ns == (7,) * 5


class Breaks:
    """A timer elsewhere that can go on for so many samples."""

    def __init__(self, samples: int) -> None:
        self.left = samples
        self.places: list[int] = []

    def window(self, calls: int, until_ns: int) -> list[int]:
        taken = min(calls, self.left)
        self.left -= taken
        return [5] * taken

    def turn(self, place: int) -> int | None:
        self.places.append(place)
        self.left -= 1
        return 5 if self.left >= 0 else None


def test_who_can_go_on_no_more_is_dropped_and_the_others_go_on() -> None:
    rounds = Rounds({"a": Breaks(3), "b": Breaks(99)}, Procedure(warm_up=COLD, sampling=exactly(6)))
    rounds.run()
    assert rounds.racing == ("b",)
    assert (len(rounds.samples_ns("a")), len(rounds.samples_ns("b"))) == (3, 6)


def test_a_timer_is_told_the_round_and_may_break_in_the_warm_up() -> None:
    timers = {"a": Breaks(25), "b": Breaks(99)}
    rounds = Rounds(timers, Procedure(warm_up=WarmUp(), sampling=exactly(8)))
    rounds.warm_up()
    rounds.run()
    assert rounds.racing == ("b",)  # five samples were left of the first
    assert timers["b"].places == list(range(8))
    timers = {"a": Breaks(0), "b": Breaks(99)}
    rounds = Rounds(timers, Procedure(warm_up=WarmUp(), sampling=exactly(1)))
    rounds.warm_up()
    assert rounds.racing == ("b",)


@pytest.mark.parametrize(
    ("call_ns", "expected"), [(1, 1000), (50, 200), (1000, 20)]
)  # the most samples, the time, the fewest samples
def test_sampling_ends_by_count_or_time(call_ns: int, expected: int) -> None:
    machine = Machine()
    sampling = Sampling(min_samples=20, max_samples=1000, max_ns=10_000)
    procedure = Procedure(warm_up=COLD, sampling=sampling)
    found = measure(machine.call("a", repeat(call_ns)), procedure, machine.clock, machine.sleep)
    assert len(found.samples_ns) == expected


def test_spells_share_samples_and_time_and_what_lies_between_them_costs_nothing() -> None:
    machine = Machine()
    sampling = Sampling(min_samples=3, max_samples=100, max_ns=4000, spells=4)
    procedure = Procedure(warm_up=COLD, sampling=sampling)
    call = Stopwatch(machine.call("a", repeat(100)), procedure, machine.clock)
    rounds = Rounds({"a": call}, procedure, machine.clock)
    counts = []
    while rounds.spell():
        counts.append(len(rounds.samples_ns("a")))
        machine.now_ns += 50_000  # something else
    assert counts == [10, 20, 30, 40]
    assert not rounds.spell()


def test_spells_give_the_fewest_samples_of_a_slow_call_and_the_most_of_a_fast_one() -> None:
    for call_ns, expected in ((10_000, [1, 2, 3, 3]), (1, [25, 50, 75, 100])):
        machine = Machine()
        sampling = Sampling(min_samples=3, max_samples=100, max_ns=4000, spells=4)
        procedure = Procedure(warm_up=COLD, sampling=sampling)
        call = Stopwatch(machine.call("a", repeat(call_ns)), procedure, machine.clock)
        rounds = Rounds({"a": call}, procedure, machine.clock)
        counts = []
        while rounds.spell():
            counts.append(len(rounds.samples_ns("a")))
        assert counts == expected


def test_of_many_samples_those_of_the_same_rounds_are_kept_of_all() -> None:
    class Counts(Breaks):
        def turn(self, place: int) -> int | None:
            return None if super().turn(place) is None else 1000 + place

    rule = Sampling(min_samples=1000, max_samples=1000, kept=7)
    rounds = Rounds({"a": Counts(9999), "b": Counts(600)}, Procedure(warm_up=COLD, sampling=rule))
    rounds.run()
    a, b = (rounds.measurement(name).samples_ns for name in "ab")
    assert a == (1000, 1142, 1285, 1428, 1571, 1714, 1857)  # evenly from the first to the last
    assert b == a[:5]  # it broke in round 600


def test_few_samples_are_all_kept() -> None:
    rule = Sampling(min_samples=7, max_samples=7, kept=7)
    machine = Machine()
    call = machine.call("a", iter(range(1, 8)))
    found = measure(call, Procedure(warm_up=COLD, sampling=rule), machine.clock)
    assert found.samples_ns == tuple(range(1, 8))


def test_an_interval_of_p50_reaches_over_what_is_known_of_other_times() -> None:
    samples_ns = tuple(np.random.default_rng(1).permutation(np.arange(100, 200)).tolist())
    alone = Measurement("infer", samples_ns, Procedure())
    known = Measurement("infer", samples_ns, Procedure(), earlier_p50_ns=(120, 310, 130))
    own, wide = alone.interval(0.5), known.interval(0.5)
    assert own is not None
    assert wide is not None
    assert (wide.low, wide.high) == (min(own.low, 120), 310)
    assert known.interval(0.9) == alone.interval(0.9)


def test_the_collector_rests_during_calls_and_is_as_before_afterwards() -> None:
    seen: set[bool] = set()
    procedure = Procedure(sampling=exactly(5), lead_in=1)
    assert gc.isenabled()
    measure(lambda: seen.add(gc.isenabled()), procedure)
    assert seen == {False}
    assert gc.isenabled()
    gc.disable()
    try:
        measure(lambda: None, procedure)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_call_that_fails_ends_the_measurement_and_frees_the_collector() -> None:
    def fail() -> None:
        raise RuntimeError("as the runtime said")

    with pytest.raises(RuntimeError, match="as the runtime said"):
        measure(fail, Procedure())
    assert gc.isenabled()


def test_timing_one_call_costs_less_than_a_microsecond() -> None:
    found = measure(lambda: None, Procedure(sampling=exactly(2000)))
    assert percentile(found.samples_ns, 0.5) < 1000


def test_a_procedure_that_claims_other_cpus_is_refused() -> None:
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    measure(lambda: None, Procedure(warm_up=COLD, sampling=exactly(1), cpus=allowed[::-1]))
    with pytest.raises(UsageError, match="this process may run on") as refused:
        measure(lambda: None, Procedure(cpus=(*allowed, 4095)))
    assert refused.value.rule == "cpus"


def warmed(times_ns: Iterator[int], rule: WarmUp) -> Measurement:
    machine = Machine()
    procedure = Procedure(warm_up=rule, sampling=exactly(1))
    return measure(machine.call("a", times_ns), procedure, machine.clock, machine.sleep)


def test_steady_calls_have_settled_after_two_windows() -> None:
    found = warmed(repeat(1000), WarmUp(window=10))
    assert (len(found.warm_up_ns), found.settled) == (20, True)


def test_warm_up_goes_on_while_calls_get_faster() -> None:
    """35 calls that speed up, then steady ones: no window of the ramp may end the warm-up."""
    draw = np.random.default_rng(2)
    steady = (10_000 + int(draw.normal(0, 200)) for _ in repeat(None))
    found = warmed(chain((60_000 - 1_400 * step for step in range(35)), steady), WarmUp())
    assert found.settled
    assert 40 <= len(found.warm_up_ns) <= 80
    assert max(found.warm_up_ns[-10:]) < 12_000


def test_calls_that_never_settle_end_at_the_limit_and_are_doubted() -> None:
    """Each window is 30 % slower than the one before."""
    times = (int(1000 * 1.3 ** (at // 10)) for at in range(10_000))
    found = warmed(times, WarmUp(max_calls=60))
    assert (len(found.warm_up_ns), found.settled) == (60, False)
    (doubt,) = [one for one in doubts(found) if one.name == "warm-up"]
    assert doubt.value == pytest.approx(0.3, abs=0.01)
    assert doubt.limit == 0.01


def test_warm_up_ends_when_its_time_is_over() -> None:
    found = warmed(repeat(1_000_000), WarmUp(max_ns=5_000_000))
    assert (len(found.warm_up_ns), found.settled) == (5, False)
    assert "warm-up-calls" in {one.name for one in doubts(found)}


def test_at_least_three_calls_warm_up_however_slow() -> None:
    assert len(warmed(repeat(10**10), WarmUp(max_ns=1)).warm_up_ns) == 3


def test_without_a_warm_up_nothing_is_said_of_it() -> None:
    found = warmed(repeat(5), COLD)
    assert (found.warm_up_ns, found.settled) == ((), None)


def test_differences_within_the_tolerance_end_the_warm_up() -> None:
    """Half a percent, every sample of one window below every one of the other."""
    assert settled([10_050] * 10 + [10_000] * 10, WarmUp())
    assert not settled([10_050] * 10 + [10_000] * 10, WarmUp(tolerance_ratio=0.001))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=5, max_size=40),
    st.lists(st.integers(0, 30), min_size=5, max_size=40),
)
def test_the_rank_test_is_scipys(a: list[int], b: list[int]) -> None:
    if len(set(a) | set(b)) == 1:
        assert rank_test(a, b) == 1.0
        return
    expected = scipy_stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    assert rank_test(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def doubted(samples_ns: Sequence[int]) -> set[str]:
    found = doubts(Measurement("infer", tuple(int(one) for one in samples_ns), Procedure()))
    return {one.name for one in found}


def test_a_calm_series_is_not_doubted() -> None:
    draw = np.random.default_rng(0)
    assert doubted(draw.normal(1e7, 1e5, 300)) == set()


def test_each_fault_of_a_series_is_doubted_by_its_name() -> None:
    draw = np.random.default_rng(0)
    calm = draw.normal(1e7, 1e5, 300)
    waves = 1 + 0.03 * np.sin(np.arange(300) / 40)
    late = np.where(np.arange(300) % 50 == 7, 2.0, 1.0)
    assert doubted(calm * late) == {"outliers"}
    assert doubted(draw.normal(1e7, 2e6, 300)) == {"spread"}
    assert doubted(calm * waves) == {"correlation", "samples"}
    assert "drift" in doubted(calm * np.linspace(1, 1.15, 300))
    assert doubted(calm[:20]) == {"samples"}


def test_a_doubt_has_its_number_its_limit_and_the_next_step() -> None:
    (doubt,) = doubts(Measurement("infer", (10, 11) * 10, Procedure()), percentiles=(0.99,))
    assert (doubt.name, doubt.value, doubt.limit) == ("samples", 20, 368)
    assert doubt.text == "too few independent samples to bound p99; take more, or leave it out"
