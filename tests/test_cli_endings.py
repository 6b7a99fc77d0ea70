"""How a run ends: full disks, readers that leave, signals; and what a terminal sees meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import dicom_files as made
import pytest
from bundles import tiny_bundle
from command_line import TOOL


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    return tiny_bundle(tmp_path / "bundles")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A good file and a cut one."""
    folder = tmp_path / "studies"
    folder.mkdir()
    made.make(folder / "a.dcm")
    made.make(folder / "b-cut.dcm")
    whole = (folder / "b-cut.dcm").read_bytes()
    (folder / "b-cut.dcm").write_bytes(whole[: len(whole) - 300])
    return folder


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_exit_code_6(bundle: Path, studies: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [TOOL, "run", studies, "--bundle", bundle, "--format", "jsonl"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 6
    assert "E6 output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_ends_the_run_quietly(bundle: Path, studies: Path) -> None:
    made.make(studies / "z-long.dcm", frames=2000, rows=16, columns=16)
    running = subprocess.Popen(
        [TOOL, "run", studies, "--bundle", bundle, "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline().startswith(b'{"file":')
    running.stdout.close()
    assert running.wait(60) == 128 + signal.SIGPIPE
    assert b"Traceback" not in running.stderr.read()
    running.stderr.close()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"]
)
def test_a_signal_ends_the_run_with_its_code_and_leaves_no_half_file(
    bundle: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    made.make(tmp_path / "long.dcm", frames=20_000, rows=16, columns=16)
    target = tmp_path / "out.jsonl"
    with subprocess.Popen(
        [TOOL, "run", tmp_path / "long.dcm", "--bundle", bundle, "--format", "jsonl", "-o", target],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Where a shell started the tests in the background, Ctrl-C is ignored by all below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread yet
    ) as running:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in tmp_path.glob(".out.jsonl.*.part")):
            assert running.poll() is None, "it ended before it could be stopped"
            assert time.monotonic() < deadline
        running.send_signal(number)
        _, errors = running.communicate(timeout=30)
        assert running.returncode == code
        assert b"Traceback" not in errors
    assert not target.exists()
    assert not list(tmp_path.glob(".out.jsonl.*.part"))


def test_a_terminal_sees_progress_on_stderr_while_results_go_elsewhere(
    bundle: Path, studies: Path, tmp_path: Path
) -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [TOOL, "run", studies, "--bundle", bundle, "--format", "jsonl"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
            timeout=60,
        )
        os.close(theirs)
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert "2 results, 1 refused" in seen
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2
