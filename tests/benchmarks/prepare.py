"""Pictures in memory to tensors, on every build of the kernels, beside reading the bytes alone.

Run: ``python tests/benchmarks/prepare.py``. The floor is a sum over the same bytes: no preparation
can be faster than the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from pairs import sample, show
from preprocess_frames import gray, rgb, spec

from medge._native import kernel_builds
from medge.engine.frames.frame import Frame, Rescale, Window
from medge.engine.manifest import Enhance, ImageInput, Voi
from medge.engine.preprocess import Preprocessor

THREE = {"channels": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def pictures() -> dict[str, tuple[ImageInput, Frame]]:
    """Return frames as bedside devices send them, and what a 224 x 224 network asks for."""
    random = np.random.default_rng(0)
    stored = random.integers(0, 4096, (2500, 2048), np.uint16)
    bits: dict[str, Any] = {"bits_stored": 12, "high_bit": 11, "modality": Rescale(1.0, 0.0)}
    dx = gray(stored, **bits, voi=(Window(2000.0, 3000.0),), inverted=True)
    sigmoid = gray(stored, **bits, voi=(Window(2000.0, 3000.0, "SIGMOID"),))
    us = gray(random.integers(0, 256, (480, 640), np.uint8))
    colour = rgb(random.integers(0, 256, (600, 800, 3), np.uint8))
    percentile = Voi(rule="percentile", low=1.0, high=99.0)
    clahe = Enhance(median=3, equalize="clahe")
    return {
        "DX 2500 x 2048, 16 bit, window": (spec(224, 224, **THREE), dx),
        "DX, sigmoid (a table)": (spec(224, 224, **THREE), sigmoid),
        "DX, percentiles (two passes)": (spec(224, 224, **THREE, voi=percentile), dx),
        "ultrasound 640 x 480, 8 bit": (spec(224, 224, **THREE), us),
        "ultrasound, median and CLAHE": (spec(224, 224, **THREE, enhance=clahe), us),
        "RGB 800 x 600 to gray": (spec(224, 224, **THREE), colour),
        "RGB 800 x 600": (spec(224, 224, **THREE, colour="rgb"), colour),
    }


def call(how: ImageInput, frame: Frame, build: str) -> Callable[[], object]:
    """Return what prepares the frame."""
    preprocessor, out = Preprocessor(how, build), np.zeros(how.shape, how.dtype)
    return lambda: preprocessor.prepare(frame, out)


def floor(frame: Frame) -> Callable[[], object]:
    """Return what reads all bytes of the frame once."""
    raw = frame.stored.reshape(-1).view(np.uint64)
    return lambda: np.bitwise_or.reduce(raw)


def main() -> None:
    """Measure and print."""
    for name, (how, frame) in pictures().items():
        calls = {build: call(how, frame, build) for build in kernel_builds()}
        calls["reading the bytes"] = floor(frame)
        print(f"{name} -> 3x224x224 ({frame.stored.nbytes / 1e6:.1f} MB)")
        show(sample(calls, rounds=21), kernel_builds()[0])


if __name__ == "__main__":
    main()
