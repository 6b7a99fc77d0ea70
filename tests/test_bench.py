"""`medge bench`: a matrix of bundles, backends, precisions, batches and devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from bundles import tiny_bundle, tiny_graph
from command_line import TOOL, Typed
from drift_kit import mean_graph, write_pictures
from hypothesis import given
from hypothesis import strategies as st

from medge.bench.matrix.cells import Asked, Cell, Plan, Subject, plan
from medge.bench.matrix.places import Place, apart, list_text, pinned, read_places
from medge.bench.matrix.results import stored
from medge.bench.matrix.rows import cost, matrix_of
from medge.bench.matrix.running import Pace, Running
from medge.bench.matrix.session import Session
from medge.bench.result import Result
from medge.bench.sections import Absent, Energy
from medge.bench.sections import Cell as Told
from medge.bench.store import Store
from medge.engine.bundle import find_bundle, open_bundle
from medge.errors import BackendError, UsageError
from medge.pages.bench import CSV_COLUMNS, bench_object, bench_text, csv_rows

CPUS = sorted(os.sched_getaffinity(0))
HERE = Place(device="cpu")
TWO = (Place(device="cpu", cpus=(CPUS[0],)), Place(device="cpu", cpus=(CPUS[-1],)))
COLUMNS = ["backend", "as", "batch", "pict/s", "p50", "p99", "MB", "drift", "per", "1M"]
SHORT = 0.05  # seconds of a cell
needs_two = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def subject(name: str = "breast-ultrasound") -> Subject:
    with open_bundle(find_bundle(name)) as bundle:
        return Subject.of(bundle)


def null_plan(places: tuple[Place, ...] = (HERE,), **changes: Any) -> Plan:
    asked = Asked(backends=("null",), seconds=SHORT, places=places, **changes)
    return plan([subject()], asked)


def bench(typed: Typed, *words: object, code: int = 0) -> dict[str, Any]:
    said = typed("bench", "--seconds", SHORT, *words, "--json")
    assert said.code == code, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_the_built_in_bundles_are_measured_on_both_runtimes(typed: Typed, tmp_path: Path) -> None:
    words = ("--bundles", "breast-ultrasound,chest-x-ray", "--precisions", "fp32")
    found = bench(typed, *words, "--price-per-hour", "3.6")
    rows = found["rows"]
    assert {(row["bundle"].split()[0], row["backend"]) for row in rows} == {
        (bundle, backend)
        for bundle in ("breast-ultrasound", "chest-x-ray")
        for backend in ("onnxruntime", "openvino")
    }
    for row in rows:
        assert row["calls"] >= 20
        assert row["peak_rss_bytes"] > 20e6
        assert row["drift"] == "reference"
        assert row["energy"] is None or row["energy"]["type"] in ("absent", "energy")
        # One stream: what it answers in a second cannot exceed a batch in its median call by much.
        assert row["pictures_per_s"] < 1.5 * row["candidate"]["batch"] / row["p50_ns"] * 1e9
        assert row["cost_per_million"] == pytest.approx(1000 / row["pictures_per_s"])
    results = stored([subject(), subject("chest-x-ray")])
    assert len(results) == len(rows)
    page = tmp_path / "page.csv"
    said = typed("bench", "--seconds", SHORT, *words, "--resume", "--format", "csv", "-o", page)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert page.read_text().count("\n") == 1 + len(rows)
    matrices = {r.sections.cell.matrix for r in results if r.sections and r.sections.cell}
    assert matrices == {found["matrix"]}


def test_a_million_pictures_cost_what_their_hours_cost() -> None:
    assert cost(1e6 / 3600, 2.5) == pytest.approx(2.5)  # a million in an hour
    assert cost(100.0, 0.36) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Result]]:
    """A matrix of two cells that ran, with two refusals."""
    with pytest.MonkeyPatch.context() as patch:  # the fixture of conftest.py comes later than this
        patch.setenv("MEDGE_HOME", str(tmp_path_factory.mktemp("ran")))
        planned = null_plan(batches=(1, 4), streams=(1, 64), precisions=("fp32", "int8"))
        return planned, Session(planned).run()


Ran = tuple[Plan, dict[str, Result]]


def test_every_cell_is_one_line_of_at_most_80_columns(ran: Ran) -> None:
    text = bench_text(matrix_of(ran[0], Asked(), ran[1], before=0, price_per_hour=1.0), "table")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[1 : lines.index("")]
    assert table[0].split() == COLUMNS
    assert sum(line.startswith("null") for line in table) == 3  # two cells, and 64 streams
    assert any("64 streams need as many threads" in line for line in table)
    assert any("the bundle has fp32" in line for line in table)
    assert "null runs no network" in text


def test_other_formats_hold_every_row(ran: Ran) -> None:
    found = matrix_of(ran[0], Asked(), ran[1], before=0)
    rows = [dict(zip(CSV_COLUMNS, row, strict=True)) for row in csv_rows(found)]
    assert [row["reason"] == "" for row in rows] == [True, True, False, False]
    assert float(rows[0]["pictures_per_s"]) > 0
    text = bench_text(found, "md")
    assert "| null | fp32 | 4 |" in text
    assert "why not" in text
    assert len(bench_object(found)["rows"]) == 4


def test_what_is_not_here_is_a_row_with_its_reason(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medge.engine.backends import presence

    monkeypatch.setattr(presence, "_version", lambda name: None if name == "openvino" else "1.31.1")
    words = ("--backends", "null,openvino", "--device", "cpu", "--device", "GPU.7")
    rows = {row["rule"]: row for row in bench(typed, *words)["rows"]}
    assert "pip install" in rows["backend-missing"]["reason"]
    assert rows["device"]["place"] == "GPU.7"
    assert rows[None]["pictures_per_s"] > 0


def test_a_graph_of_one_picture_refuses_larger_batches(typed: Typed, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, graph=tiny_graph(batch=1))
    words = ("--bundles", path, "--backends", "onnxruntime", "--batches", "1,4")
    rows = bench(typed, *words)["rows"]
    assert [row["rule"] for row in rows] == [None, "fixed-batch"]


def test_answers_that_differ_from_the_golden_ones_are_a_row(typed: Typed, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, golden=np.full((2, 2), 9.0, "f4"))
    words = ("--bundles", path, "--backends", "onnxruntime")
    rows = bench(typed, *words, code=5)["rows"]  # nothing at all could be measured
    assert [row["rule"] for row in rows] == ["self-test"]
    assert rows[0]["pictures_per_s"] is None


def children() -> list[psutil.Process]:
    """The workers of this process."""
    return psutil.Process().children()


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
    def most_at_once(available: Callable[[], int | None]) -> int:
        most = [0]

        def told(_what: str, _done: float) -> None:
            most[0] = max(most[0], len(children()))

        planned = null_plan(batches=(1, 2))
        Session(planned, progress=told, available_bytes=available).run()
        return most[0]

    assert most_at_once(lambda: 0) == 1
    assert most_at_once(lambda: None) == 2


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


def test_a_key_holds_everything_that_a_figure_depends_on() -> None:
    cell = null_plan().cells[0]
    changed = [
        cell,
        *(null_plan(batches=(2,)).cells),
        *(null_plan(TWO[:1]).cells),
        replaced(cell, version="another"),
        replaced(cell, together=("cpu:0", "cpu:1")),
        replaced(cell, subject=subject("chest-x-ray")),
        replaced(cell, procedure=msgspec.structs.replace(cell.procedure, lead_in=3)),
    ]
    assert len({each.key for each in changed}) == len(changed)
    assert null_plan().cells[0].key == cell.key


def replaced(cell: Cell, **changed: Any) -> Cell:
    from dataclasses import replace

    return replace(cell, **changed)


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


def test_a_verdict_of_the_images_stands_in_the_row(typed: Typed, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, graph=mean_graph(), variants={"mixed": mean_graph(offset=0.001)})
    write_pictures(tmp_path / "pictures", [*range(10, 110), *range(150, 250)] * 2)
    words = ("--bundles", path, "--backends", "onnxruntime")
    unjudged = {row["precision"]: row["drift"] for row in bench(typed, *words)["rows"]}
    assert unjudged == {"fp32": "reference", "mixed": "not judged"}
    judged = bench(typed, *words, "--data", tmp_path / "pictures", "--resume")
    assert judged["taken_from_store"] == 2  # the figures are the same, the verdict is not
    assert {row["precision"]: row["drift"] for row in judged["rows"]} == {
        "fp32": "reference",
        "mixed": "pass",
    }


def of_another_machine(result: Result, **changed: Any) -> Result:
    fields = {"device_identity": "another", "taken": "2026-01-01T00:00:00Z", **changed}
    return msgspec.structs.replace(result, **fields)


def test_results_of_other_machines_join_if_they_were_measured_alike(ran: Ran) -> None:
    planned, results = ran
    mine = results[planned.cells[0].key]
    assert mine.candidate is not None
    other = msgspec.structs.replace(mine.candidate, threads=64)
    (taken,) = mine.measurements
    longer = msgspec.structs.replace(
        taken.procedure, sampling=msgspec.structs.replace(taken.procedure.sampling, max_ns=1)
    )
    with Store.open() as store:
        store.add(of_another_machine(mine, taken="2025-01-01T00:00:00Z"))
        store.add(of_another_machine(mine, candidate=other))
        store.add(of_another_machine(mine))
        unlike = type(taken)(taken.stage, taken.samples_ns, longer)
        store.add(of_another_machine(mine, measurements=(unlike,)))
    asked = Asked(backends=("null",), batches=(1, 4))
    found = matrix_of(planned, asked, results, before=0, price_per_hour=1.0)
    assert len(found.elsewhere) == 2  # the newest of each candidate
    assert any(row.candidate and row.candidate.threads == 64 for row in found.elsewhere)
    assert all(row.taken and row.taken.startswith("2026") for row in found.elsewhere)
    assert all(row.cost is None and not row.here for row in found.elsewhere)
    assert dict(found.unlike) == {("sampling.max_ns",): 1}
    text = " ".join(bench_text(found, "table").split())
    assert "another machine, measured since 2026-01-01" in text
    assert "1 result of other machines left out: measured otherwise (sampling.max_ns)" in text


def test_energy_stands_in_a_column_of_its_own_where_a_sensor_tells_it(ran: Ran) -> None:
    planned, results = ran
    key = planned.cells[0].key
    result = results[key]
    assert result.sections is not None
    told = Energy(
        source="RAPL", rails=("package-0",), pictures=10, seconds=1.0, idle_w=1.0, busy_w=2.0,
        raw_mj=123.4, raw_low_mj=100.0, raw_high_mj=150.0, net_mj=50.0, net_low_mj=40.0,
        net_high_mj=60.0,
    )  # fmt: skip
    sections = msgspec.structs.replace(result.sections, energy=told)
    results = {key: msgspec.structs.replace(result, sections=sections)}
    lines = bench_text(matrix_of(planned, Asked(), results, before=0), "table").splitlines()
    place = lines[1].split().index("mJ")
    assert lines[2].split()[place] == "123"
    assert "No energy" not in "\n".join(lines)


@pytest.mark.parametrize(
    "words",
    [
        ("--batches", "0"),
        ("--batches", "two"),
        ("--streams", "-1"),
        ("--labels", "x.csv"),
        ("--only", "63"),
        ("--studies", "--batches", "1"),
        ("--bundles", "breast-ultrasound,chest-x-ray", "--data", "x"),
        ("--device", "cpu:4000"),
        ("--device", "cpu:1-0"),
        ("--price-per-hour", "0"),
        ("--time-limit", "0"),
    ],
)
def test_what_makes_no_sense_is_exit_2_with_a_next_step(typed: Typed, words: tuple[str]) -> None:
    said = typed("bench", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err


def test_a_backend_that_nobody_knows_is_exit_5(typed: Typed) -> None:
    said = typed("bench", "--backends", "caffe")
    assert (said.code, said.out) == (5, "")
    with pytest.raises(BackendError, match="known are"):
        plan([subject()], Asked(backends=("caffe",)))


@given(st.sets(st.integers(0, 200), min_size=1))
def test_cpus_are_listed_as_the_kernel_does(cpus: set[int]) -> None:
    listed = list_text(sorted(cpus))
    found: set[int] = set()
    for part in listed.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    assert found == cpus
    assert listed.count(",") == sum(cpu + 1 not in cpus for cpu in cpus) - 1


def test_devices_are_read_as_they_are_typed() -> None:
    first = CPUS[0]
    assert read_places(["cpu", "gpu.0", f"cpu:{first}", "CPU"]) == (
        HERE,
        Place(device="GPU.0"),
        Place(device="cpu", cpus=(first,)),
    )
    assert read_places(["all"]) is None
    with pytest.raises(UsageError, match="may not use"):
        read_places(["cpu:0-9999"])


def test_only_what_shares_nothing_works_at_once() -> None:
    gpus = (Place(device="GPU.0"), Place(device="GPU.1"))
    low, high = Place(device="cpu", cpus=(0, 1)), Place(device="cpu", cpus=(2, 3))
    both = Place(device="cpu", cpus=(1, 2))
    assert apart([HERE, *gpus]) == gpus
    assert apart([low, both, high]) == (low, high)
    assert apart([HERE, low]) == (low,)


def test_a_process_is_pinned_only_while_it_is_started() -> None:
    with pinned(TWO[0]):
        assert os.sched_getaffinity(0) == set(TWO[0].cpus or ())
    assert os.sched_getaffinity(0) == set(CPUS)
    with pinned(HERE):
        assert os.sched_getaffinity(0) == set(CPUS)


@pytest.fixture
def accelerators() -> tuple[Place, ...]:
    planned = plan([subject()], Asked(places=None, seconds=1.0))
    places = {cell.place for cell in planned.cells} - {HERE}
    if not places:
        pytest.skip("no runtime here names a device besides the CPU")
    return tuple(places)


@pytest.mark.gpu
def test_every_accelerator_of_the_machine_is_measured(
    typed: Typed, accelerators: tuple[Place, ...]
) -> None:
    found = bench(typed, "--device", "all", "--precisions", "fp32")
    measured = {row["place"] for row in found["rows"] if row["pictures_per_s"]}
    assert {place.name for place in accelerators} <= measured
    assert len(found["at_once"]) == (len(accelerators) if len(accelerators) > 1 else 0)
