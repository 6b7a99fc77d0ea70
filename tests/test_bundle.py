"""Bundles: what is written is read back, and whatever else is there is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import tiny_bundle

from medge.engine.bundle import open_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path)


def test_what_is_written_is_read_back(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        assert opened.manifest.name == "tiny"
        assert opened.read("model.onnx") == (bundle / "model.onnx").read_bytes()
        assert opened.golden().cases == 2
        assert opened.layers().layers[0].op == "Gemm"
