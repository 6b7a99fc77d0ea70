"""Sampling: a thread reads all sensors at a steady period and keeps what they told, and when."""

from __future__ import annotations

import math
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from statistics import median
from types import TracebackType

from medge.profiles.sensors.chain import Clock, Sensors
from medge.profiles.sensors.trace import Trace

PERIOD_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What sampling itself took: ``wall_ns`` of one reading of all sensors, as a median.

    ``cpu_ratio`` is the part of one CPU that the thread was busy with, its waking included.
    """

    readings: int
    wall_ns: int
    cpu_ratio: float


class Sampler:
    """Reads sensors in a thread of this process, so let what is measured run in another one.

    Parameters
    ----------
    sensors
        Open; they stay open.
    period_ns
        From one reading to the next; a reading that comes too late is not made up for.
    clock
        Nanoseconds that never go back. On Linux ``perf_counter_ns`` is the same for all processes.

    Raises
    ------
    Exception
        What a sensor raised, when the sampler is left or a trace is asked for.
    """

    def __init__(
        self, sensors: Sensors, period_ns: int = PERIOD_NS, clock: Clock = time.perf_counter_ns
    ) -> None:
        if period_ns <= 0:
            raise ValueError(f"a period must be above 0 ns, found {period_ns}")
        self.sensors = sensors
        self.period_ns = period_ns
        self._clock = clock
        self._at_ns = array("q")
        self._read_ns = array("q")
        self._values = [array("d") for _ in sensors.channels]
        self._stop = threading.Event()
        self._off = threading.Event()
        self._lock = threading.Lock()
        self._fault: BaseException | None = None
        self._cpu_ns = 0
        self._span_ns = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Sampler:
        if self.sensors.channels:  # nothing to read costs nothing
            self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if error is None:
            self._check()

    def pause(self) -> None:
        """Read nothing until ``resume``: to see what sampling costs."""
        self._off.set()

    def resume(self) -> None:
        """Read again."""
        self._off.clear()

    def read_now(self) -> None:
        """Read once in the calling thread, as at the edges of a span that must be covered."""
        self._read()

    @property
    def cost(self) -> Cost | None:
        """What sampling took so far, None before the first reading."""
        with self._lock:
            readings = len(self._read_ns)
            if not readings:
                return None
            ratio = self._cpu_ns / self._span_ns if self._span_ns else 0.0
            return Cost(readings, int(median(self._read_ns)), ratio)

    def trace(
        self, origin_ns: int = 0, start_ns: int | None = None, end_ns: int | None = None
    ) -> Trace:
        """Return what was told, moments counted from ``origin_ns``.

        Parameters
        ----------
        start_ns, end_ns
            Leave out what was read before and after, by the sampler's clock; default: nothing.
        """
        self._check()
        with self._lock:
            at_ns = self._at_ns[:]
            columns = [column[:] for column in self._values]
            read_ns = int(median(self._read_ns)) if self._read_ns else None
        first = 0 if start_ns is None else bisect_left(at_ns, start_ns)
        last = len(at_ns) if end_ns is None else bisect_right(at_ns, end_ns)
        return Trace(
            channels=self.sensors.channels,
            at_ns=tuple(at - origin_ns for at in at_ns[first:last]),
            values=tuple(
                tuple(None if math.isnan(value) else value for value in column[first:last])
                for column in columns
            ),
            missing=self.sensors.missing,
            period_ns=self.period_ns,
            read_ns=read_ns,
        )

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            began_cpu_ns, began_ns = time.thread_time_ns(), self._clock()
            due_ns = began_ns
            while not self._stop.is_set():
                if not self._off.is_set():
                    self._read()
                now_ns = self._clock()
                self._cpu_ns = time.thread_time_ns() - began_cpu_ns
                self._span_ns = now_ns - began_ns
                due_ns = max(due_ns + self.period_ns, now_ns)
                self._stop.wait((due_ns - now_ns) / 1e9)
        except BaseException as error:  # raised again in the thread that asks for the trace
            self._fault = error

    def _read(self) -> None:
        with self._lock:
            start_ns = self._clock()
            values = self.sensors.read()
            end_ns = self._clock()
            self._at_ns.append((start_ns + end_ns) // 2)
            self._read_ns.append(end_ns - start_ns)
            for column, value in zip(self._values, values, strict=True):
                column.append(math.nan if value is None else value)
