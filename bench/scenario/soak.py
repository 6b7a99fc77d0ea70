"""Soak: a long run at a duty cycle, to see what a device sustains once it is hot."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medge.bench.measure import Clock, Sleep
from medge.bench.scenario.burst import LONGEST_NS, Worked
from medge.bench.sections import Absent, Soak, SoakMinute
from medge.bench.stats import interval_cases, median_interval, percentile
from medge.profiles.sensors.trace import Trace, highest, throttled

MINUTE_NS = 60_000_000_000
SLICE_NS = 1_000_000_000  # of a rest, so that progress is told
SUSTAINED = 4  # the rate is that of the last quarter of the minutes
# Two medians, each within its interval with 97.5 %: both are with at least 95 % (Bonferroni).
SIDE_CONFIDENCE = 0.975

Worker = Callable[[int], Worked]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Duty:
    """How long to soak, and how: ``duty_ns`` of work, ``rest_ns`` of rest, and again."""

    total_ns: int
    duty_ns: int
    rest_ns: int


@dataclass(slots=True)
class _Minute:
    """What was taken in one minute since the start."""

    calls_ns: array[int] = field(default_factory=lambda: array("q"))
    pictures: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)


class Soaking:
    """A soak under way: what it has taken can be told at any time, also after Ctrl-C.

    Parameters
    ----------
    clock
        Nanoseconds that never go back: that of ``work`` and of the sensors.
    sleep
        Takes seconds.
    """

    def __init__(
        self, duty: Duty, clock: Clock = time.perf_counter_ns, sleep: Sleep = time.sleep
    ) -> None:
        self.duty = duty
        self.start_ns: int | None = None
        self.complete = False
        self._end_ns = 0
        self._clock, self._sleep = clock, sleep
        self._minutes: dict[int, _Minute] = {}

    def run(self, work: Worker, told: Callable[[int, int], None] = lambda done, all_: None) -> None:
        """Work and rest in turn until the time is over, but for a last rest that nothing follows.

        What ``work`` raises ends it.

        Parameters
        ----------
        work
            Calls for about so many nanoseconds and returns what the calls took.
        told
            Is told the nanoseconds that are over and those of the whole soak.
        """
        total_ns = self.duty.total_ns
        start = self.start_ns = cycle = self._clock()
        end = start + total_ns
        while cycle < end:
            until = min(cycle + self.duty.duty_ns, end)
            while (now := self._clock()) < until:
                told(now - start, total_ns)
                self._take(work(min(until - now, LONGEST_NS)))
            cycle = max(cycle + self.duty.duty_ns + self.duty.rest_ns, self._clock())
            while cycle < end and (now := self._clock()) < cycle:
                told(now - start, total_ns)
                self._sleep(min(cycle - now, SLICE_NS) / 1e9)
        self.complete = True
        told(total_ns, total_ns)

    def result(self, trace: Trace | None, parts: str = "cpu") -> Soak | Absent:
        """Return what the soak showed so far.

        Parameters
        ----------
        trace
            What sensors told meanwhile, by the soak's own clock; None where none was read.
        parts
            How the names of the parts begin whose clock stands beside the minutes.
        """
        if self.start_ns is None or not self._minutes:
            return Absent(reason="the soak ended before its first picture")
        taken = [self._minutes[number] for number in sorted(self._minutes)]
        ratio, low, high = _last_to_first(taken)
        watched = None if trace is None else _Watched(trace, parts)
        last = taken[-max(1, len(taken) // SUSTAINED) :]
        busy_ns = sum(sum(minute.calls_ns) for minute in last)
        return Soak(
            duty_ns=self.duty.duty_ns,
            rest_ns=self.duty.rest_ns,
            asked_ns=self.duty.total_ns,
            lasted_ns=self._end_ns - self.start_ns,
            interrupted=not self.complete,
            minutes=tuple(
                _minute(number + 1, self._minutes[number], watched)
                for number in sorted(self._minutes)
            ),
            sustained_per_s=sum(minute.pictures for minute in last) / (busy_ns / 1e9),
            throttle_s=_throttle_s(trace, self.start_ns, self._end_ns),
            ratio=ratio,
            low=low,
            high=high,
        )

    def _take(self, worked: Worked) -> None:
        """Put each call into the minute in which it began."""
        start_ns = self.start_ns or 0
        calls_ns = np.array(worked.calls_ns, np.int64)
        begun_ns = worked.start_ns - start_ns + np.concatenate([[0], np.cumsum(calls_ns)[:-1]])
        numbers = begun_ns // MINUTE_NS
        for number in np.unique(numbers):
            minute = self._minutes.setdefault(max(0, int(number)), _Minute())
            of_minute = calls_ns[numbers == number]
            minute.calls_ns.extend(of_minute.tolist())
            minute.pictures += len(of_minute) * worked.pictures_per_call
            minute.spans.append((worked.start_ns, worked.end_ns))
        self._end_ns = worked.end_ns


class _Watched:
    """What sensors told, by quantity, at moments that can be chosen."""

    def __init__(self, trace: Trace, parts: str) -> None:
        self._at_ns = np.array(trace.at_ns, np.int64)
        self.clock_mhz = _floats(highest(trace, "clock", parts))
        self.temperature_c = _floats(highest(trace, "temperature"))
        self.throttled = _floats(throttled(trace))

    def within(self, spans: Sequence[tuple[int, int]], values: Floats) -> Floats:
        """Return what is known of the moments within any of some spans."""
        if not len(values):
            return values
        chosen = np.zeros(len(self._at_ns), bool)
        for start_ns, end_ns in spans:
            chosen |= (self._at_ns >= start_ns) & (self._at_ns <= end_ns)
        found = values[chosen]
        return found[~np.isnan(found)]


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _minute(number: int, taken: _Minute, watched: _Watched | None) -> SoakMinute:
    calls_ns = _whole(taken.calls_ns)
    clocks = degrees = slowed = _floats(())
    if watched is not None:
        clocks, degrees, slowed = (
            watched.within(taken.spans, values)
            for values in (watched.clock_mhz, watched.temperature_c, watched.throttled)
        )
    return SoakMinute(
        minute=number,
        pictures=taken.pictures,
        p50_ns=percentile(calls_ns, 0.5),
        p99_ns=percentile(calls_ns, 0.99) if len(calls_ns) >= interval_cases(0.99) else None,
        clock_mhz=float(np.median(clocks)) if len(clocks) else None,
        temperature_c=float(degrees.max()) if len(degrees) else None,
        throttled=bool(slowed.any()) if len(slowed) else None,
    )


def _throttle_s(trace: Trace | None, start_ns: int, end_ns: int) -> float | Absent | None:
    """Return when throttling was first seen, in seconds since the start."""
    if trace is None:
        return Absent(reason="no sensor was read")
    told = [
        (at_ns, slowed)
        for at_ns, slowed in zip(trace.at_ns, throttled(trace), strict=True)
        if slowed is not None and start_ns <= at_ns <= end_ns
    ]
    if not told:
        return Absent(reason=trace.missing.get("throttle", "no sensor told throttling"))
    return next(((at_ns - start_ns) / 1e9 for at_ns, slowed in told if slowed), None)


def _last_to_first(minutes: Sequence[_Minute]) -> tuple[float, float | None, float | None]:
    """Return the last minute's median over the first's, within at least 95 %.

    The bounds are None where both are the same minute, and where one has too few calls, or such
    that follow each other too closely, to bound its median.
    """
    first, last = (_whole(minute.calls_ns) for minute in (minutes[0], minutes[-1]))
    ratio = percentile(last, 0.5) / max(1, percentile(first, 0.5))
    of_first, of_last = (median_interval(calls, SIDE_CONFIDENCE) for calls in (first, last))
    if len(minutes) == 1 or of_first is None or of_last is None:
        return ratio, None, None
    return ratio, of_last.low / max(1, of_first.high), of_last.high / max(1, of_first.low)


def _whole(calls_ns: array[int]) -> npt.NDArray[np.int64]:
    return np.frombuffer(calls_ns, np.int64)
