"""The studies of `make demo`: a folder of theirs is renewed, somebody's is left as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import demo_studies
import pytest


def test_a_folder_of_an_earlier_run_is_renewed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo_studies.main(folder)
    made = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.dcm")}
    assert len(made) == len(demo_studies.PHANTOMS) + len(demo_studies.REAL)
    (folder / "real" / "old.dcm").write_bytes(b"of an older version")
    demo_studies.main(folder)
    assert {path.relative_to(folder) for path in folder.rglob("*.dcm")} == set(made)


def test_a_folder_that_holds_anything_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "patient.dcm").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"holds notes\.txt too"):
        demo_studies.main(tmp_path)
    assert (tmp_path / "real" / "patient.dcm").read_bytes() == b"mine"


def test_asking_for_help_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo_studies.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        demo_studies.asked_for()
    assert ended.value.code == 0
    assert "usage: demo_studies.py" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
