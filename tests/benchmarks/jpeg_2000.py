"""Three builds of OpenJPEG on the same JPEG 2000 frames: which to decode with.

Run: ``python tests/benchmarks/jpeg_2000.py FILE...`` (DICOM, JPEG 2000). OpenJPEG takes the number
of its threads from OPJ_NUM_THREADS where it is built with threads: run it with 1 and with 2.
"""

from __future__ import annotations

import io
import os
import sys
from functools import partial
from pathlib import Path

import pydicom
from openjpeg.utils import decode
from PIL import Image
from pydicom.encaps import generate_frames

sys.path.insert(0, str(Path(__file__).parent))
from pairs import sample, show


def by_pillow(codestream: bytes) -> None:
    """Decode with Pillow's OpenJPEG."""
    with Image.open(io.BytesIO(codestream)) as opened:
        opened.load()


def by_gdcm(path: Path) -> None:
    """Decode with GDCM's OpenJPEG, as pydicom prefers it; reading the file is included."""
    dataset = pydicom.dcmread(path)
    dataset.pixel_array_options(decoding_plugin="gdcm")
    dataset.pixel_array  # noqa: B018 - the property decodes


def main() -> None:
    """Measure the first frame of every file."""
    print(f"OPJ_NUM_THREADS={os.environ.get('OPJ_NUM_THREADS', 'not set')}")
    for argument in sys.argv[1:]:
        path = Path(argument)
        dataset = pydicom.dcmread(path)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        print(f"{path.name}: {dataset.Rows} x {dataset.Columns}, {dataset.BitsStored} bits")
        calls = {
            "pylibjpeg-openjpeg": lambda raw=frame: decode(io.BytesIO(raw), 0, reshape=False),
            "Pillow": partial(by_pillow, frame),
            "GDCM, through pydicom": partial(by_gdcm, path),
        }
        show(sample(calls, rounds=15), "pylibjpeg-openjpeg")


if __name__ == "__main__":
    main()
