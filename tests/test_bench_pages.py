"""What `medge bench` shows of a matrix: one line a cell, reasons, other machines, energy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from bench_matrix import null_plan

from medge.bench.matrix.cells import Asked, Plan
from medge.bench.matrix.rows import matrix_of
from medge.bench.matrix.session import Session
from medge.bench.result import Result
from medge.bench.sections import Energy
from medge.bench.store import Store
from medge.pages.bench import CSV_COLUMNS, bench_object, bench_text, csv_rows

COLUMNS = ["backend", "as", "batch", "pict/s", "p50", "p99", "MB", "drift", "per", "1M"]
Ran = tuple[Plan, dict[str, Result]]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Result]]:
    """A matrix of two cells that ran, with two refusals."""
    with pytest.MonkeyPatch.context() as patch:  # the fixture of conftest.py comes later than this
        patch.setenv("MEDGE_HOME", str(tmp_path_factory.mktemp("ran")))
        planned = null_plan(batches=(1, 4), streams=(1, 64), precisions=("fp32", "int8"))
        return planned, Session(planned).run()


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
