"""No runtime speaks to a network or leaves files behind: watched from outside the process."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from bundles import tiny_bundle

ROOT = Path(__file__).parent.parent

SESSION = """
import sys
from pathlib import Path
import numpy as np
from medge.engine.bundle import open_bundle
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session

with open_bundle(Path(sys.argv[1])) as bundle:
    with Session(bundle, choose(bundle, backend=sys.argv[2], threads=1)) as session:
        assert self_test(session, bundle).cases == (2 if session.answers else 0)
"""

NNCF = """
import sys
from medge.engine.backends.silence import silent_openvino
silent_openvino()
import nncf
"""

# What a process that reports home does first, on any way out.
INTERNET = re.compile(r"AF_INET|sun_path=\"/(run|var)/(nscd|systemd/resolve)")


def watched(tmp_path: Path, code: str, *arguments: str) -> tuple[str, list[Path]]:
    """Run Python code under strace in an empty home; return network calls and new files."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    home = tmp_path / "home"
    home.mkdir()
    trace = tmp_path / "trace"
    command = [strace, "-f", "-q", "-e", "trace=%network", "-o", str(trace)]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"CI", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"}
    }
    done = subprocess.run(  # our own command
        [*command, sys.executable, "-c", code, *arguments],
        env=environment | {"HOME": str(home), "TMPDIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not watch processes here")
    assert (done.returncode, done.stderr) == (0, "")
    return trace.read_text(), [path for path in home.rglob("*") if path.is_file()]


def needs(package: str) -> None:
    if not any(metadata.distributions(name=package)):
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "null"])
def test_a_backend_makes_no_connection_and_writes_no_file(tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        needs("openvino")
    calls, files = watched(tmp_path, SESSION, str(tiny_bundle(tmp_path)), backend)
    assert not INTERNET.search(calls)
    assert files == []


def test_nncf_is_as_silent_once_openvino_is(tmp_path: Path) -> None:
    needs("openvino")
    needs("nncf")
    calls, files = watched(tmp_path, NNCF)
    assert not INTERNET.search(calls)
    assert files == []


def test_this_watch_sees_a_connection_and_a_file(tmp_path: Path) -> None:
    """The proof that the tests above can fail."""
    code = (
        "import pathlib, socket; pathlib.Path('x').touch();"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    )
    calls, files = watched(tmp_path, code)
    assert INTERNET.search(calls)
    assert [path.name for path in files] == ["x"]


def imports(path: Path) -> set[str]:
    """Modules that a file imports when it runs, not only for type checkers."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_no_file_imports_a_runtime_past_the_one_place_that_silences_it() -> None:
    folders = ("engine", "exporters", "profiles", "bench", "medge", "examples", "tests")
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            assert not imports(path) & {"onnxruntime", "openvino"}, path
