"""Imports point down only, and what people type first imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medge

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {  # folder -> what it may import of medge besides itself, errors and _native
    "profiles": set(),
    "engine": {"profiles"},
    "exporters": {"engine", "profiles"},
    "bench": {"engine", "profiles"},
    "medge": {"engine", "exporters", "bench", "profiles"},
}
HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "nncf", "scipy", "matplotlib", "pydicom"}
HEAVY |= {"PIL", "rich"}


def files_of(folder: str) -> Iterator[Path]:
    top = ROOT / folder
    for path in sorted(top.rglob("*.py")):
        # medge/engine and its sisters are links to the folders beside it.
        if folder != "medge" or path.relative_to(top).parts[0] not in MAY_IMPORT:
            yield path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative imports hide the direction"
            module = node.module or ""
            yield node.lineno, module
            if module == "medge":
                yield from ((node.lineno, f"medge.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_from_those_below_it(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder, "errors", "_native"}
    if folder == "medge":
        allowed |= {path.stem for path in (ROOT / "medge").glob("*.py")} | {"pages", "verbs"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files_of(folder)
        for line, name in imported(path)
        if name.startswith("medge.") and name.split(".")[1] not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_every_file_says_its_purpose_first_and_stays_short(folder: str) -> None:
    for path in files_of(folder):
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is for"
        assert text.count("\n") <= 400, f"{path} is longer than 400 lines"


@pytest.mark.parametrize("path", sorted((ROOT / "cpp_ext").glob("*.[ch]pp")), ids=lambda p: p.name)
def test_a_cpp_file_stays_short_and_says_its_purpose_first(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("//")
    assert text.count("\n") <= 250


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_medge_imports_nothing_else() -> None:
    assert not modules_after("import medge") & (HEAVY | {"numpy", "msgspec", "click"})


def test_the_command_line_says_its_version_without_importing_anything_heavy() -> None:
    code = (
        "import io, contextlib, medge.cli\n"
        "sys.argv = ['medge', '--version']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    medge.cli.main()"
    )
    assert not modules_after(code) & (HEAVY | {"numpy", "msgspec"})


def test_the_bedside_classes_come_without_any_framework() -> None:
    found = modules_after("import medge; medge.open; medge.Classifier; medge.Result")
    assert not found & HEAVY


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medge.nothing  # type: ignore[attr-defined]


def test_every_public_name_is_there() -> None:
    assert all(getattr(medge, name) is not None for name in medge.__all__)
