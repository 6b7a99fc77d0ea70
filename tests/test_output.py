"""Where results go: whole files, links and pipes as they are, and never in a study's place."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import dicom_files as made
import pytest
from command_line import TOOL, process

from medge.errors import StorageError
from medge.output import check_output, replacing, write_text


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text("a result\n", pipe)
    reader.join(10)
    assert got == ["a result\n"]
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_and_stays_a_device() -> None:
    with pytest.raises(StorageError, match="No space left on device"):
        write_text("a result\n", Path("/dev/full"))
    assert Path("/dev/full").is_char_device()


def test_a_link_goes_on_to_point_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "results.txt", tmp_path / "latest"
    link.symlink_to(target)
    for text in ("one", "two"):
        write_text(text, link)
        assert link.is_symlink()
        assert target.read_text() == text


def test_a_file_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_text("new", path)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_picture_is_never_replaced(tmp_path: Path) -> None:
    study = tmp_path / "study.dcm"
    made.make(study)
    before = study.read_bytes()
    with pytest.raises(StorageError, match="is a picture, which is not replaced"):
        write_text("a result", study)
    assert study.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["study.dcm"]


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    with suppress(KeyboardInterrupt), replacing(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["results.txt"]


def test_a_place_that_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    check_output(None)
    check_output(tmp_path / "new.txt")
    for place, words in ((tmp_path, "Is a directory"), (tmp_path / "a" / "b", "No such file")):
        with pytest.raises(StorageError, match=words) as refused:
            check_output(place)
        assert refused.value.rule == "output"


def test_a_profile_refuses_its_place_before_it_measures(tmp_path: Path) -> None:
    said = process("profile", "chest-x-ray", "-o", tmp_path / "nowhere" / "page.txt")
    assert said.returncode == 6
    assert "E6 output: " in said.stderr


@pytest.mark.parametrize(("closed", "code"), [(1, 6), (2, 0)])
def test_a_closed_stream_is_told_or_does_no_harm(closed: int, code: int) -> None:
    line = f'exec {closed}>&-; exec "$0" targets --format csv'
    said = subprocess.run(
        ["/bin/sh", "-c", line, str(TOOL)], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == code
    assert "Traceback" not in said.stderr
    if closed == 1:
        assert said.stderr == "E6 output: stdout is closed.\n"
    else:
        assert len(said.stdout.splitlines()) > 50


def test_kernels_that_are_none_are_an_error_of_the_command_line(tmp_path: Path) -> None:
    made.make(tmp_path / "a.dcm")
    said = process("run", tmp_path / "a.dcm", env={**os.environ, "MEDGE_KERNELS": "foo"})
    assert (said.returncode, "Traceback" in said.stderr) == (2, False)
    assert said.stderr.startswith("E2 kernels: MEDGE_KERNELS names no build")


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "--time-budget", "nan"),
        ("compile", "--time-budget", "inf"),
        ("bench", "--seconds", "nan"),
        ("bench", "--price-per-hour", "nan"),
        ("estimate", "resnet50", "--target", "nvidia-l4", "--fps", "nan"),
        ("quantize", "chest-x-ray", "--max-flip", "nan"),
        ("targets", "--min-memory", "nan"),
    ],
)
def test_a_number_is_a_finite_number(words: tuple[str, ...]) -> None:
    said = process(*words)
    assert (said.returncode, "Traceback" in said.stderr) == (2, False)
    assert "is not a finite number" in said.stderr


def test_a_specification_is_not_written_where_a_bundle_was_asked_for(tmp_path: Path) -> None:
    said = process("export", "--print-spec", "-o", tmp_path / "spec.toml")
    assert said.returncode == 2
    assert "--print-spec writes to stdout" in said.stderr
