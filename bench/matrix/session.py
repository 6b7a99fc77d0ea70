"""Session: a matrix is measured group by group, and each cell is stored when it is done."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from medge.bench.energy import Span, nvml_part, shortest_ns
from medge.bench.matrix.cells import Cell, Plan, Subject
from medge.bench.matrix.places import apart
from medge.bench.matrix.results import found_before, result_of
from medge.bench.matrix.running import TURN_NS, Pace, Running, together
from medge.bench.result import Result
from medge.bench.store import Store
from medge.profiles.cuda_gpus import gpu_of
from medge.profiles.memory import memory_facts
from medge.profiles.nvml import free_ratio
from medge.profiles.sensors import Sampler, open_sensors

MOST_AT_ONCE = 8  # processes that take turns
SPARE_RATIO = 0.2  # of all memory: is left to everybody else
DEVICE_FREE_RATIO = (
    0.5  # of a GPU's memory: TensorRT builds in what it finds, and none says how much
)
FIRST_BYTES = 400_000_000  # a runtime with a common network, before any was loaded
CROWD_ROUNDS = 3
SEED = 0
AHEAD_NS = 50_000_000  # between asking several processes to begin and their beginning

Progress = Callable[[str, float], None]


@dataclass
class Session:
    """One run through the cells of a plan.

    Parameters
    ----------
    resume
        Take what the store has of the very same cells.
    limit_s
        The longest time of one cell, loading included.
    progress
        Told what begins, and which part (0 to 1) of all cells is done.
    available_bytes
        Returns the memory that processes may still take, None where nobody tells.
    free_ratio
        Returns the free part of a device's own memory, None where nobody tells.
    """

    plan: Plan
    resume: bool = False
    limit_s: float = 300.0
    progress: Progress = lambda _what, _done: None
    available_bytes: Callable[[], int | None] = field(default_factory=lambda: _available_bytes)
    free_ratio: Callable[[str], float | None] = field(default_factory=lambda: _free_ratio)

    def __post_init__(self) -> None:
        self.matrix = self.plan.matrix
        self.results: dict[str, Result] = {}
        self.before = 0  # cells that were taken from the store
        self._idle: list[Span] = []
        self._pace = Pace()
        self._group: list[Running] = []
        self._done = 0
        self._all = 1

    def run(self) -> dict[str, Result]:
        """Measure every cell; return the results by the cells' keys.

        Raises
        ------
        StorageError
            A result cannot be stored; those before it are.
        """
        cells = self.plan.cells
        crowds = list(_crowds(cells))
        everything = [*cells, *(cell for crowd in crowds for cell in crowd)]
        if self.resume:
            self.results |= found_before(_subjects(everything), everything)
        self.before = self._done = len(self.results)
        self._all = len(everything)
        with ExitStack() as stack:
            self._store = stack.enter_context(Store.open())
            self._sampler = stack.enter_context(Sampler(stack.enter_context(open_sensors())))
            if len(self.results) < self._all:
                self._rest()
            for subject in _subjects(cells):
                self._one_by_one([cell for cell in cells if cell.subject == subject])
            for crowd in crowds:
                self._at_once(crowd)
        return self.results

    def _rest(self) -> None:
        """Do nothing for as long as the sensors need to tell what the idle machine takes."""
        trace = self._sampler.trace()
        parts = {nvml_part(cell.candidate) for cell in self.plan.cells}
        times_ns = [shortest_ns(trace, part) for part in parts]
        needed_ns = max((each for each in times_ns if each is not None), default=None)
        if needed_ns is None:
            return
        # A turn of ten of the sensor's values, and twice the shortest time that it can tell.
        self._pace = Pace(max(TURN_NS, needed_ns // 2), 2 * needed_ns)
        begin_ns = time.perf_counter_ns()
        self._sampler.read_now()
        time.sleep(1.2 * needed_ns / 1e9)
        self._sampler.read_now()
        self._idle.append(Span(begin_ns, time.perf_counter_ns()))

    def _one_by_one(self, cells: Sequence[Cell]) -> None:
        """Measure the cells of one bundle, as many in the same rounds as memory holds."""
        waiting = [cell for cell in cells if cell.key not in self.results]
        while waiting:
            group = self._group = []
            try:
                while waiting and self._fits(group, waiting[0]):
                    running = Running(waiting.pop(0), self.limit_s, self._pace)
                    group.append(running)
                    self._begin(running)
                self._rounds([running for running in group if running.going])
            finally:  # Ctrl-C must leave no process
                for running in group:
                    running.close()

    def _fits(self, group: Sequence[Running], cell: Cell) -> bool:
        """Whether one more process finds memory; the first always gets its chance."""
        if not group or len(group) >= MOST_AT_ONCE:
            return not group
        free = self.free_ratio(cell.candidate.device)
        if free is not None and free < DEVICE_FREE_RATIO:
            return False
        available, largest = self.available_bytes(), max(r.loaded_rss_bytes for r in group)
        return available is None or available >= max(largest, FIRST_BYTES)

    def _begin(self, running: Running) -> None:
        self._told(f"loading {running.cell.words}")
        running.start()
        if running.going:
            running.warm_up()
        if not running.going:
            self._finish(running)

    def _rounds(self, racing: list[Running]) -> None:
        """Give each a turn in every round, in shuffled order, until it has its samples."""
        order = random.Random(SEED)  # noqa: S311 - an order
        while racing:
            order.shuffle(racing)
            for running in list(racing):
                self._told(f"measuring {running.cell.words}")
                self._sampler.read_now()
                running.take_turn()
                self._sampler.read_now()
                if running.done_ratio >= 1.0 or not running.going:
                    racing.remove(running)
                    self._finish(running)

    def _at_once(self, crowd: Sequence[Cell]) -> None:
        """Let the cells of several places work alone and all at once, in turn, each process kept.

        What slows the machine down for a while so hits both alike.
        """
        if all(cell.key in self.results for cell in crowd):
            return
        group = self._group = [Running(cell, self.limit_s) for cell in crowd]
        try:
            for running in group:
                self._begin(running)
            able = [running for running in group if running.going]
            if len(able) > 1:
                self._alternate(able, crowd[0].procedure.sampling.max_ns // CROWD_ROUNDS)
            whole = all(running.going for running in group)
            for running in able:
                # Without the others there is nothing to compare with: only who failed is told.
                if whole or not running.going:
                    self._finish(running)
        finally:
            for running in group:
                running.close()

    def _alternate(self, able: Sequence[Running], span_ns: int) -> None:
        with ThreadPoolExecutor(len(able)) as pool:
            for _ in range(CROWD_ROUNDS):
                for running in able:
                    self._told(f"measuring {running.cell.words} alone")
                    begin_ns = time.perf_counter_ns()
                    running.take_alone(begin_ns, begin_ns + span_ns)
                if not all(running.going for running in able):
                    return
                self._told(f"measuring {len(able)} devices at once")
                begin_ns = time.perf_counter_ns() + AHEAD_NS
                spans = [pool.submit(each.take_span, begin_ns, begin_ns + span_ns) for each in able]
                for span in spans:
                    span.result()

    def _finish(self, running: Running) -> None:
        """Store what a cell has given."""
        running.stop()
        result = result_of(running, self.matrix, self._sampler.trace(), self._idle)
        self._store.add(result)
        self.results[running.cell.key] = result
        self._done += 1

    def _told(self, what: str) -> None:
        parts = (each.done_ratio for each in self._group if each.cell.key not in self.results)
        self.progress(what, (self._done + sum(parts)) / max(1, self._all))


def _crowds(cells: Iterable[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Yield the cells that differ by their place only, as they work at the same time."""
    alike: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        each = cell.candidate
        kind = (each.backend, each.variant, each.precision, each.batch, each.streams)
        alike.setdefault((cell.subject.digest, *kind), []).append(cell)
    for some in alike.values():
        places = apart([cell.place for cell in some])
        names = tuple(place.name for place in places)
        if len(places) > 1:
            yield tuple(together(cell, names) for cell in some if cell.place in places)


def _subjects(cells: Iterable[Cell]) -> list[Subject]:
    return list({cell.subject.digest: cell.subject for cell in cells}.values())


def _free_ratio(device: str) -> float | None:
    gpu = gpu_of(device)
    return None if gpu is None or gpu.pci_bus_id is None else free_ratio(gpu.pci_bus_id)


def _available_bytes() -> int | None:
    """Return what may still be taken, less what others are left."""
    facts = memory_facts()
    known = [fact.value for name in ("available", "limit") if (fact := facts.get(name))]
    total = facts.get("total")
    if not known or total is None:
        return None
    spare = int(SPARE_RATIO * float(str(total.value)))
    return min(int(str(value)) for value in known) - spare
