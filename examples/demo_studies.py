"""Make the studies of `make demo`: synthetic breast ultrasound, and pydicom's real files.

Usage: python examples/demo_studies.py FOLDER

The phantoms are seeded speckle around a drawn lesion. They are labelled as synthetic in every place
that DICOM has for it; they show that the path works, and nothing about how well a model judges.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

ROWS, COLUMNS = 480, 640
LEFT, TOP, RIGHT, BOTTOM = 80, 24, 560, 456  # where tissue is shown; the rest is the device's frame
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"

REAL = {  # ultrasound that pydicom carries, one for each pixel format
    "examples_ybr_color.dcm": "30-frame-jpeg-cine.dcm",
    "examples_rgb_color.dcm": "rgb.dcm",
    "examples_palette.dcm": "palette.dcm",
    "examples_jpeg2k.dcm": "jpeg-2000.dcm",
}

Gray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Phantom:
    """One drawn lesion: centre and radii in pixels, its echo, and what lies below it.

    ``ragged`` moves the outline by that part of the radius; ``below`` scales the echoes under the
    lesion: above 1 like a cyst, under 1 like a mass that swallows sound.
    """

    name: str
    seed: int
    frames: int = 1
    row: int = 200
    column: int = 320
    height: int = 55
    width: int = 80
    ragged: float = 0.0
    echo: float = 0.2
    below: float = 1.0


PHANTOMS = (
    Phantom("cyst", 1, echo=0.02, below=1.8),
    Phantom("smooth-oval", 2, row=230, column=280, height=45, width=95, echo=0.22),
    Phantom("ragged-shadow", 3, ragged=0.35, height=75, width=65, echo=0.10, below=0.35),
    Phantom("ragged-tall", 4, column=360, ragged=0.45, height=90, width=55, echo=0.08, below=0.4),
    Phantom("no-lesion", 5, echo=1.0),
    Phantom("cine", 6, frames=6, ragged=0.2, echo=0.12, below=0.6),
)


def main(folder: Path) -> None:
    """Fill ``folder`` with ``phantoms`` and ``real``; those of an earlier run are replaced.

    A folder that holds anything else is somebody's, and is left as it is.
    """
    found = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    if foreign := sorted(found - {"phantoms", "real"}):
        raise SystemExit(f"{folder} holds {foreign[0]} too: name a new folder, or one of these.")
    for name in ("phantoms", "real"):
        if name in found:
            shutil.rmtree(folder / name)
        (folder / name).mkdir(parents=True)
    for phantom in PHANTOMS:
        write_phantom(phantom, folder / "phantoms" / f"synthetic-{phantom.name}.dcm")
    for name, shown in REAL.items():
        shutil.copyfile(str(get_testdata_file(name, download=False)), folder / "real" / shown)
    print(f"{folder}/phantoms: {len(PHANTOMS)} synthetic studies, tagged US and BREAST")
    print(f"{folder}/real: {len(REAL)} real ultrasound files of pydicom, without a body part")
    print("  (so each of these is judged as `unscoped`: they prove formats, not a diagnosis)")


def asked_for() -> Path:
    """Return the folder that was named on the command line."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("folder", type=Path, help="a new folder, or one that this wrote")
    return asked.parse_args().folder  # type: ignore[no-any-return] # argparse knows no types


def write_phantom(phantom: Phantom, path: Path) -> None:
    """Write one phantom as an uncompressed ultrasound file."""
    random = np.random.default_rng(phantom.seed)
    still = reflectivity(phantom, random)
    frames = np.stack([as_shown(still, phantom, random) for _ in range(phantom.frames)])
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = phantom.frames == 1
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage if one else ULTRASOUND_MULTIFRAME
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["medge phantom", phantom.name])
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = "Synthetic speckle phantom; shows no patient"
    dataset.ImageComments = "SYNTHETIC"
    dataset.PatientName = "SYNTHETIC^PHANTOM"
    dataset.PatientID = f"SYNTHETIC-{phantom.seed}"
    dataset.Modality = "US"
    dataset.BodyPartExamined = "BREAST"
    dataset.Manufacturer = "medge (synthetic)"
    dataset.SequenceOfUltrasoundRegions = Sequence([tissue_region()])
    if not one:
        dataset.NumberOfFrames = phantom.frames
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = frames.tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def tissue_region() -> Dataset:
    """Say which part of the frame shows tissue (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat = 1  # 2D
    region.RegionDataType = 1  # tissue
    region.RegionFlags = 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = LEFT, TOP
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = RIGHT - 1, BOTTOM - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.008
    return region


def reflectivity(phantom: Phantom, random: np.random.Generator) -> Gray:
    """Draw mean echoes: layers of fat and gland, the lesion, and what lies below it."""
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float64)
    waves = sum(
        np.sin(columns / random.uniform(40, 120) + random.uniform(0, 6)) for _ in range(3)
    ) * random.uniform(4, 8)
    depth = rows + waves
    tissue = np.select([depth < 60, depth < 140, depth < 330], [0.9, 0.45, 0.75], default=0.5)
    tissue *= np.exp(-rows / 900)
    angle = np.arctan2(rows - phantom.row, columns - phantom.column)
    lobes = sum(np.cos(k * angle + random.uniform(0, 6)) / k for k in range(3, 9))
    outline = 1 + phantom.ragged * lobes
    distance = np.hypot(
        (rows - phantom.row) / phantom.height, (columns - phantom.column) / phantom.width
    )
    inside = distance < outline
    under = (np.abs(columns - phantom.column) < 0.8 * phantom.width) & (rows > phantom.row)
    return np.where(inside, tissue * phantom.echo, np.where(under, tissue * phantom.below, tissue))


def as_shown(echoes: Gray, phantom: Phantom, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Add Rayleigh speckle, compress 50 dB to 8 bit, and cut out what the device would show."""
    scatter = random.normal(size=(2, ROWS, COLUMNS))
    for axis, width in ((1, 3), (2, 7)):  # the pulse is short along the beam and wide across
        kernel = np.hanning(width + 2)[1:-1]
        kernel /= np.sqrt((kernel**2).sum())
        scatter = np.apply_along_axis(np.convolve, axis, scatter, kernel, "same")
    speckle = np.hypot(scatter[0], scatter[1])
    decibel = 20 * np.log10(np.maximum(echoes * speckle, 1e-4))
    shown = np.clip((decibel + 45) / 55, 0, 1) * 255
    picture = np.zeros((ROWS, COLUMNS), np.uint8)
    inner = (slice(TOP, BOTTOM), slice(LEFT, RIGHT))
    picture[inner] = np.round(shown[inner]).astype(np.uint8)
    return picture


if __name__ == "__main__":
    main(asked_for())
