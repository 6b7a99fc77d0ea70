"""`medge report`: which results it gathers, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from command_line import Typed
from report_pages import in_time, plain
from report_results import candidate, drift, profiled, session

from medge.bench.exchange import encode
from medge.bench.report.gather import gather
from medge.bench.sections import Cell
from medge.bench.store import Store
from medge.errors import UsageError


@pytest.fixture
def stored() -> Store:
    with Store.open() as store:
        for each in session():
            store.add(each)
        other = msgspec.structs.replace(profiled(9, 31.0), device_identity="arm")
        store.add(msgspec.structs.replace(other, taken="2026-11-20T16:00:00Z"))
        store.add(profiled(5, 6.5, candidate(variant="int8"), (drift("int8"),)))
    return store


def test_the_newest_result_of_each_candidate_is_reported(stored: Store) -> None:
    found = gather(())
    assert [entry.number for entry in found.entries] == [4, 6, 3, 1]
    assert [entry.number for entry in found.elsewhere] == [5]


def test_cells_of_a_matrix_are_no_profile(stored: Store) -> None:
    cell = Cell(matrix="a" * 64, key="b" * 64)
    with Store.open() as store:
        number = store.add(profiled(6, 1.0, candidate(threads=1), cell=cell))
    assert number not in [entry.number for entry in gather(()).entries]
    assert [entry.number for entry in gather((str(number),)).entries] == [number]


def test_numbers_name_results_of_one_bundle(stored: Store) -> None:
    assert [entry.number for entry in gather(("1", "2")).entries] == [2, 1]
    with Store.open() as store:
        foreign = store.add(profiled(8, 3.0, digest="a" * 64))
    with pytest.raises(UsageError, match="several bundles"):
        gather(("1", str(foreign)))
    with pytest.raises(UsageError, match="holds no result 99"):
        gather(("99",))
    with pytest.raises(UsageError, match="about one bundle"):
        gather(("chest-x-ray", "1"))


def test_a_bundle_that_is_not_the_measured_one_is_refused(stored: Store) -> None:
    with pytest.raises(UsageError, match="report-bundle"):
        gather(("1",), "chest-x-ray")
    with pytest.raises(UsageError, match="report-nothing"):
        gather(("chest-x-ray",))


def test_documents_can_be_reported_without_any_store(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(encode(profiled(1, 17.0)))
    found = gather((str(path),))
    assert [entry.number for entry in found.entries] == [None]


def test_the_verb_writes_each_form(typed: Typed, tmp_path: Path) -> None:
    with Store.open() as store:
        number = store.add(plain(in_time(40)))
    for name in ("r.html", "r.md", "r.json"):
        done = typed("report", number, "-o", tmp_path / name)
        assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "r.md").read_text().startswith("# bundle cccccccccccc on INTEL")
    assert "traceEvents" in json.loads((tmp_path / "r.json").read_text())
    assert typed("report", "--format", "md").out.startswith("# ")


def test_without_what_draws_the_page_is_refused_and_markdown_is_not(
    stored: Store, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    done = typed("report", "1")
    assert done.code == 5
    assert 'pip install "medge[bench]"' in done.err
    assert typed("report", "1", "--format", "md").code == 0


def test_without_results_the_verb_says_so(typed: Typed) -> None:
    done = typed("report")
    assert (done.code, "results-none" in done.err) == (6, True)
