"""Overhead: what the profiler's own steps and sensors cost the candidate that is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from medge.bench.measure import Stopwatch
from medge.bench.procedure import Procedure
from medge.bench.profile.loaded import Load, Loaded
from medge.bench.profile.process import Worker
from medge.bench.profile.stages import procedure_of
from medge.bench.profile.turns import INFER, Taken, Turns, call_of
from medge.bench.sections import Overhead
from medge.bench.stats import compare, percentile
from medge.errors import GateError
from medge.profiles.sensors import Sampler
from medge.profiles.terms import Count

LIMIT_RATIO = 1.01  # p50 with sensors on over p50 with them off
CONFIDENCE = 0.99
NULL_SAMPLES = 200
MIN_PAIRS, MAX_PAIRS = 12, 60
BLOCK_PERIODS = 2  # of the sampler, so that every block with sensors on is read in
BLOCK_CALLS = 3


class Block(Struct, frozen=True):
    """Calls that follow each other for so long, at least some."""

    for_ns: Count
    min_calls: Count


def block(loaded: Loaded, asked: Block) -> Taken:
    """Time the network in a loop, as its own latency is measured."""
    stopwatch = Stopwatch(call_of(loaded, INFER), Procedure())
    samples_ns: list[int] = []
    until_ns = time.perf_counter_ns() + asked.for_ns
    while len(samples_ns) < asked.min_calls or time.perf_counter_ns() < until_ns:
        samples_ns.append(stopwatch.turn())
    return Taken(tuple(samples_ns))


def null_ns(load: Load) -> int:
    """Return the median of the same calls on a backend that answers at once.

    What is left is medge's own: the checks around a network, and the clock.
    """
    procedure = procedure_of(INFER, 0)
    with Worker() as worker:
        worker.load(load)
        timer = Turns(worker, procedure)
        samples_ns = [timer.turn(place) for place in range(NULL_SAMPLES)]
    if timer.fault is not None:
        raise timer.fault
    return percentile([taken for taken in samples_ns if taken is not None], 0.5)


def overhead(worker: Worker, sampler: Sampler, fixed_ns: int, budget_ns: int) -> Overhead:
    """Compare a candidate with the sensors on and off, block by block in the same rounds.

    A block's figure is its median, so that the ratio is one of p50. The sampler goes on as before
    afterwards.
    """
    if not sampler.sensors.channels:
        return Overhead(null_ns=fixed_ns, ratio=None, low=None, high=None, limit_ratio=LIMIT_RATIO)
    wanted = Block(BLOCK_PERIODS * sampler.period_ns, BLOCK_CALLS)
    on_ns: list[int] = []
    off_ns: list[int] = []
    start = time.perf_counter_ns()
    try:
        for pair in range(MAX_PAIRS):
            if pair >= MIN_PAIRS and time.perf_counter_ns() - start >= budget_ns:
                break
            sides: list[tuple[list[int], Callable[[], None]]] = [
                (on_ns, sampler.resume),
                (off_ns, sampler.pause),
            ]
            for taken, switch in sides if pair % 2 else reversed(sides):
                switch()
                taken.append(percentile(worker.ask(block, wanted, limit_s=600).samples_ns, 0.5))
    finally:
        sampler.resume()
    return told(on_ns, off_ns, fixed_ns)


def told(on_ns: Sequence[int], off_ns: Sequence[int], fixed_ns: int) -> Overhead:
    """Return the section of medians with sensors on and off, pair by pair."""
    found = compare(on_ns, off_ns, CONFIDENCE)
    bounded = found.low > 0.0
    return Overhead(
        null_ns=fixed_ns,
        ratio=found.ratio,
        low=found.low if bounded else None,
        high=found.high if bounded else None,
        limit_ratio=LIMIT_RATIO,
    )


def check(found: Overhead) -> None:
    """Refuse what the profiler itself is shown to have slowed down by more than its limit.

    Raises
    ------
    GateError
        Rule ``overhead``.
    """
    if found.ratio is not None and found.low is not None and found.low > found.limit_ratio:
        raise GateError(
            "overhead",
            f"With the sensors on a call takes {found.ratio:.3f} of its time with them off (at "
            f"least {found.low:.3f}, allowed {found.limit_ratio:g}), so this measurement says too "
            "much about the profiler. Close other programs and begin again, or leave the sensors "
            "out: --no-sensors.",
        )
