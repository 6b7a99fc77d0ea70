"""README's commands run as they stand there; what it links to exists."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import dicom_files as made
import numpy as np
import pytest
from command_line import TOOL

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    """Every line of the shell blocks, without its comment."""
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S):
        yield from (line.partition(" #")[0].strip() for line in block.splitlines() if line.strip())


MEDGE = [line for line in commands() if "medge " in line and not line.startswith("make")]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many pictures as bound changed decisions at 1 %."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (300, 32, 32))):
        np.save(folder / f"{number}.npy", pixels.astype(np.uint8))
    return folder


@pytest.fixture
def place(tmp_path: Path, pictures: Path) -> Path:
    """A folder with everything that the commands name."""
    (tmp_path / "pictures").symlink_to(pictures)
    made.make(tmp_path / "scan.dcm", tags={"BodyPartExamined": "BREAST"})
    (tmp_path / "studies").mkdir()
    made.make(tmp_path / "studies" / "a.dcm", tags={"Modality": None}, rows=64, columns=64)
    return tmp_path


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{TOOL.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_readme_shows_make_demo_and_make_test_first() -> None:
    assert [line.split()[:2] for line in commands()][:2] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("line", [line for line in MEDGE if " export " not in line])
def test_a_command_of_readme_runs(line: str, place: Path) -> None:
    if "openvino" in line and find_spec("openvino") is None:
        pytest.skip("openvino is not installed here")
    done = typed(line, place)
    assert done.returncode == 0, done.stderr


def test_the_export_of_readme_runs_from_the_printed_specification(place: Path) -> None:
    pytest.importorskip("torch")
    from safetensors.torch import save_file

    from medge.exporters.architectures.vision_operators import import_with_vision_operators

    network = import_with_vision_operators("torchvision").models.resnet18(num_classes=2)
    save_file(network.state_dict(), place / "weights.safetensors")
    lines = [line for line in MEDGE if " export " in line]
    assert len(lines) == 2
    for line in lines:
        done = typed(line, place)
        assert done.returncode == 0, done.stderr
    assert typed("medge run scan.dcm --bundle mine.medge", place).returncode == 0


def test_the_python_of_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    exec(compile(block, "README.md", "exec"), {"frame": made.speckle((480, 640))})  # noqa: S102 - it is what README shows
    assert capsys.readouterr().out


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z][a-z-]+)", README))))
def test_a_make_target_of_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_what_readme_links_to_exists(link: str) -> None:
    assert (ROOT / link).exists()


def test_readme_names_every_status_and_format() -> None:
    from typing import get_args

    from medge.console import FORMATS
    from medge.engine.prediction import Status

    for word in (*get_args(Status), *FORMATS):
        assert f"`{word}`" in README
