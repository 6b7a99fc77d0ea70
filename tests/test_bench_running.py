"""Cells of a matrix run in processes: they crash, hang, are interrupted, work at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from bench_matrix import CPUS, TWO, null_plan, subject
from command_line import TOOL, Typed

from medge.bench.matrix.cells import Asked
from medge.bench.matrix.results import stored
from medge.bench.matrix.rows import matrix_of
from medge.bench.matrix.running import Pace, Running
from medge.bench.matrix.session import Session
from medge.bench.result import Result
from medge.bench.sections import Absent
from medge.bench.sections import Cell as Told
from medge.pages.bench import bench_text

needs_two = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


EARLIER: set[psutil.Process] = set()  # that other files of tests have started, or left to be reaped


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    EARLIER.clear()
    EARLIER.update(psutil.Process().children())


def children() -> list[psutil.Process]:
    """The workers that this test has started."""
    return [each for each in psutil.Process().children() if each not in EARLIER]


def test_a_cell_whose_process_dies_is_a_row_and_the_others_go_on() -> None:
    planned = null_plan(batches=(1, 2))
    killed: list[int] = []

    def told(what: str, _done: float) -> None:
        if what.startswith("measuring") and not killed:
            worker = children()[0]
            killed.append(worker.pid)
            worker.send_signal(signal.SIGKILL)

    results = Session(planned, progress=told).run()
    cells = [results[cell.key].sections for cell in planned.cells]
    rules = [sections.cell.rule for sections in cells if sections and sections.cell]
    assert sorted(rules, key=str) == [None, "worker-crash"]
    assert not children()
    text = bench_text(matrix_of(planned, Asked(), results, before=0), "table")
    assert "crashed with SIGKILL" in " ".join(text.split())


def test_a_cell_that_takes_too_long_is_a_row() -> None:
    planned = null_plan()
    (result,) = Session(planned, limit_s=0.01).run().values()
    assert result.sections is not None
    assert result.sections.cell is not None
    assert result.sections.cell.rule == "worker-hangs"
    assert "--time-limit" in (result.sections.cell.reason or "")
    assert result.measurements == ()


def test_a_sensor_of_energy_makes_a_cell_go_on_without_more_samples() -> None:
    cell = null_plan().cells[0]
    running = Running(cell, 60, Pace(turn_ns=1_000_000, least_ns=80_000_000))
    running.start()
    try:
        running.warm_up()
        while running.done_ratio < 1.0:
            running.take_turn()
        busy_ns = sum(span.end_ns - span.start_ns for span in running.busy)
        assert busy_ns >= 80_000_000
        assert len(running.measurement.samples_ns) == 1000
    finally:
        running.stop()
    assert running.peak_rss_bytes
    assert running.device_bytes is None


def test_memory_decides_how_many_take_turns() -> None:
    def most_at_once(
        available: Callable[[], int | None], free: Callable[[str], float | None] = lambda _: None
    ) -> int:
        most = [0]

        def told(_what: str, _done: float) -> None:
            most[0] = max(most[0], len(children()))

        planned = null_plan(batches=(1, 2))
        Session(planned, progress=told, available_bytes=available, free_ratio=free).run()
        return most[0]

    assert most_at_once(lambda: 0) == 1
    assert most_at_once(lambda: None) == 2
    assert most_at_once(lambda: None, lambda _: 0.4) == 1  # of a GPU's
    assert most_at_once(lambda: None, lambda _: 0.6) == 2


class Stopped(Exception):  # noqa: N818 - stands for Ctrl-C, which pytest would take for its own
    pass


def test_what_was_interrupted_goes_on_where_it_was() -> None:
    planned = null_plan(batches=(1, 2))

    def told(what: str, _done: float) -> None:
        if what.startswith("loading") and "batch 2" in what:
            raise Stopped

    with pytest.raises(Stopped):
        Session(planned, progress=told, available_bytes=lambda: 0).run()
    assert not children()
    (first,) = stored([subject()])
    again = Session(planned, resume=True, available_bytes=lambda: 0)
    results = again.run()
    assert again.before == 1
    assert results[planned.cells[0].key] == first
    assert len(stored([subject()])) == 2


def test_a_killed_run_goes_on_where_it_was(typed: Typed) -> None:
    words = ["bench", "--backends", "null", "--seconds", "0.05"]
    words += ["--bundles", "breast-ultrasound,chest-x-ray", "--json"]
    process = subprocess.Popen(
        [str(TOOL), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    both = [subject(), subject("chest-x-ray")]
    until = time.monotonic() + 60
    while not stored(both):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = len(stored(both))
    said = typed(*words, "--resume")
    found = json.loads(said.out)
    assert found["taken_from_store"] == kept >= 1
    assert len(found["rows"]) == len(stored(both)) == 2


@needs_two
def test_devices_work_one_by_one_and_all_at_once_on_their_own_cpus() -> None:
    planned = null_plan(TWO)
    allowed: dict[str, set[tuple[int, ...]]] = {}

    def told(what: str, _done: float) -> None:
        masks = {tuple(sorted(worker.cpu_affinity())) for worker in children()}
        allowed.setdefault(what.split(maxsplit=1)[0], set()).update(masks)

    session = Session(planned, progress=told)
    results = session.run()
    assert allowed["measuring"] == {place.cpus for place in TWO}
    assert set(os.sched_getaffinity(0)) == set(CPUS)  # this process is as free as before
    crowd = [result for result in results.values() if crowd_of({"": result})]
    assert len(crowd) == 2
    assert len(results) == 4
    for result in crowd:
        assert result.sections is not None
        cell = result.sections.cell
        assert cell is not None
        assert set(cell.together) == {place.name for place in TWO}
        assert cell.alone_per_s is not None
        assert result.measurements[0].procedure.order == "together"
        assert isinstance(result.sections.energy, Absent)
    found = matrix_of(planned, Asked(), results, before=0)
    for row in found.at_once:
        assert row.contention_ratio == pytest.approx(
            (row.alone_per_s or 0) / (row.pictures_per_s or 1)
        )
    assert "Alone, and all at once" in bench_text(found, "table")


@needs_two
def test_where_one_of_two_devices_fails_the_other_is_not_called_crowded() -> None:
    planned, seen = null_plan(TWO), set()

    def told(what: str, _done: float) -> None:
        if what.startswith("loading") and "measuring" in seen and children():
            children()[0].kill()  # the first of the crowd, while the second is loaded
        seen.add(what.split(maxsplit=1)[0])

    results = Session(planned, progress=told).run()
    assert [cell.rule for cell in crowd_of(results)] == ["worker-crash"]


def crowd_of(results: dict[str, Result]) -> list[Told]:
    """What is told of the cells that worked at the same time."""
    cells = [result.sections.cell for result in results.values() if result.sections]
    return [cell for cell in cells if cell is not None and cell.together]
