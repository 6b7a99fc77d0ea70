"""Cold starts: new processes, from their start to the first decision."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from medge.bench.fresh_process import answer_of
from medge.bench.profile.cold_moments import Cold, Moments
from medge.bench.sections import Absent, ColdStart

STEPS = ("python", "import", "open", "load", "self-test", "first")
LIMIT_S = 300.0


def cold_starts(asked: Sequence[Cold], starts: int, seed: int = 0) -> list[ColdStart | Absent]:
    """Start each candidate in new processes, one after the other, in shuffled rounds.

    The first start of each fills the page cache and does not count: what is told is the start of a
    device that has run before, not the first after it was switched on.

    Returns
    -------
    list
        In the order asked; ``Absent`` where a start failed.
    """
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    taken: list[list[tuple[int, ...]]] = [[] for _ in asked]
    failed: dict[int, str] = {}
    for _ in range(starts + 1):
        for place in order.sample(range(len(asked)), len(asked)):
            if place in failed:
                continue
            found = _start(asked[place])
            if isinstance(found, str):
                failed[place] = found
            else:
                taken[place].append(found)
    return [
        Absent(reason=failed[place]) if place in failed else told(rows[1:])
        for place, rows in enumerate(taken)
    ]


def told(rows: Sequence[tuple[int, ...]]) -> ColdStart:
    """Return the section of processes, a row of moments each: its start, then after every step."""
    steps = {
        step: round(statistics.median(row[place + 1] - row[place] for row in rows))
        for place, step in enumerate(STEPS)
    }
    return ColdStart(total_ns=tuple(row[-1] - row[0] for row in rows), steps_ns=steps)


def _start(asked: Cold) -> tuple[int, ...] | str:
    """Return the moments of one process, or why it did not come to a decision."""
    start_ns = time.perf_counter_ns()  # the same clock in all processes: CLOCK_MONOTONIC
    try:
        said, code = answer_of(
            "medge.bench.profile.cold_worker", msgspec.json.encode(asked), LIMIT_S
        )
    except TimeoutError:
        return f"a new process came to no decision within {LIMIT_S:g} s"
    try:
        moments = msgspec.json.decode(said, type=Moments)
    except msgspec.DecodeError:
        return f"a new process ended with code {code} and no answer"
    if moments.fault:
        return f"a new process was stopped by {moments.fault}"
    at_ns = (start_ns, *moments.at_ns)
    if len(at_ns) != len(STEPS) + 1 or any(a > b for a, b in pairwise(at_ns)):
        return "the clocks of two processes do not agree here"
    return at_ns
