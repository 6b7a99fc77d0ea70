"""Bad input: files cut short, files that are no files, and the list of all rules."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import dicom_files as made
import pytest
from refusals import refusal

from medge.engine.frames.study import Asked, open_study
from medge.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.dcm"


# --- cut short ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 700, 1440, 1441, 4000])
def test_partial_reads_the_whole_native_frames_before_the_cut(path: Path, cut: int) -> None:
    pixels = made.make(path, frames=5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    left = (5 * 1440 - cut) // 1440
    error = refusal(path)
    assert error.rule == "truncated"
    assert f"frame {left} of 5" in error.message
    assert "--partial" in error.message
    with open_study(path, Asked(partial=True)) as study:
        assert study.frame_count == left
        assert study.notes == (f"partial: {left} of 5 frames",)
        for index in range(left):
            assert (study.frame(index).stored == pixels[index]).all()


@pytest.mark.parametrize("offset_table", [True, False])
def test_partial_reads_the_whole_compressed_frames_before_the_cut(
    path: Path, offset_table: bool
) -> None:
    pixels = made.make(path, syntax="rle", frames=4, offset_table=offset_table)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    assert refusal(path).rule == "truncated"
    with open_study(path, Asked(partial=True)) as study:
        assert 0 < study.frame_count < 4
        assert study.notes == (f"partial: {study.frame_count} of 4 frames",)
        for index in range(study.frame_count):
            assert (study.frame(index).stored == pixels[index]).all()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big", "deflated", "rle", "jpeg"])
@pytest.mark.parametrize("partial", [False, True])
def test_no_cut_yields_a_frame_that_is_not_whole(path: Path, syntax: str, partial: bool) -> None:
    pixels = made.make(path, syntax=syntax, rows=16, columns=16, frames=2)
    with open_study(path) as study:
        wanted = [study.frame(index).stored.copy() for index in range(2)]
    assert len(pixels) == 2
    whole = path.read_bytes()
    for step in range(1, 100):
        path.write_bytes(whole[: len(whole) * step // 100])
        try:
            with open_study(path, Asked(partial=partial)) as study:
                assert partial
                assert study.notes
                for index in range(study.frame_count):
                    assert (study.frame(index).stored == wanted[index]).all()
        except InputError:  # a typed refusal is the other right answer
            continue


# --- what is not a regular file ----------------------------------------------------------------


def test_what_is_not_a_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "folder.dcm").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.dcm"))
        for name, kind in (
            ("pipe.dcm", "a named pipe"),
            ("folder.dcm", "a directory"),
            ("socket.dcm", "a socket"),
        ):
            error = refusal(tmp_path / name)
            assert error.rule == "not-a-file"
            assert kind in error.message
    assert refusal(Path("/dev/zero")).rule == "not-a-file"
    assert refusal(tmp_path / "nothing").rule == "not-found"


def test_a_symbolic_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    made.make(tmp_path / "real.dcm")
    os.symlink("real.dcm", tmp_path / "link.dcm")
    with open_study(tmp_path / "link.dcm") as study:
        assert study.frame_count == 1
    os.symlink("nothing", tmp_path / "broken.dcm")
    assert refusal(tmp_path / "broken.dcm").rule == "not-found"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    made.make(tmp_path / "secret.dcm")
    (tmp_path / "secret.dcm").chmod(0)
    assert refusal(tmp_path / "secret.dcm").rule == "not-readable"


# --- every rule is documented ------------------------------------------------------------------


def test_every_rule_of_reading_is_in_the_list_of_errors() -> None:
    root = Path(__file__).parents[1]
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", (root / "docs/errors.md").read_text(), re.M))
    raised: set[str] = set()
    for source in (root / "engine/frames").glob("*.py"):
        raised |= set(re.findall(r'InputError\(\s*"([a-z-]+)"', source.read_text()))
    assert len(raised) > 40
    assert raised - listed == set()
