"""Measuring: calls are timed alone, or several candidates in the same rounds."""

from __future__ import annotations

import gc
import os
import random
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from medge.bench.procedure import Procedure
from medge.bench.stats import Interval, percentile_interval, session_interval
from medge.bench.warm_up import settled
from medge.errors import UsageError

Call = Callable[[], object]
Clock = Callable[[], int]
Sleep = Callable[[float], object]
MIN_WARM_CALLS = 3  # even where the time for warming up is spent at once


@dataclass(frozen=True, slots=True)
class Measurement:
    """Latencies of one stage under one Procedure, in the order taken.

    ``warm_up_ns`` are the calls before them, ``settled`` whether those had become alike; None where
    the procedure has no warm-up. ``earlier_p50_ns`` are the medians of earlier measurements of the
    same on this machine, the oldest first (``earlier``).
    """

    stage: str
    samples_ns: tuple[int, ...]
    procedure: Procedure
    warm_up_ns: tuple[int, ...] = ()
    settled: bool | None = None
    earlier_p50_ns: tuple[int, ...] = ()

    def interval(self, p: float, confidence: float = 0.95) -> Interval | None:
        """Bound a percentile, p50 for this machine at other times too, as far as they are known."""
        if p == 0.5:
            return session_interval(self.samples_ns, self.earlier_p50_ns, confidence)
        return percentile_interval(self.samples_ns, p, confidence)


class Timer(Protocol):
    """Takes the times of one candidate, in this process or in another."""

    def window(self, calls: int, until_ns: int) -> Iterable[int]:
        """Return the times of some calls of the warm-up in ns, fewer once the clock says until_ns.

        None at all: the candidate can go on no more.
        """
        ...

    def turn(self, place: int) -> int | None:
        """Return one sample in ns, that of round ``place``; None: it can go on no more."""
        ...


def measure(
    call: Call,
    procedure: Procedure,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
) -> Measurement:
    """Time one call again and again, with nothing else in between.

    Raises
    ------
    UsageError
        Rule ``cpus``: the process is not pinned as the procedure says.
    """
    alone = msgspec.structs.replace(procedure, order="alone")
    rounds = Rounds({"": Stopwatch(call, alone, clock, sleep)}, alone, clock)
    rounds.warm_up()
    rounds.run()
    return rounds.measurement("")


def measure_interleaved(
    calls: Mapping[str, Call],
    procedure: Procedure,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
) -> dict[str, Measurement]:
    """Time several calls in the same rounds: sample i of all was taken in round i, so they pair.

    The procedure's ``max_ns`` holds for all calls together.

    Raises
    ------
    UsageError
        Rule ``cpus``: the process is not pinned as the procedure says.
    """
    timers = {name: Stopwatch(call, procedure, clock, sleep) for name, call in calls.items()}
    rounds = Rounds(timers, procedure, clock)
    rounds.warm_up()
    rounds.run()
    return {name: rounds.measurement(name) for name in calls}


class Rounds:
    """Rounds in which every candidate has one turn, in shuffled order.

    What slows the machine down for a while hits all alike. Between two rounds the caller may look
    at the samples and ``drop`` who has lost; what was taken of it stays paired with the others'
    first samples. ``stats.spent`` says at which confidence to look repeatedly. Who can go on no
    more is dropped too.

    Parameters
    ----------
    clock
        Nanoseconds that never go back.
    """

    def __init__(
        self,
        timers: Mapping[str, Timer],
        procedure: Procedure,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        _check_pinned(procedure)
        if len(timers) > 1:
            procedure = msgspec.structs.replace(procedure, order="interleaved")
        self.procedure = procedure
        self._timers = dict(timers)
        self._racing = list(timers)
        self._clock = clock
        self._round = self._spell = self._timed_ns = 0
        self._order = random.Random(procedure.seed)  # noqa: S311 - an order, not a secret
        self._samples_ns = {name: array("q") for name in timers}
        self._warm_up_ns = {name: array("q") for name in timers}
        self._settled: dict[str, bool | None] = dict.fromkeys(timers)

    @property
    def racing(self) -> tuple[str, ...]:
        """The candidates that are still in."""
        return tuple(name for name in self._timers if name in self._racing)

    def samples_ns(self, name: str) -> Sequence[int]:
        """Return what was taken of a candidate so far, round by round."""
        return tuple(self._samples_ns[name])

    def drop(self, name: str) -> None:
        """Let a candidate leave: it has no more turns."""
        self._racing.remove(name)

    def warm_up(self) -> None:
        """Call each candidate until its times have settled, or the procedure's limit is reached."""
        rule = self.procedure.warm_up
        if not rule.max_calls:
            return
        for name in self.racing:
            taken, start = self._warm_up_ns[name], self._clock()
            while not settled(taken, rule):
                if len(taken) >= rule.max_calls or (
                    len(taken) >= MIN_WARM_CALLS and self._clock() - start >= rule.max_ns
                ):
                    break
                calls, before = min(rule.window, rule.max_calls - len(taken)), len(taken)
                taken.extend(self._timers[name].window(calls, start + rule.max_ns))
                if len(taken) == before:
                    self.drop(name)
                    break
            self._settled[name] = settled(taken, rule)

    def step(self) -> None:
        """Run one round."""
        self._order.shuffle(self._racing)
        for name in tuple(self._racing):
            sample_ns = self._timers[name].turn(self._round)
            if sample_ns is None:
                self.drop(name)
            else:
                self._samples_ns[name].append(sample_ns)
        self._round += 1

    def run(self) -> None:
        """Run rounds until the procedure has its samples, one spell after the other."""
        while self.spell():
            pass

    def spell(self) -> bool:
        """Run the next spell of rounds; return False where the procedure has no further one.

        What the caller does between two spells does not count as time of the procedure.
        """
        rule, start = self.procedure.sampling, self._clock()
        if self._spell == rule.spells:
            return False
        self._spell += 1
        least, most = (
            -(-samples * self._spell // rule.spells)
            for samples in (rule.min_samples, rule.max_samples)
        )
        allowed_ns = rule.max_ns * self._spell // rule.spells - self._timed_ns
        while self._round < most and self._racing:
            if self._round >= least and self._clock() - start >= allowed_ns:
                break
            self.step()
        self._timed_ns += self._clock() - start
        return True

    def kept(self, samples_ns: Sequence[int]) -> tuple[int, ...]:
        """Return of one candidate's samples, one for each round, those that are kept.

        They are of the same rounds for all candidates.
        """
        most, rounds = self.procedure.sampling.kept, self._round
        if most is None or rounds <= most:
            return tuple(samples_ns)
        places = (place * rounds // most for place in range(most))
        return tuple(samples_ns[place] for place in places if place < len(samples_ns))

    def measurement(self, name: str) -> Measurement:
        """Return what was taken of a candidate, for good."""
        return Measurement(
            stage=self.procedure.span,
            samples_ns=self.kept(self._samples_ns[name]),
            procedure=self.procedure,
            warm_up_ns=tuple(self._warm_up_ns[name]),
            settled=self._settled[name],
        )


class Stopwatch:
    """The timer of a call in this process.

    Parameters
    ----------
    procedure
        Its ``lead_in``, ``rest_ns`` and ``turn_calls`` are what counts.
    sleep
        Takes seconds; rests the procedure's ``rest_ns`` before every call.
    """

    def __init__(
        self,
        call: Call,
        procedure: Procedure,
        clock: Clock = time.perf_counter_ns,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._call = call
        self._procedure = procedure
        self._clock, self._sleep = clock, sleep

    def window(self, calls: int, until_ns: int) -> Iterator[int]:
        """See Timer.window."""
        call, clock = self._call, self._clock
        for _ in range(calls):
            with collector_held_off():
                start = clock()
                call()
                end = clock()
            yield end - start
            if end >= until_ns:
                return

    def turn(self, place: int = 0) -> int:
        """Return the time of one call in ns, of several the mean to the nearest."""
        call, procedure, clock = self._call, self._procedure, self._clock
        others = range(procedure.turn_calls - 1)
        with collector_held_off():
            for _ in range(procedure.lead_in):
                call()
            if procedure.rest_ns:
                self._sleep(procedure.rest_ns / 1e9)
            start = clock()  # from here to the other reading nothing is allocated but its integer
            call()
            for _ in others:
                call()
            end = clock()
        return round((end - start) / procedure.turn_calls)


@contextmanager
def collector_held_off() -> Iterator[None]:
    """Keep Python's cyclic collector from running: it takes milliseconds, at any allocation."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_pinned(procedure: Procedure) -> None:
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    if procedure.cpus is not None and tuple(sorted(procedure.cpus)) != allowed:
        raise UsageError(
            "cpus",
            f"the procedure says CPUs {list(procedure.cpus)}, but this process may run on "
            f"{list(allowed)}. Start it under `taskset`, or leave `cpus` out of the procedure.",
        )
