"""Finding studies: by content, in order, without following links or opening pipes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import dicom_files as made
import numpy as np
import pytest

from medge.engine.frames.find import find
from medge.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    (tmp_path / "b" / "deep").mkdir(parents=True)
    made.make(tmp_path / "b" / "deep" / "IM0001")  # no suffix: content counts
    made.make(tmp_path / "z.dcm")
    picture = Image.fromarray(made.speckle((8, 8)))
    picture.save(tmp_path / "a.txt", "PNG")
    picture.save(tmp_path / "c.jpeg")
    np.save(tmp_path / "b" / "array.npy", made.speckle((8, 8)))
    bare = made.element(0x00080016, "UI", b"1.2\0") + made.image_pixel()
    (tmp_path / "bare").write_bytes(bare)
    (tmp_path / "notes.dcm").write_text("not a picture")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "program.png").write_bytes(b"\x7fELF" + bytes(200))
    return tmp_path


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_folder_yields_what_looks_like_a_picture_in_sorted_order(folder: Path) -> None:
    found = names(list(find([str(folder)])), folder)
    assert found == ["a.txt", "bare", "c.jpeg", "z.dcm", "b/array.npy", "b/deep/IM0001"]


def test_links_pipes_and_sockets_in_a_folder_are_left_alone(folder: Path, tmp_path: Path) -> None:
    before = list(find([str(folder)]))
    os.symlink(folder / "z.dcm", folder / "link.dcm")
    os.symlink(folder, folder / "b" / "loop")
    os.mkfifo(folder / "pipe.dcm")
    assert list(find([str(folder)])) == before


def test_what_is_named_is_yielded_whatever_it_is(folder: Path) -> None:
    os.symlink(folder / "z.dcm", folder / "link.dcm")
    named = ["notes.dcm", "link.dcm", "nothing-there", "a.txt"]
    arguments = [str(folder / name) for name in named]
    assert names(list(find(arguments)), folder) == named


def test_a_dash_reads_paths_one_a_line(folder: Path) -> None:
    lines = f"{folder}/z.dcm\n\n{folder}/b\r\n{folder}/with space.dcm\n"
    found = names(list(find(["-"], io.StringIO(lines))), folder)
    assert found == ["z.dcm", "b/array.npy", "b/deep/IM0001", "with space.dcm"]
    assert list(find(["-"], None)) == []


def test_results_stream_before_the_whole_tree_is_seen(folder: Path) -> None:
    found = find([str(folder), "/nonexistent"])
    assert next(found).name == "a.txt"


def test_a_very_deep_tree_is_searched(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(200):
        here = here / "d"
    here.mkdir(parents=True)
    made.make(here / "x.dcm")
    assert [path.name for path in find([str(tmp_path)])] == ["x.dcm"]


def test_a_list_that_is_separated_by_nul_bytes_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        list(find(["-"], io.StringIO("a.dcm\0b.dcm\0")))
    assert caught.value.rule == "list-nul"
    assert "find -print and not -print0" in caught.value.message
