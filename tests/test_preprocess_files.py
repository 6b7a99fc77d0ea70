"""Frames that are still in their file are prepared from there, in bands, with the same result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest
from preprocess_frames import spec

from medge.engine.frames.frame import Frame
from medge.engine.frames.study import open_study
from medge.engine.manifest import Crop, Enhance, ImageInput, Resize, Voi
from medge.engine.preprocess import Preprocessor
from medge.errors import InputError


def both(how: ImageInput, path: Path, index: int) -> tuple[Any, Any]:
    """Tensor of a frame in its file, and of its values in memory."""
    found, expected = np.full((2, *how.shape), 9, how.dtype)
    with open_study(path) as study:
        frame = study.frame(index)
        assert not isinstance(frame.values, np.ndarray)  # we test what we think we test
        Preprocessor(how).prepare(frame, found)
        Preprocessor(how).prepare(Frame(0, frame.stored, frame.meaning), expected)
    return found, expected


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((700, 901), {"stored": 12, "allocated": 16}),  # several bands of 256 KiB
        ((700, 900), {"photometric": "RGB"}),
        ((700, 900), {"photometric": "YBR_FULL_422"}),
        ((500, 700), {"syntax": "big", "stored": 16}),
        ((20, 30), {"stored": 12, "allocated": 16, "signed": True}),
        ((5, 30), {}),
    ],
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": Crop(rule="center", ratio=0.4), "resize": Resize(filter="area")},
        {"enhance": Enhance(median=3, equalize="clahe")},
        {"channels": 3, "colour": "rgb", "resize": Resize(fit="cover")},
    ],
)
def test_bands_of_a_file_give_the_tensor_of_the_whole(
    tmp_path: Path, size: tuple[int, int], options: dict[str, Any], changes: dict[str, Any]
) -> None:
    path = tmp_path / "picture.dcm"
    made.make(path, frames=2, rows=size[0], columns=size[1], **options)
    for index in (1, 0):
        found, expected = both(spec(60, 50, **changes), path, index)
        np.testing.assert_array_equal(found, expected)


def test_statistics_take_the_values_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    made.make(path, rows=100, columns=120, stored=16)
    found, expected = both(spec(60, 50, voi=Voi(rule="minmax")), path, 0)
    np.testing.assert_array_equal(found, expected)


def rule_of(frame: Frame) -> str:
    how = spec(60, 50)
    with pytest.raises(InputError) as caught:
        Preprocessor(how).prepare(frame, np.zeros(how.shape, np.float32))
    return caught.value.rule


def test_a_file_that_is_cut_or_rewritten_before_it_is_prepared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    made.make(path, rows=100, columns=120)
    with open_study(path) as study:
        frame = study.frame(0)
        os.utime(path, ns=(1, 1))
        assert rule_of(frame) == "changed"
        os.truncate(path, 900)
        assert rule_of(frame) == "changed"
        with pytest.raises(InputError) as caught:
            assert frame.stored.size
        assert caught.value.rule == "changed"


def test_a_frame_of_a_closed_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    made.make(path, rows=100, columns=120)
    with open_study(path) as study:
        frame = study.frame(0)
    assert rule_of(frame) == "not-readable"


def test_stored_values_are_read_once_and_planes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    pixels = made.make(path, rows=30, columns=40)
    with open_study(path) as study:
        frame = study.frame(0)
        np.testing.assert_array_equal(frame.stored, pixels)
        os.truncate(path, 0)
        np.testing.assert_array_equal(frame.stored, pixels)
    made.make(path, rows=30, columns=40, photometric="RGB", planar=1)
    with open_study(path) as study:
        assert isinstance(study.frame(0).values, np.ndarray)
