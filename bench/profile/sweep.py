"""Sweep: larger batches and more streams, until no more pictures are answered in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from medge.bench.measure import Call, Clock, Measurement, collector_held_off
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.sections import LoadPoint
from medge.bench.stats import compare
from medge.engine.sealed import Candidate
from medge.errors import MedgeError

BUDGET_NS = 90_000_000_000
POINT_NS = 3_000_000_000  # rounds of one point, after the fewest
MIN_ROUNDS, MAX_ROUNDS = 8, 60  # 8 pairs are the fewest that a verdict at 99 % can rest on
WAVE_NS = 20_000_000
WARM_WAVES = 2
GROWTH_RATIO = 0.03  # a point counts as growth when more than this is shown
CONFIDENCE = 0.99
PATIENCE = 2  # points without growth in a row; one may be a bad size for the runtime
MAX_BATCH = 256
RESERVE_RATIO = 1.5  # memory is to be free for this times what a point is expected to take

R = TypeVar("R")


class Lanes(Protocol):
    """A loaded candidate that can be called in all its streams; ``entrants.Built`` is one."""

    pictures: int  # in one call of every stream

    @property
    def fixed_batch(self) -> int | None:
        """The only batch that the graph takes, None for any."""
        ...

    def in_streams(self, work: Callable[[Call], R]) -> list[R]:
        """Work in every stream at the same time, each given what makes one call there."""
        ...

    def close(self) -> None:
        """Release the runtime."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """How a sweep asks for memory, in bytes: what this process has, and what it can still have."""

    taken: Callable[[], int]
    free: Callable[[], int]


def sweep(
    open_: Callable[[Candidate], Lanes],
    base: Candidate,
    cores: int,
    room: Room,
    *,
    budget_ns: int = BUDGET_NS,
    clock: Clock = time.perf_counter_ns,
) -> tuple[LoadPoint, ...]:
    """Measure throughput and latency at growing load.

    First batches of 1, 2, 4, ... pictures in one stream, then 2, 4, ... streams, then batches in
    the best number of streams. Each of these ends when two points in a row are not shown to answer
    3 % more pictures a second than the best before them, in the same rounds, at a level of 1 %.

    Parameters
    ----------
    open_
        Loads a candidate; what it raises becomes the reason of that point.
    base
        How the bundle is run; its threads, streams and batch are varied.
    cores
        CPUs that may be used: every point has as many threads, of all streams together.
    budget_ns
        No point is begun that is expected to end after this.

    Returns
    -------
    tuple of LoadPoint
        In the order tried. A point that was not measured says why; what comes after it on its way
        is left out.
    """
    run = _Sweep(open_, room, clock, clock() + budget_ns)
    threads = cores if base.device == "cpu" else base.threads
    start = msgspec.structs.replace(base, threads=threads, streams=1, batch=1)
    try:
        run.climb(_batches(start))
        run.climb(_streams(start, cores) if run.best else ())
        best = run.best
        if best is not None and best.candidate.streams > 1 and run.fixed_batch is None:
            several = msgspec.structs.replace(start, streams=best.candidate.streams, batch=2)
            run.climb(_batches(several))
    finally:
        run.close()
    return tuple(run.points)


def best_of(points: Iterable[LoadPoint]) -> LoadPoint | None:
    """Return the point that answers most pictures a second."""
    measured = [point for point in points if point.pictures_per_s is not None]
    return max(measured, key=lambda point: point.pictures_per_s or 0.0, default=None)


@dataclass
class _Loaded:
    """One candidate of the sweep while it is loaded."""

    candidate: Candidate
    lanes: Lanes
    calls: int = 1  # of every stream in one wave
    wave_ns: int = 0
    picture_ns: list[int] = field(default_factory=list)
    calls_ns: list[int] = field(default_factory=list)

    def wave(self, clock: Clock) -> None:
        """Run one wave: an untimed call in every stream, then the timed ones."""
        self.lanes.in_streams(lambda call: call())
        with collector_held_off():
            start = clock()
            rows = self.lanes.in_streams(partial(_timed, calls=self.calls, clock=clock))
            self.wave_ns = clock() - start
        self.picture_ns.append(max(1, self.wave_ns // (self.calls * self.lanes.pictures)))
        self.calls_ns += chain.from_iterable(zip(*rows, strict=True))

    def warm_up(self, clock: Clock) -> None:
        """Run some waves that do not count, and find how many calls make a wave long enough."""
        for _ in range(WARM_WAVES):
            self.wave(clock)
        self.calls = max(1, -(-WAVE_NS // max(1, self.wave_ns)))
        self.picture_ns.clear()
        self.calls_ns.clear()

    def point(self) -> LoadPoint:
        """Return what was measured of it."""
        candidate = self.candidate
        procedure = Procedure(
            span="infer",
            batch=candidate.batch,
            streams=candidate.streams,
            threads=candidate.threads,
            warm_up=WarmUp(max_calls=0),
            sampling=Sampling(min_samples=MIN_ROUNDS, max_samples=MAX_ROUNDS, max_ns=POINT_NS),
            lead_in=1,
            order="interleaved",
        )
        return LoadPoint(
            batch=candidate.batch,
            streams=candidate.streams,
            threads=candidate.threads,
            measurement=Measurement("infer", tuple(self.calls_ns), procedure),
            pictures_per_s=1e9 / float(np.median(self.picture_ns)),
        )


@dataclass
class _Sweep:
    """The points so far, and the best of them, which stays loaded to be compared with."""

    open_: Callable[[Candidate], Lanes]
    room: Room
    clock: Clock
    until_ns: int
    points: list[LoadPoint] = field(default_factory=list)
    best: _Loaded | None = None
    fixed_batch: int | None = None
    picture_bytes: int = 0  # what a point took, per picture in flight
    picture_cost_ns: int = 0  # what measuring a point took, likewise

    def climb(self, way: Iterable[Candidate]) -> None:
        """Go a way until it leads no further up; the best point of all so far stays loaded."""
        flat = 0
        for candidate in way:
            if candidate.batch > 1 and self.fixed_batch is not None:
                text = f"the graph takes batches of {self.fixed_batch} only"
                self.points.append(missed(candidate, text))
                return
            reason = self._too_much(candidate)
            if reason is None:
                grown, reason = self._try(candidate)
            if reason is not None:
                self.points.append(missed(candidate, reason))
                return
            flat = 0 if grown else flat + 1
            if flat == PATIENCE:
                return

    def close(self) -> None:
        """Release what is still loaded."""
        if self.best is not None:
            self.best.lanes.close()
            self.best = None

    def _too_much(self, candidate: Candidate) -> str | None:
        """Return why a point is not begun: the time or the memory would not be enough."""
        pictures = candidate.batch * candidate.streams
        left_ns = self.until_ns - self.clock()
        if self.best is not None and self.picture_cost_ns * pictures > left_ns:
            return "not tried: the time for the sweep was over"
        needed_bytes, free_bytes = self.picture_bytes * pictures, self.room.free()
        if RESERVE_RATIO * needed_bytes > free_bytes:
            return (
                f"not tried: it may need {needed_bytes / 1e9:.1f} GB of memory, "
                f"{free_bytes / 1e9:.1f} GB are free"
            )
        return None

    def _try(self, candidate: Candidate) -> tuple[bool, str | None]:
        """Measure one point beside the best so far; return whether it grew, or why it failed."""
        begun, before_bytes = self.clock(), self.room.taken()
        pictures = candidate.batch * candidate.streams
        loser: _Loaded | None = None
        try:
            loser = new = _Loaded(candidate, self.open_(candidate))
            new.warm_up(self.clock)
            grown = self._grows(new)
            self.points.append(new.point())
            if grown:
                loser, self.best = self.best, new
                self.fixed_batch = new.lanes.fixed_batch
        except MedgeError as error:
            return False, error.message
        finally:
            self.picture_bytes = max(0, self.room.taken() - before_bytes) // pictures
            self.picture_cost_ns = (self.clock() - begun) // pictures
            if loser is not None:
                loser.lanes.close()
        return grown, None

    def _grows(self, new: _Loaded) -> bool:
        """Run a point and the best so far in the same rounds; whether it is shown to be better."""
        pair = [new] if self.best is None else [new, self.best]
        start = self.clock()
        for taken in range(MAX_ROUNDS):
            if taken >= MIN_ROUNDS and self.clock() - start >= POINT_NS:
                break
            for each in pair if taken % 2 else pair[::-1]:
                each.wave(self.clock)
        if self.best is None:
            return True
        before = self.best.picture_ns[-len(new.picture_ns) :]
        return compare(new.picture_ns, before, CONFIDENCE).high < 1.0 / (1.0 + GROWTH_RATIO)


def _timed(call: Call, calls: int, clock: Clock) -> list[int]:
    taken = []
    for _ in range(calls):
        start = clock()
        call()
        taken.append(clock() - start)
    return taken


def _batches(first: Candidate) -> Iterator[Candidate]:
    batch = first.batch
    while batch <= MAX_BATCH:
        yield msgspec.structs.replace(first, batch=batch)
        batch *= 2


def _streams(first: Candidate, cores: int) -> Iterator[Candidate]:
    """Yield 2, 4, ... streams, and as many as there are threads."""
    most = min(cores, first.threads)
    counts = [1 << power for power in range(1, most.bit_length()) if 1 << power < most]
    for streams in (*counts, most) if most > 1 else ():
        yield msgspec.structs.replace(first, streams=streams)


def missed(candidate: Candidate, reason: str) -> LoadPoint:
    """Return the point that says why it could not be measured."""
    return LoadPoint(
        batch=candidate.batch,
        streams=candidate.streams,
        threads=candidate.threads,
        measurement=None,
        pictures_per_s=None,
        reason=reason,
    )
