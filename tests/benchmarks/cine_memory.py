"""Memory over a cine of 10,000 frames: RssAnon at frame 100 and at frame 10,000.

Run: ``python tests/benchmarks/cine_memory.py``. Every frame goes all the way to a decision.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

sys.path.insert(0, str(Path(__file__).parent))
from pairs import verdict

import medge

FRAMES = 10_000


def anonymous_kb() -> int:
    """Return the memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise OSError("this kernel does not tell RssAnon")


def write_compressed(path: Path) -> Path:
    """Repeat the 30 JPEG frames of pydicom's cine."""
    dataset = pydicom.dcmread(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=30))
    dataset.NumberOfFrames = FRAMES
    dataset.PixelData = encapsulate([frames[i % 30] for i in range(FRAMES)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


def write_native(path: Path) -> Path:
    """Write 10,000 frames of 120 x 160 gray noise."""
    dataset = pydicom.dcmread(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    random = np.random.default_rng(3)
    few = random.integers(0, 256, (50, 120, 160), np.uint8).tobytes()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = FRAMES, 120, 160
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    del dataset.PlanarConfiguration
    dataset.PixelData = few * (FRAMES // 50)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    return path


def growth_kb(results: Iterator[medge.Result]) -> tuple[int, int]:
    """Return growth from frame 100 to the last, and how many frames were judged."""
    early = count = 0
    for result in results:
        if result.fault is not None:
            raise result_error(result)
        count += 1
        if count == 100:
            early = anonymous_kb()
    return anonymous_kb() - early, count


def result_error(result: medge.Result) -> RuntimeError:
    """Say which rule stopped the measurement."""
    return RuntimeError(f"frame {result.frame} was refused: {result.fault}")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, medge.open("breast-ultrasound") as classifier:
        for name, write in (("JPEG 320x240", write_compressed), ("native 160x120", write_native)):
            path = write(Path(folder) / "cine.dcm")
            growth, count = growth_kb(classifier.stream(path))
            print(f"{count} frames, {name}, {path.stat().st_size / 1e6:.0f} MB")
            verdict(f"RssAnon growth, {name}, KB", growth, "<= 2048", growth <= 2048)
            path.unlink()


if __name__ == "__main__":
    main()
