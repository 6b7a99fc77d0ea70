"""Turns of a cell: what its own process is asked for, and answers with times."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from msgspec import Struct

from medge.bench.entrants import Call
from medge.bench.measure import collector_held_off
from medge.bench.procedure import WarmUp
from medge.bench.profile.loaded import Loaded
from medge.bench.profile.resident import peak_rss_bytes
from medge.bench.warm_up import settled
from medge.profiles.terms import Count, Positive

Clock = Callable[[], int]
MIN_WARM_CALLS = 3


class Turn(Struct, frozen=True):
    """So many timed calls in every stream, after ``lead_in`` untimed ones."""

    calls: Positive
    lead_in: Count = 0


class Span(Struct, frozen=True):
    """Calls in every stream from one moment to another of ``perf_counter_ns``."""

    begin_ns: Count
    end_ns: Count


class Warmed(Struct, frozen=True):
    """Times of the untimed waves (one call in every stream), and whether they had settled."""

    wave_ns: tuple[Count, ...]
    settled: bool | None


class Taken(Struct, frozen=True):
    """What every call took, stream by stream, and the span from the first to the last.

    ``pictures`` were answered within it.
    """

    calls_ns: tuple[Count, ...]
    begin_ns: Count
    end_ns: Count
    pictures: Count


class Nothing(Struct, frozen=True):
    """A request that needs no facts."""


class Held(Struct, frozen=True):
    """The most memory that this process had, in bytes, and the only batch that its graph takes."""

    peak_rss_bytes: Count
    graph_batch: Positive | None


def warm(loaded: Loaded, rule: WarmUp) -> Warmed:
    """Call until two windows of waves in a row are alike, or a limit of the rule is reached."""
    waves = array("q")
    until_ns = time.perf_counter_ns() + rule.max_ns
    with collector_held_off():
        while not settled(waves, rule):
            late = time.perf_counter_ns() >= until_ns
            if len(waves) >= rule.max_calls or (late and len(waves) >= MIN_WARM_CALLS):
                return Warmed(tuple(waves), False if rule.max_calls else None)
            start = time.perf_counter_ns()
            loaded.built.run(1)
            waves.append(time.perf_counter_ns() - start)
    return Warmed(tuple(waves), True)


def turn(loaded: Loaded, asked: Turn) -> Taken:
    """Make the timed calls of one turn."""
    with collector_held_off():
        if asked.lead_in:
            loaded.built.run(asked.lead_in)
        begin_ns = time.perf_counter_ns()
        columns = loaded.built.in_streams(lambda call: _counted(call, asked.calls))
        end_ns = time.perf_counter_ns()
    return _taken(loaded, columns, begin_ns, end_ns)


def during(loaded: Loaded, asked: Span) -> Taken:
    """Wait for the beginning, then call until the end: other processes do the same meanwhile."""
    wait_s = (asked.begin_ns - time.perf_counter_ns()) / 1e9
    if wait_s > 0:
        time.sleep(wait_s)
    with collector_held_off():
        begin_ns = time.perf_counter_ns()
        columns = loaded.built.in_streams(lambda call: _until(call, asked.end_ns))
        end_ns = time.perf_counter_ns()
    return _taken(loaded, columns, begin_ns, end_ns)


def held(loaded: Loaded, _asked: Nothing) -> Held:
    """Tell the process's memory."""
    return Held(peak_rss_bytes(), loaded.session.batch)


def _counted(call: Call, calls: int, clock: Clock = time.perf_counter_ns) -> array[int]:
    taken = array("q")
    for _ in range(calls):
        start = clock()
        call()
        taken.append(clock() - start)
    return taken


def _until(call: Call, end_ns: int, clock: Clock = time.perf_counter_ns) -> array[int]:
    taken, end = array("q"), clock()
    while end < end_ns or not taken:
        start = end
        call()
        end = clock()
        taken.append(end - start)
    return taken


def _taken(loaded: Loaded, columns: list[array[int]], begin_ns: int, end_ns: int) -> Taken:
    calls_ns = tuple(each for column in columns for each in column)
    return Taken(calls_ns, begin_ns, end_ns, len(calls_ns) * loaded.choice.batch)
