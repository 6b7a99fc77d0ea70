"""From a file to the network's tensor: a DX of 2500 x 2048, and a JPEG cine of 30 frames.

Run: ``python tests/benchmarks/file_to_tensor.py``. The file is read from the page cache each time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).parent))
from pairs import ratio, sample, show, verdict
from pictures import write_dx
from rivals import MEAN, STD, frames_of, opencv_tensor, pillow_tensor

from medge.engine.frames.study import Asked, open_study
from medge.engine.manifest import ImageInput, Resize
from medge.engine.preprocess import Preprocessor


def spec_of(colour: str, filter_: str = "bilinear") -> ImageInput:
    """Return the usual input of an ImageNet network."""
    return ImageInput(
        name="image",
        height=224,
        width=224,
        channels=3,
        colour=colour,  # type: ignore[arg-type]
        resize=Resize(filter=filter_),  # type: ignore[arg-type]
        mean=tuple(float(v) for v in MEAN),
        std=tuple(float(v) for v in STD),
    )


class Medge:
    """A prepared pipeline, as `medge run` holds it."""

    def __init__(self, spec: ImageInput) -> None:
        self.prepare = Preprocessor(spec)
        self.out = np.empty((1, *spec.shape), np.float32)
        self.asked = Asked(gray_only=self.prepare.wants_gray)

    def __call__(self, path: Path) -> None:
        """Read, decode and prepare every frame of a file."""
        with open_study(path, self.asked) as study:
            for index in range(study.frame_count):
                self.prepare.prepare(study.frame(index), self.out[0])


def dx(folder: Path) -> None:
    """Measure the single large picture."""
    path = write_dx(folder / "dx.dcm")
    bilinear, area = Medge(spec_of("gray")), Medge(spec_of("gray", "area"))
    found = sample(
        {
            "medge, antialiased bilinear": lambda: bilinear(path),
            "medge, area": lambda: area(path),
            "pydicom + VOI + Pillow + NumPy": lambda: [pillow_tensor(*f) for f in frames_of(path)],
            "pydicom + OpenCV area + NumPy": lambda: [opencv_tensor(*f) for f in frames_of(path)],
        },
        rounds=31,
    )
    print(f"DX 2500 x 2048, 16 bit ({path.stat().st_size / 1e6:.1f} MB), file -> 3x224x224")
    show(found, "medge, antialiased bilinear")
    usual = ratio(found["pydicom + VOI + Pillow + NumPy"], found["medge, antialiased bilinear"])
    fast = ratio(found["pydicom + OpenCV area + NumPy"], found["medge, area"])
    verdict(
        "times faster than pydicom + VOI + Pillow + NumPy",
        usual.median,
        ">= 40",
        usual.median >= 40,
    )
    verdict("times faster than pydicom + OpenCV area", fast.median, ">= 3", fast.median >= 3)


def cine() -> None:
    """Measure the JPEG cine that pydicom carries."""
    path = Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    gray, colour = Medge(spec_of("gray")), Medge(spec_of("rgb"))
    found = sample(
        {
            "medge, gray network": lambda: gray(path),
            "medge, colour network": lambda: colour(path),
            "pixel_array + Pillow + NumPy": lambda: [pillow_tensor(*f) for f in frames_of(path)],
        },
        rounds=31,
    )
    print("JPEG cine, 30 x 320x240, file -> 30 tensors 3x224x224")
    show(found, "medge, gray network")
    faster = ratio(found["pixel_array + Pillow + NumPy"], found["medge, gray network"])
    verdict(
        "times faster than pixel_array + Pillow + NumPy", faster.median, ">= 4", faster.median >= 4
    )


if __name__ == "__main__":
    cv2.setNumThreads(2)
    with tempfile.TemporaryDirectory() as place:
        dx(Path(place))
    cine()
