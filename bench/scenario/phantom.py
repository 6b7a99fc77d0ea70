"""Phantoms: made DICOM pictures that a bundle accepts, where the user gives none.

They are seeded speckle, labelled as synthetic in every place that DICOM has for it. They cost what
real pictures of their size cost, and say nothing about how well a network judges.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medge.errors import UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medge.engine.manifest import ImageInput, Manifest

FRAMES = 8
SEED = 1
_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"  # Ultrasound Multi-frame Image Storage


class Size(NamedTuple):
    """Rows, columns and stored bits of a picture; more than 8 bits take 16."""

    rows: int
    columns: int
    bits: int


# What each modality exports most: what a picture costs is decided by how many pixels it has.
USUAL = Size(480, 640, 8)  # cart-based ultrasound
SIZES = {
    "CR": Size(2500, 2048, 12),  # 35 x 43 cm cassettes and detectors
    "DX": Size(2500, 2048, 12),
    "MG": Size(3328, 2560, 12),  # 24 x 30 cm
    "CT": Size(512, 512, 12),
    "MR": Size(256, 256, 12),
}
_KINDS = (("MONOCHROME2", 1), ("MONOCHROME1", 1), ("RGB", 3))

Pixels = npt.NDArray[np.unsignedinteger[Any]]
Shown = npt.NDArray[np.float64]


def write_phantom(
    path: Path, manifest: Manifest, frames: int = FRAMES, seed: int = SEED, size: Size = USUAL
) -> str:
    """Write an uncompressed multi-frame file that fits a bundle's scope; return what it is.

    Raises
    ------
    UsageError
        Rule ``phantom``: the bundle accepts no colour model that can be made here.
    """
    import pydicom  # noqa: PLC0415 - only who has no pictures needs it
    from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid  # noqa: PLC0415

    spec = manifest.inputs[0]
    photometric, samples = _kind(spec)
    rows, columns, bits = size = _fitting(size, spec, samples)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(_MULTIFRAME)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["medge phantom", str(seed)])
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = "Synthetic speckle; shows no patient"
    dataset.Manufacturer = "medge (synthetic)"
    dataset.PatientName = "SYNTHETIC^PHANTOM"
    dataset.PatientID = f"SYNTHETIC-{seed}"
    _within_scope(dataset, manifest)
    _values(dataset, spec, bits)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    dataset.SamplesPerPixel = samples
    if samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
        8 * (1 + (bits > 8)),
        bits,
        bits - 1,
    )
    dataset.PixelRepresentation = 0
    random = np.random.default_rng(seed)
    shown = np.stack([_shown(size, random) for _ in range(frames)])
    dataset.PixelData = (shown if samples == 1 else np.repeat(shown[..., None], 3, -1)).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    plural = "s" * (frames > 1)
    kind = f"{rows} x {columns}, {bits} bit {photometric}, uncompressed"
    return f"{frames} synthetic frame{plural}, {kind}"


def _kind(spec: ImageInput) -> tuple[str, int]:
    for photometric, samples in _KINDS:
        if photometric in spec.accepts:
            return photometric, samples
    raise UsageError(
        "phantom",
        "This bundle accepts neither gray nor RGB pictures, so none can be made to measure with. "
        "Name a file of yours.",
    )


def usual_size(manifest: Manifest) -> Size:
    """Return how large pictures of a bundle's first modality usually are."""
    modality = manifest.scope.modality[0] if manifest.scope.modality else ""
    return SIZES.get(modality, USUAL)


def _fitting(size: Size, spec: ImageInput, samples: int) -> Size:
    bits = size.bits if samples == 1 else 8  # colour has no more in DICOM's RGB
    return Size(max(size.rows, spec.min_side), max(size.columns, spec.min_side), bits)


def _within_scope(dataset: Dataset, manifest: Manifest) -> None:
    """Fill in what the bundle's scope asks for, so that no frame is refused for its tags."""
    scope = manifest.scope
    dataset.Modality = scope.modality[0] if scope.modality else "OT"
    if scope.body_part:
        dataset.BodyPartExamined = scope.body_part[0]
    if scope.view:
        dataset.ViewPosition = scope.view[0]
    if scope.pixel_spacing_mm is not None:
        dataset.PixelSpacing = [scope.pixel_spacing_mm[0]] * 2


def _values(dataset: Dataset, spec: ImageInput, bits: int) -> None:
    """Give all stored values a meaning that the bundle's window shows whole."""
    voi: Any = spec.voi
    levels = float(1 << bits)
    center, width = (voi.center, voi.width) if voi.rule == "window" else (levels / 2, levels)
    if voi.rule == "window":
        dataset.RescaleSlope = float(np.float32(width / levels))
        dataset.RescaleIntercept = float(np.float32(center - width / 2))
    windows = voi.index + 1
    dataset.WindowCenter = [center] * windows
    dataset.WindowWidth = [width] * windows


def _shown(size: Size, random: np.random.Generator) -> Pixels:
    """Return a frame; a large one repeats the pattern, which costs no less to read."""
    rows, columns, bits = size
    pattern = _speckle(min(rows, USUAL.rows), min(columns, USUAL.columns), random)
    times = -(-rows // pattern.shape[0]), -(-columns // pattern.shape[1])
    stored = np.tile(pattern, times)[:rows, :columns] * ((1 << bits) - 1)
    return stored.round().astype("<u2" if bits > 8 else "u1")


def _speckle(rows: int, columns: int, random: np.random.Generator) -> Shown:
    """Return fully developed speckle under a depth ramp, compressed 50 dB to 0..1.

    Its envelope is Rayleigh distributed (Burckhardt, IEEE Trans. Sonics Ultrasonics 25, 1978),
    and grains are wide across the beam and short along it.
    """
    field: Shown = random.normal(size=(2, rows, columns))
    for axis, grain in ((1, 3), (2, 7)):
        field = sum(np.roll(field, shift, axis) for shift in range(grain)) / np.sqrt(grain)
    envelope = np.hypot(*field) * np.linspace(1.0, 0.3, rows)[:, None]
    decibel = 20.0 * np.log10(np.maximum(envelope, 1e-4))
    shown: Shown = np.clip((decibel + 40.0) / 50.0, 0.0, 1.0)
    return shown
