"""A contest finds the fastest, spends little time on the others, and does not err by noise."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from medge.bench.contest import (
    MAX_ROUNDS,
    SCREEN_ROUNDS,
    SHORT_ROUNDS,
    Entrant,
    Standing,
    against,
    contest,
    slower,
)
from medge.engine.sealed import Candidate

LONG_NS = 10**15


class Machine:
    """A clock that the entrants move on: each call takes what its candidate needs.

    For ``spin_ns`` after a call its threads wait for the next one, and others' calls take twice as
    long.
    """

    def __init__(self, seed: int = 0, noise: float = 0.0, spin_ns: int = 0) -> None:
        self.now_ns = 0
        self._spin_ns, self._last, self._ended_ns = spin_ns, "", 0
        self.calls: dict[str, int] = {}
        self._random = random.Random(seed)  # noqa: S311 - noise, not secrets
        self._noise = noise

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def entrant(self, name: str, call_ns: int, pictures: int = 1) -> Entrant:
        def run(calls: int) -> None:
            self.calls[name] = self.calls.get(name, 0) + calls
            for _ in range(calls):
                factor = self._random.lognormvariate(0.0, self._noise)
                if self._random.random() < 0.05 and self._noise:
                    factor *= 5  # somebody else's burst
                if self._last != name and self.now_ns - self._ended_ns < self._spin_ns:
                    factor *= 2
                else:
                    self._last = name
                self.now_ns += int(call_ns * factor)
            if self._last == name:
                self._ended_ns = self.now_ns

        return Entrant(Candidate(backend=name, device="cpu", variant="fp32"), run, pictures)


def names(machine: Machine, *entrants: Entrant, budget_ns: int = LONG_NS) -> list[str]:
    found = contest(entrants, budget_ns=budget_ns, clock=machine.clock, sleep=machine.sleep)
    return [standing.candidate.backend for standing in found]


def test_the_fastest_comes_first_whatever_the_order() -> None:
    machine = Machine()
    slow, fast, middle = (
        machine.entrant(name, ns) for name, ns in (("slow", 9000), ("fast", 5000), ("mid", 6000))
    )
    assert names(machine, slow, fast, middle) == ["fast", "mid", "slow"]
    assert names(machine, middle, slow, fast) == ["fast", "mid", "slow"]


def test_pictures_per_second_count_and_not_calls() -> None:
    machine = Machine()
    assert names(machine, machine.entrant("one", 10_000), machine.entrant("four", 20_000, 4))[
        0
    ] == ("four")


def test_who_is_far_behind_leaves_after_screening() -> None:
    machine = Machine()
    found = contest(
        [machine.entrant("fast", 5_000_000), machine.entrant("hopeless", 8_000_000)],
        budget_ns=LONG_NS,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert [standing.beaten for standing in found] == [False, True]
    assert [len(standing.picture_ns) for standing in found] == [SCREEN_ROUNDS, SCREEN_ROUNDS]


def test_who_is_a_little_slower_leaves_when_that_is_certain() -> None:
    machine = Machine(noise=0.02)
    found = contest(
        [machine.entrant("fast", 5_000_000), machine.entrant("slower", 5_500_000)],
        budget_ns=LONG_NS,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert SCREEN_ROUNDS < len(found[1].picture_ns) < MAX_ROUNDS
    assert against(found[1], found[0]).verdict == "slower"


def test_equals_stay_to_the_end_and_nothing_is_claimed() -> None:
    wrong = 0
    for seed in range(40):
        machine = Machine(seed, noise=0.2)
        found = contest(
            [machine.entrant("one", 8_000_000), machine.entrant("other", 8_000_000)],
            budget_ns=LONG_NS,
            clock=machine.clock,
            sleep=machine.sleep,
        )
        wrong += len(found[1].picture_ns) < MAX_ROUNDS
    assert wrong <= 2  # 1 % of 40 would be 0.4


def test_equals_of_a_millisecond_are_not_waited_for_as_long() -> None:
    machine = Machine()
    found = contest(
        [machine.entrant("one", 1_000_000), machine.entrant("other", 1_000_000)],
        budget_ns=LONG_NS,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert [len(standing.picture_ns) for standing in found] == [SHORT_ROUNDS] * 2
    assert not any(standing.beaten for standing in found)


def test_a_budget_ends_the_contest_but_not_the_screening() -> None:
    machine = Machine(noise=0.01)
    found = contest(
        [machine.entrant("one", 5_000_000), machine.entrant("other", 5_010_000)],
        budget_ns=1,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert [len(standing.picture_ns) for standing in found] == [SCREEN_ROUNDS, SCREEN_ROUNDS]


def standing(name: str, picture_ns: list[int]) -> Standing:
    candidate = Candidate(backend=name, device="cpu", variant="fp32")
    return Standing(candidate, picture_ns=picture_ns)


def test_twice_as_slow_is_slower_however_the_rounds_hang_together() -> None:
    """Half of the rounds 2.0 and then 2.4 times: two waves, which bound no median."""
    one = standing("one", [5_000_000] * 30)
    other = standing("other", [10_000_000] * 15 + [12_000_000] * 15)
    assert against(other, one).verdict == "cannot-tell"
    assert slower(other, one)
    assert not slower(one, other)


def test_waves_of_a_twentieth_show_nothing() -> None:
    one = standing("one", [1_000_000] * 30)
    other = standing("other", [1_050_000] * 15 + [1_040_000] * 15)
    assert not slower(other, one)
    assert not slower(one, other)


def test_short_calls_are_timed_in_waves() -> None:
    machine = Machine()
    found = contest(
        [machine.entrant("short", 100_000), machine.entrant("shorter", 90_000)],
        budget_ns=LONG_NS,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert {standing.candidate.backend: standing.calls for standing in found} == {
        "short": 20,
        "shorter": 23,
    }
    assert found[0].median_ns == 90_000


def test_a_turn_begins_when_the_threads_of_the_one_before_wait_no_more() -> None:
    machine = Machine(spin_ns=1_000_000)
    found = contest(
        [machine.entrant("spins", 100_000), machine.entrant("other", 99_000)],
        budget_ns=LONG_NS,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    assert [standing.median_ns for standing in found] == [99_000, 100_000]


def test_one_alone_wins_at_once() -> None:
    machine = Machine()
    (only,) = contest(
        [machine.entrant("one", 1000)], budget_ns=LONG_NS, clock=machine.clock, sleep=machine.sleep
    )
    assert len(only.picture_ns) == SCREEN_ROUNDS


def test_an_error_in_a_run_is_not_hidden() -> None:
    def fail(calls: int) -> Callable[[], None]:
        raise RuntimeError("broken")

    entrant = Entrant(Candidate(backend="one", device="cpu", variant="fp32"), fail)
    with pytest.raises(RuntimeError, match="broken"):
        contest([entrant], budget_ns=1)
