"""Make small DICOM files of every format: real ones with pydicom's writer, lies byte by byte."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big": "1.2.840.10008.1.2.2",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg-12": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless": "1.2.840.10008.1.2.4.57",
    "jpeg-lossless-sv1": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-ls-near": "1.2.840.10008.1.2.4.81",
    "jpeg-2000-lossless": "1.2.840.10008.1.2.4.90",
    "jpeg-2000": "1.2.840.10008.1.2.4.91",
    "htj2k-lossless": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
}
NATIVE = ("implicit", "explicit", "deflated", "big")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

Pixels = npt.NDArray[Any]


def speckle(shape: tuple[int, ...], stored: int = 8, signed: bool = False, seed: int = 0) -> Pixels:
    """Seeded smooth picture with speckle that reaches both ends of its range."""
    random = np.random.default_rng(seed)
    ramps = np.indices(shape).sum(axis=0) / max(1, sum(shape) - len(shape))
    values = (0.6 * ramps + 0.4 * random.random(shape)) * (2**stored - 1)
    values.flat[0], values.flat[-1] = 0, 2**stored - 1
    if signed:
        values = values - 2 ** (stored - 1)
    kind = "i" if signed else "u"
    return values.round().astype(f"{kind}{1 if stored <= 8 else 2}")


def make(
    path: Path | BinaryIO,
    *,
    syntax: str = "explicit",
    photometric: str = "MONOCHROME2",
    rows: int = 40,
    columns: int = 36,
    frames: int | None = None,
    pixels: Pixels | None = None,
    allocated: int | None = None,
    stored: int | None = None,
    high_bit: int | None = None,
    signed: bool = False,
    planar: int = 0,
    window: tuple[float, float] | None = None,
    rescale: tuple[float, float] | None = None,
    tags: Mapping[str, Any] | None = None,
    encoded: Sequence[bytes] | None = None,
    raw: bytes | None = None,
    offset_table: bool = True,
    seed: int = 0,
) -> Pixels:
    """Write a DICOM file and return its sample values.

    Parameters
    ----------
    syntax
        A key of SYNTAXES, or a UID.
    pixels
        Samples, shape (frames?, rows, columns, 3?); seeded speckle of the wanted shape by default.
        YBR samples are taken as they are; 422 keeps every second Cb and Cr.
    tags
        Keyword -> value of further elements; None deletes one. Sequences are lists of dicts.
    encoded
        Codestreams, one a frame, for a compressed syntax; without it pydicom's encoders (RLE,
        JPEG-LS, JPEG 2000) or Pillow (JPEG) make them.
    raw
        Value of Pixel Data as it stands, instead of all this (native syntaxes).
    """
    if pixels is None:
        shape = (rows, columns) if frames is None else (frames, rows, columns)
        shape += (3,) if photometric in COLOUR else ()
        pixels = speckle(shape, stored or allocated or 8, signed, seed)
    colour = photometric in COLOUR
    dataset = _dataset(pixels, colour, frames)
    bits = allocated or 8 * pixels.dtype.itemsize
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = bits
    dataset.BitsStored = stored or bits
    dataset.HighBit = dataset.BitsStored - 1 if high_bit is None else high_bit
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        dataset.PlanarConfiguration = planar
    if window:
        dataset.WindowCenter, dataset.WindowWidth = window
    if rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept = rescale
    uid = SYNTAXES.get(syntax, syntax)
    words = pixels.astype(f"{pixels.dtype.kind}{bits // 8}")
    if raw is not None:
        _native(dataset, raw, bits)
    elif syntax in NATIVE:
        _native(dataset, native_bytes(words, photometric, planar, syntax == "big"), bits)
    else:
        streams = encoded or encode(words, syntax, dataset)
        _encapsulate(dataset, streams, offset_table)
    _apply(dataset, tags or {})
    write(path, dataset, uid)
    return pixels


def _dataset(pixels: Pixels, colour: bool, frames: int | None) -> Any:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"  # Ultrasound Multi-frame Image Storage
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.Modality = "US"
    dataset.PatientName = "Sentinel^Patient"  # must never turn up in a message
    dataset.PatientID = "SENTINEL-ID"
    sides = pixels.shape[:-1] if colour else pixels.shape
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.Rows, dataset.Columns = sides[-2:]
    if frames is not None or len(sides) == 3:
        dataset.NumberOfFrames = sides[0] if len(sides) == 3 else 1
    return dataset


def _apply(dataset: Any, tags: Mapping[str, Any]) -> None:
    for keyword, value in tags.items():
        if value is None:
            del dataset[keyword]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            setattr(dataset, keyword, [_item(item) for item in value])
        else:
            setattr(dataset, keyword, value)


def _item(tags: Mapping[str, Any]) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    _apply(item, tags)
    return item


def native_bytes(samples: Pixels, photometric: str, planar: int, big: bool) -> bytes:
    """Lay out samples as native pixel data, the pad byte included."""
    if photometric == "YBR_FULL_422":
        y, cb, cr = (samples[..., i] for i in range(3))
        quads = (y[..., ::2], y[..., 1::2], cb[..., ::2], cr[..., ::2])
        samples = np.stack(quads, axis=-1)
    elif photometric in COLOUR and planar:
        samples = np.moveaxis(samples, -1, -3)
    data = samples.astype(samples.dtype.newbyteorder(">" if big else "<")).tobytes()
    return data + b"\0" * (len(data) % 2)


def _native(dataset: Any, data: bytes, bits: int) -> None:
    dataset.PixelData = data
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def encode(samples: Pixels, syntax: str, dataset: Any) -> list[bytes]:
    """Compress each frame with pydicom's encoder of the syntax, or Pillow for JPEG baseline."""
    single = samples.ndim == (3 if dataset.SamplesPerPixel == 3 else 2)
    stack = samples[None] if single else samples
    return [_encode_frame(frame, syntax, dataset) for frame in stack]


def _encode_frame(frame: Pixels, syntax: str, dataset: Any) -> bytes:
    if syntax == "jpeg":
        return jpeg(frame)
    from pydicom.pixels import get_encoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_encoder(SYNTAXES[syntax]).encode(
            np.ascontiguousarray(frame),
            encoding_plugin={"rle": "pydicom"}.get(syntax, ""),
            rows=dataset.Rows,
            columns=dataset.Columns,
            samples_per_pixel=dataset.SamplesPerPixel,
            number_of_frames=1,
            bits_allocated=dataset.BitsAllocated,
            bits_stored=dataset.BitsStored,
            pixel_representation=dataset.PixelRepresentation,
            photometric_interpretation=dataset.PhotometricInterpretation,
            planar_configuration=0,
            **({"j2k_psnr": [50]} if syntax == "jpeg-2000" else {}),
        )


def jpeg(frame: Pixels, quality: int = 95, subsampling: int = 0) -> bytes:
    """JPEG baseline of one 8-bit frame; three channels are taken as RGB and stored as YCbCr."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=quality, subsampling=subsampling)
    return out.getvalue()


def _encapsulate(dataset: Any, streams: Sequence[bytes], offset_table: bool) -> None:
    from pydicom.encaps import encapsulate

    dataset.PixelData = encapsulate(list(streams), has_bot=offset_table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def write(path: Path | BinaryIO, dataset: Any, uid: str) -> None:
    """Write with preamble and file meta information."""
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if uid in map(SYNTAXES.get, NATIVE) or dataset["PixelData"].is_undefined_length:
            dcmwrite(path, dataset, enforce_file_format=True)


# --- byte by byte, for files that pydicom would not write -------------------------------------

LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
UNDEFINED = 0xFFFFFFFF


def element(
    tag: int, vr: str, value: bytes = b"", *, length: int | None = None, big: bool = False
) -> bytes:
    """One element; ``vr`` "" means implicit VR. ``length`` may lie."""
    order = ">" if big else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "I", size) + value
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


def item(value: bytes = b"", *, length: int | None = None, big: bool = False) -> bytes:
    """One item of a sequence, or one fragment."""
    return element(0xFFFEE000, "", value, length=length, big=big)


def delimiter(tag: int = 0xFFFEE0DD, big: bool = False) -> bytes:
    """Sequence delimiter (FFFE,E0DD), or item delimiter (FFFE,E00D)."""
    return element(tag, "", big=big)


def words(*values: int, big: bool = False) -> bytes:
    """US values."""
    return struct.pack(f"{'>' if big else '<'}{len(values)}H", *values)


def meta(syntax: str | None = "explicit", preamble: bytes = b"") -> bytes:
    """Preamble, DICM and file meta information; ``syntax`` None leaves the syntax out."""
    group = element(0x00020001, "OB", b"\0\1")
    if syntax is not None:
        uid = SYNTAXES.get(syntax, syntax).encode()
        group += element(0x00020010, "UI", uid + b"\0" * (len(uid) % 2))
    size = element(0x00020000, "UL", struct.pack("<I", len(group)))
    return preamble.ljust(128, b"\0") + b"DICM" + size + group


def image_pixel(
    rows: int = 2, columns: int = 3, *, big: bool = False, **changes: bytes | None
) -> bytes:
    """Elements of an 8-bit gray picture. ``changes``: element by name, None leaves it out."""

    def us(tag: int, value: int) -> bytes:
        return element(tag, "US", words(value, big=big), big=big)

    parts: dict[str, bytes | None] = {
        "samples": us(0x00280002, 1),
        "photometric": element(0x00280004, "CS", b"MONOCHROME2 ", big=big),
        "planar": None,
        "frames": None,
        "rows": us(0x00280010, rows),
        "columns": us(0x00280011, columns),
        "allocated": us(0x00280100, 8),
        "stored": us(0x00280101, 8),
        "high_bit": us(0x00280102, 7),
        "representation": us(0x00280103, 0),
        "more": None,
    }
    unknown = changes.keys() - parts.keys()
    if unknown:
        raise TypeError(f"unknown elements {unknown}")
    parts |= changes
    return b"".join(part for part in parts.values() if part)


def pixel_data(value: bytes = bytes(6), **lies: Any) -> bytes:
    """Pixel Data, OB, by default that of the 2 x 3 picture of ``image_pixel``."""
    return element(0x7FE00010, "OB", value, **lies)
