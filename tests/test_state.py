"""What medge learned on a machine lies in one private folder, and is never torn."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from medge.engine.state import read_state, state_folder, write_state
from medge.errors import StorageError


def test_medge_home_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path / "here"))
    assert state_folder() == tmp_path / "here"


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [("{tmp}/state", "{tmp}/state/medge"), ("relative", "{tmp}/.local/state/medge"), ("", None)],
)
def test_without_it_the_folder_is_where_xdg_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, xdg: str, expected: str | None
) -> None:
    monkeypatch.delenv("MEDGE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", xdg.format(tmp=tmp_path))
    wanted = (expected or "{tmp}/.local/state/medge").format(tmp=tmp_path)
    assert state_folder() == Path(wanted)


def test_what_was_written_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "fact.json"
    write_state(path, b"one")
    write_state(path, b"two")
    assert read_state(path) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["fact.json"]


def test_what_was_never_written_is_nothing(tmp_path: Path) -> None:
    assert read_state(tmp_path / "no" / "file") is None


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="MEDGE_HOME") as caught:
        read_state(tmp_path)
    assert caught.value.rule == "state-unreadable"


def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    write_state(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StorageError) as caught:
            write_state(path, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.rule == "state-write"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["fact.json"]
