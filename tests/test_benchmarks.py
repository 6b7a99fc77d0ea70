"""The demo bundle under pytest-benchmark: `make bench` times it, tests assert its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest

import medge
from medge.engine.classify import Classifier


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    with medge.open("breast-ultrasound") as opened:
        yield opened


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg", "jpeg-ls", "jpeg-2000-lossless"])
def test_a_file_of_each_kind_becomes_one_decision(
    benchmark: Any, classifier: Classifier, tmp_path: Path, syntax: str
) -> None:
    path = tmp_path / "a.dcm"
    made.make(path, syntax=syntax, rows=480, columns=640)
    (result,) = benchmark(classifier.run, path)
    assert result.prediction in ("malignant", "normal or benign")


def test_a_frame_in_memory_becomes_one_decision(benchmark: Any, classifier: Classifier) -> None:
    frame = np.ascontiguousarray(made.speckle((480, 640)))
    (result,) = benchmark(classifier.run, frame)
    assert result.status == "unscoped"
