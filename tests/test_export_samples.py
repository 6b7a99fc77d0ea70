"""Real pictures: prepared as the bundle will, counted, never kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import tiny_graph
from export_kit import SPEC, export, write_spec
from PIL import Image

from medge.engine.bundle import open_bundle
from medge.errors import UsageError
from medge.exporters.samples import sample_batch
from medge.exporters.spec import Spec, read_spec

GRAY = {"mean": [0.0], "std": [1.0], "height": 8, "width": 8}


def spec_of(folder: Path, **changes: Any) -> Spec:
    return read_spec(write_spec(folder, input={**SPEC["input"], **GRAY}, **changes))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with three 8x8 pictures, a cine of ten frames, and a broken file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(3)
    for index in range(3):
        picture = random.integers(0, 256, (8, 8), dtype="u1")
        Image.fromarray(picture).save(folder / f"{index}.png")
    np.save(folder / "cine.npy", random.integers(0, 256, (10, 8, 8), dtype="u1"))
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:-30])
    return folder


def test_frames_come_as_the_bundle_will_see_them(tmp_path: Path, pictures: Path) -> None:
    batch, note = sample_batch(pictures, spec_of(tmp_path))
    assert batch.shape == (3 + 4, 1, 8, 8)
    first = np.asarray(Image.open(pictures / "0.png"), "f4") / 255
    np.testing.assert_allclose(batch[0, 0], first, atol=1e-6)
    cine = np.load(pictures / "cine.npy") / np.float32(255)
    np.testing.assert_allclose(batch[3:, 0], cine[[0, 2, 5, 7]], atol=1e-6)
    assert note.startswith("parity on 7 real frames of 5 files; refused: ")
    assert note.endswith(" 1")


def test_they_give_a_row_of_their_own_and_leave_no_trace(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_graph())
    spec = write_spec(tmp_path, input={**SPEC["input"], **GRAY})
    report = export(tmp_path, str(path), spec=spec, samples=pictures)
    assert [(row.inputs, row.cases) for row in report.manifest.parity] == [
        ("seeded", 8),
        ("real", 7),
    ]
    assert any(note.startswith("parity on 7 real frames") for note in report.notes)
    golden = open_bundle(report.path).golden().inputs["image"]
    batch, _ = sample_batch(pictures, read_spec(spec))
    assert not any(np.array_equal(a, b) for a in golden for b in batch)


def test_at_most_32_frames_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(40):
        np.save(folder / f"{index:02}.npy", np.full((8, 8), index * 6, "u1"))
    batch, note = sample_batch(folder, spec_of(tmp_path))
    assert len(batch) == 32
    assert note == "parity on 32 real frames of 32 files"


def test_a_folder_without_a_usable_picture_is_refused(tmp_path: Path, pictures: Path) -> None:
    for path in pictures.iterdir():
        if path.name != "cut.png":
            path.unlink()
    with pytest.raises(UsageError, match=r"none of 1 pictures can be used \([a-z-]+ 1\)") as caught:
        sample_batch(pictures, spec_of(tmp_path))
    assert caught.value.rule == "samples"
