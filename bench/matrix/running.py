"""Running: one cell in its process, from loading to the result that is stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import msgspec

from medge.bench.energy import Span as Busy
from medge.bench.matrix.cells import Cell
from medge.bench.matrix.places import CPU, pinned
from medge.bench.matrix.turns import Nothing, Span, Taken, Turn, Warmed, during, held, turn, warm
from medge.bench.measure import Measurement
from medge.bench.profile.loaded import Load, LoadFacts
from medge.bench.profile.memory import device_bytes
from medge.bench.profile.process import Worker
from medge.bench.sections import Absent
from medge.errors import BackendError, BundleError, MedgeError

TURN_NS = 100_000_000
MOST_CALLS = 10_000  # in a turn: what a backend that answers at once would make thousands of
HANGS = "worker-hangs"

R = TypeVar("R")


class Pace(NamedTuple):
    """How long a turn lasts, and how long all turns together at least."""

    turn_ns: int = TURN_NS
    least_ns: int = 0


class Running:
    """One cell at work; every request counts against its time limit.

    Attributes
    ----------
    fault
        What ended it early; None while it goes on.
    facts
        What loading showed, None before and where it failed.
    busy
        The spans of its turns by ``perf_counter_ns``, with the pictures answered within.
    """

    def __init__(
        self,
        cell: Cell,
        limit_s: float,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cell = cell
        self.limit_s = limit_s
        self._pace = pace or Pace()
        self.fault: MedgeError | None = None
        self.busy: list[Busy] = []
        self._alone: list[Busy] = []
        self.facts: LoadFacts | None = None
        self.peak_rss_bytes: int | None = None
        self.device_bytes: int | Absent | None = None
        self._clock = clock
        self._spent_s = 0.0
        self._worker: Worker | None = None
        self._warmed = Warmed((), None)
        self._calls_ns: list[int] = []

    @property
    def going(self) -> bool:
        """Whether it has not failed."""
        return self.fault is None

    @property
    def done_ratio(self) -> float:
        """The part of the procedure's samples or time that is behind; 1 when it has them.

        A sensor of energy may need longer; what it takes longer gives no more samples.
        """
        rule, taken = self.cell.procedure.sampling, len(self._calls_ns)
        in_time = min(taken / rule.min_samples, self._busy_ns / max(1, rule.max_ns))
        sampled = max(taken / rule.max_samples, in_time)
        sensed = self._busy_ns / self._pace.least_ns if self._pace.least_ns else 1.0
        return min(1.0, sampled, sensed)

    def start(self) -> None:
        """Start the process and load the bundle; a failure becomes ``fault``."""
        cell = self.cell
        with pinned(cell.place):
            worker = self._worker = Worker()
        asked = Load(
            folder=os.fsencode(cell.subject.path),
            bundle_sha256=cell.subject.digest,
            candidate=cell.candidate,
        )
        self.facts = self._counted(lambda left_s: worker.load(asked, left_s))
        told = self._asked(held, Nothing())
        if told is not None and told.graph_batch not in (None, cell.candidate.batch):
            self._fail(
                BundleError(
                    "fixed-batch",
                    f"The graph takes batches of {told.graph_batch} only. Export the bundle with "
                    "a free batch.",
                )
            )

    def warm_up(self) -> None:
        """Call until times have settled."""
        found = self._asked(warm, self.cell.procedure.warm_up)
        self._warmed = found or self._warmed

    def take_turn(self) -> None:
        """Have one turn: as many calls as fill its time, at least one."""
        turn_ns = self._pace.turn_ns
        lasts_ns = self._warmed.wave_ns[-1] if self._warmed.wave_ns else turn_ns
        calls = max(1, min(turn_ns // max(1, lasts_ns), MOST_CALLS))
        self._keep(self._asked(turn, Turn(calls, self.cell.procedure.lead_in)))

    def take_span(self, begin_ns: int, end_ns: int) -> None:
        """Work from one moment to another, as others do at the same time."""
        self._keep(self._asked(during, Span(begin_ns, end_ns)))

    def take_alone(self, begin_ns: int, end_ns: int) -> None:
        """Work from one moment to another while the others rest."""
        taken = self._asked(during, Span(begin_ns, end_ns))
        if taken is not None:
            self._alone.append(Busy(taken.begin_ns, taken.end_ns, taken.pictures))

    def stop(self) -> None:
        """Ask for the memory of the process, and end it."""
        told = self._asked(held, Nothing())
        if told is not None and self._worker is not None:
            self.peak_rss_bytes = told.peak_rss_bytes
            if self.cell.candidate.device != CPU:
                self.device_bytes = device_bytes(self.cell.candidate, self._worker.pid)
        self.close()

    def close(self) -> None:
        """End the process at once."""
        if self._worker is not None:
            self._worker.close()

    @property
    def loaded_rss_bytes(self) -> int:
        """What its process held when it was loaded, 0 before."""
        return 0 if self.facts is None else self.facts.loaded_rss_bytes

    @property
    def pictures_per_s(self) -> float:
        """The rate over the time of all turns."""
        return _rate(self.busy)

    @property
    def alone_per_s(self) -> float | None:
        """The rate over the spans in which the others rested; None where there were none."""
        return _rate(self._alone) if self._alone else None

    @property
    def measurement(self) -> Measurement:
        """Return the latency of every call, turn by turn."""
        return Measurement(
            stage=self.cell.procedure.span,
            samples_ns=tuple(self._calls_ns),
            procedure=self.cell.procedure,
            warm_up_ns=self._warmed.wave_ns,
            settled=self._warmed.settled,
        )

    @property
    def _busy_ns(self) -> int:
        return _lasted_ns(self.busy)

    def _keep(self, taken: Taken | None) -> None:
        if taken is not None:
            left = self.cell.procedure.sampling.max_samples - len(self._calls_ns)
            self._calls_ns += taken.calls_ns[:left]
            self.busy.append(Busy(taken.begin_ns, taken.end_ns, taken.pictures))

    def _asked(self, function: Callable[..., R], asked: Any) -> R | None:
        worker = self._worker
        if worker is None or not self.going:
            return None
        return self._counted(lambda left_s: worker.ask(function, asked, left_s))

    def _counted(self, ask: Callable[[float], R]) -> R | None:
        """Ask for something within what is left of the limit; a failure becomes ``fault``."""
        start_s = self._clock()
        try:
            return ask(max(0.001, self.limit_s - self._spent_s))
        except MedgeError as error:
            self._fail(error)
            return None
        finally:
            self._spent_s += self._clock() - start_s

    def _fail(self, error: MedgeError) -> None:
        if error.rule == HANGS:
            error = BackendError(
                HANGS,
                f"It was not done after {self.limit_s:g} s. Allow it more: --time-limit.",
            )
        self.fault = error
        self.close()


def _rate(spans: Sequence[Busy]) -> float:
    return sum(span.pictures for span in spans) / _lasted_ns(spans) * 1e9


def _lasted_ns(spans: Sequence[Busy]) -> int:
    return sum(span.end_ns - span.start_ns for span in spans)


def together(cell: Cell, names: tuple[str, ...]) -> Cell:
    """Return a cell as it works while others do."""
    procedure = msgspec.structs.replace(cell.procedure, order="together", lead_in=0)
    return replace(cell, together=names, procedure=procedure)
