"""Bursts: one call after another for a while, as a candidate's own process runs them."""

from __future__ import annotations

import time
from array import array
from functools import partial

from msgspec import Struct

from medge.bench.measure import Call, Clock, collector_held_off
from medge.bench.profile.loaded import Loaded
from medge.profiles.terms import Count, Positive

LONGEST_NS = 10_000_000_000  # of one burst: longer work is asked for in pieces
MOST_CALLS = 100_000  # of one burst, so that its answer stays small


class Work(Struct, frozen=True, kw_only=True):
    """What a worker is asked for: to work for ``duration_ns``, and one call at least."""

    duration_ns: Count


class Worked(Struct, frozen=True, kw_only=True):
    """What came of it: when the first call began and the last one ended, and what each took.

    Moments are those of ``perf_counter_ns``, which all processes of a machine share.
    """

    start_ns: int
    end_ns: int
    calls_ns: tuple[Count, ...]
    pictures_per_call: Positive = 1

    @property
    def pictures(self) -> int:
        """How many pictures were answered."""
        return len(self.calls_ns) * self.pictures_per_call


def burst(call: Call, duration_ns: int, clock: Clock = time.perf_counter_ns) -> Worked:
    """Call again and again until the time is over."""
    calls_ns = array("q")
    with collector_held_off():
        start = end = clock()
        while not calls_ns or (end - start < duration_ns and len(calls_ns) < MOST_CALLS):
            begun = clock()
            call()
            end = clock()
            calls_ns.append(end - begun)
    return Worked(start_ns=start, end_ns=end, calls_ns=tuple(calls_ns))


def work(loaded: Loaded, asked: Work) -> Worked:
    """Run one picture after another in a worker."""
    return burst(partial(loaded.session.infer, loaded.one), asked.duration_ns)
