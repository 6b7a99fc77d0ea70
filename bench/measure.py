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
    the procedure has no warm-up.
    """

    stage: str
    samples_ns: tuple[int, ...]
    procedure: Procedure
    warm_up_ns: tuple[int, ...] = ()
    settled: bool | None = None


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
        self._round = 0
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
        """Run rounds until the procedure has its samples."""
        rule, start = self.procedure.sampling, self._clock()
        for taken in range(rule.max_samples):
            late = taken >= rule.min_samples and self._clock() - start >= rule.max_ns
            if late or not self._racing:
                break
            self.step()

    def measurement(self, name: str) -> Measurement:
        """Return what was taken of a candidate, for good."""
        return Measurement(
            stage=self.procedure.span,
            samples_ns=tuple(self._samples_ns[name]),
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
