"""Idle gaps: how late the first calls after a pause are, and what keeping warm would gain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medge.bench.measure import Call, Clock, Sleep, collector_held_off
from medge.bench.sections import IdleGap
from medge.bench.warm_up import rank_test

GAPS_NS = tuple(round(1e9 * seconds) for seconds in (0.1, 0.3, 1, 3, 10, 30, 60))
CALLS = 10  # timed after each pause
REPEATS = 10  # of each pause, where the time allows
BUSY_NS = 300_000_000  # calls go on so long before a pause, so that it begins on a device at work
BUDGET_NS = 240_000_000_000  # two rounds of all pauses, more of the short ones
LATE_RATIO = 0.1  # a first call that is later than a warm one by less than this matters to nobody
LEVEL = 0.05
MIN_PAUSES = 2  # one late call proves nothing: the same happens without a pause


@dataclass(frozen=True, slots=True)
class KeepWarm:
    """What it gains to make a call whenever ``every_ns`` are over without one.

    ``warm_ns`` is the median call without a pause. ``late_ns`` is the median first call after
    ``gap_ns``, the longest pause that was shown to make it late, over so many ``pauses``.
    ``kept_ns`` is that after ``every_ns``: the longest pause below which none was shown to make it
    late, or the shortest of all where each did.
    """

    every_ns: int
    gap_ns: int
    pauses: int
    warm_ns: int
    late_ns: int
    kept_ns: int

    @property
    def gain_ns(self) -> int:
        """By how much sooner the first picture after the longest pause has its answer."""
        return self.late_ns - self.kept_ns

    @property
    def busy_ratio(self) -> float:
        """Part of the time that is spent for it."""
        return self.kept_ns / (self.every_ns + self.kept_ns)


def idle_gaps(
    call: Call,
    budget_ns: int = BUDGET_NS,
    gaps_ns: Sequence[int] = GAPS_NS,
    *,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
) -> tuple[IdleGap, ...]:
    """Time calls 1 to 10 after pauses, again and again while the budget lasts.

    Every round tries all pauses, the shortest first, and leaves out what no longer fits; so the
    longest are tried least, and one that is longer than the budget not at all. A pause of 0 comes
    first in each round: what calls take then is what a warm call takes.

    Parameters
    ----------
    call
        Runs one picture and returns when its answer is there.
    budget_ns
        The whole map ends within this, but for the calls of the first pause of 0.
    """
    start, spent_ns = clock(), 0
    taken: dict[int, list[tuple[int, ...]]] = {gap_ns: [] for gap_ns in (0, *sorted(gaps_ns))}
    for _ in range(REPEATS):
        for gap_ns, rows in taken.items():
            begun = clock()
            if taken[0] and begun - start + gap_ns + spent_ns > budget_ns:
                break
            rows.append(_after(gap_ns, call, clock, sleep))
            spent_ns = clock() - begun - gap_ns  # what surrounds a pause, for the next forecast
    return tuple(
        IdleGap(gap_ns=gap_ns, calls_ns=tuple(rows)) for gap_ns, rows in taken.items() if rows
    )


def keep_warm(gaps: Sequence[IdleGap]) -> KeepWarm | None:
    """Return what calls in the pauses would gain; None when no pause is shown to cost anything.

    Nothing is assumed beyond the map: with a call every second no picture comes after a longer
    pause than a second.

    A pause makes the first call late when that differs from warm calls by more than 10 % and by
    ranks at a level of 5 % (Mann and Whitney): two pauses can show it, one cannot.
    """
    tried = sorted(gaps, key=lambda gap: gap.gap_ns)
    if len(tried) < 2 or tried[0].gap_ns:
        return None
    warm = np.array([time_ns for row in tried[0].calls_ns for time_ns in row], np.int64)
    late = [gap for gap in tried[1:] if _is_late(gap, warm)]
    if not late:
        return None
    harmless = [gap for gap in tried[1:] if gap.gap_ns < late[0].gap_ns]
    kept, longest = (harmless or late[:1])[-1], late[-1]
    if first_ns(kept) >= first_ns(longest):
        return None
    return KeepWarm(
        every_ns=kept.gap_ns,
        gap_ns=longest.gap_ns,
        pauses=len(longest.calls_ns),
        warm_ns=int(np.median(warm)),
        late_ns=first_ns(longest),
        kept_ns=first_ns(kept),
    )


def first_ns(gap: IdleGap, call: int = 0) -> int:
    """Return the median of the first call after a pause, or of a later one, over its pauses."""
    return int(np.median([row[call] for row in gap.calls_ns]))


def _is_late(gap: IdleGap, warm_ns: npt.NDArray[np.int64]) -> bool:
    first = np.array([row[0] for row in gap.calls_ns])
    later = float(np.median(first)) > (1.0 + LATE_RATIO) * float(np.median(warm_ns))
    return later and len(first) >= MIN_PAUSES and rank_test(first, warm_ns) < LEVEL


def _after(gap_ns: int, call: Call, clock: Clock, sleep: Sleep) -> tuple[int, ...]:
    """Keep the device busy, pause, and time the calls that follow."""
    begun = clock()
    call()
    while clock() - begun < BUSY_NS:
        call()
    if gap_ns:
        sleep(gap_ns / 1e9)
    taken = []
    with collector_held_off():
        for _ in range(CALLS):
            start = clock()
            call()
            taken.append(clock() - start)
    return tuple(taken)
