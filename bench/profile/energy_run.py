"""The device idle, then at work on pictures, while its sensors are read: what a picture costs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import Struct

from medge.bench.energy import Span, energy, nvml_part, shortest_ns
from medge.bench.profile.loaded import Loaded
from medge.bench.profile.process import Worker
from medge.bench.profile.turns import WHOLE, call_of
from medge.bench.sections import Absent, Energy
from medge.engine.sealed import Candidate
from medge.profiles.sensors import Sampler
from medge.profiles.terms import Count, Positive

IDLE_NS = 4_000_000_000
BUSY_NS = 6_000_000_000
PIECES = 20  # the least that an interval of energy needs is far below


class Work(Struct, frozen=True):
    """Run files from their bytes to a decision for so long, in so many pieces."""

    for_ns: Count
    pieces: Positive


class Worked(Struct, frozen=True):
    """Start, end and pictures of every piece, by ``perf_counter_ns``."""

    pieces: tuple[tuple[int, int, int], ...]


def work(loaded: Loaded, asked: Work) -> Worked:
    """Judge one file after the other, as fast as they can be."""
    call = call_of(loaded, WHOLE)
    pieces = []
    end = begun = time.perf_counter_ns()
    for piece in range(asked.pieces):
        until_ns = begun + asked.for_ns * (piece + 1) // asked.pieces
        start, pictures = end, 0
        while not pictures or end < until_ns:
            call()
            pictures += 1
            end = time.perf_counter_ns()
        pieces.append((start, end, pictures))
    return Worked(tuple(pieces))


def idle(sampler: Sampler, candidates: Iterable[Candidate]) -> Span | None:
    """Let the device rest while its sensors are read; None where no sensor tells energy."""
    trace = sampler.trace()
    times_ns = [shortest_ns(trace, nvml_part(candidate)) for candidate in candidates]
    needed_ns = max((time_ns for time_ns in times_ns if time_ns is not None), default=None)
    if needed_ns is None:
        return None
    _edge(sampler)
    start = time.perf_counter_ns()
    time.sleep(max(IDLE_NS, needed_ns) / 1e9)
    return Span(start, time.perf_counter_ns())


def energy_of(
    worker: Worker, candidate: Candidate, sampler: Sampler, resting: Span | None
) -> Energy | Absent:
    """Return what a picture costs, from its bytes to its decision.

    Raises
    ------
    MedgeError
        The candidate failed meanwhile.
    """
    gpu = nvml_part(candidate)
    needed_ns = shortest_ns(sampler.trace(), gpu)
    if resting is None or needed_ns is None:
        return energy(sampler.trace(), (), (), gpu)  # which says why
    _edge(sampler)
    wanted = Work(max(BUSY_NS, needed_ns), PIECES)
    worked = worker.ask(work, wanted, limit_s=20 * wanted.for_ns / 1e9 + 600)
    _edge(sampler)
    busy = [Span(*piece) for piece in worked.pieces]
    return energy(sampler.trace(), [resting], busy, gpu)


def _edge(sampler: Sampler) -> None:
    """Read now, so that a span that begins or ends here lies between two readings."""
    sampler.read_now()
