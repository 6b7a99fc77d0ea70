"""`medge bench`: a matrix of bundles, backends, precisions, batches and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bench_matrix import SHORT, TWO, bench, null_plan, subject
from bundles import tiny_bundle, tiny_graph
from command_line import Typed
from drift_kit import mean_graph, write_pictures

from medge.bench.matrix.cells import Asked, Cell, plan
from medge.bench.matrix.results import stored
from medge.bench.matrix.rows import cost
from medge.errors import BackendError


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


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
