"""Small good files, one for each transfer syntax and kind of picture, for others to damage."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np

SENTINEL = "SENTINEL"
_GROUPS = [
    {"FrameVOILUTSequence": [{"WindowCenter": 100 + i, "WindowWidth": 50}]} for i in range(2)
]
_REGION = {
    "RegionDataType": 1,
    "RegionLocationMinX0": 2,
    "RegionLocationMinY0": 3,
    "RegionLocationMaxX1": 30,
    "RegionLocationMaxY1": 30,
    "PhysicalUnitsXDirection": 3,
    "PhysicalUnitsYDirection": 3,
    "PhysicalDeltaX": 0.02,
    "PhysicalDeltaY": 0.02,
}
_TAGS: dict[str, Any] = {
    "PatientName": f"{SENTINEL}^Name",
    "SharedFunctionalGroupsSequence": _GROUPS[:1],
    "PerFrameFunctionalGroupsSequence": _GROUPS,
    "SequenceOfUltrasoundRegions": [_REGION],
    "PixelPaddingValue": 0,
}


def syntax_seeds() -> dict[str, bytes]:
    """Return a file of two frames (one for JPEG Lossless) in each of 13 transfer syntaxes."""
    names = [*made.NATIVE, "rle", "jpeg", "jpeg-ls", "jpeg-ls-near", "jpeg-2000-lossless"]
    seeds = {name: _file(syntax=name, frames=2, tags=_TAGS) for name in [*names, "jpeg-2000"]}
    seeds["jpeg-extended-8"] = _renamed(seeds["jpeg"], "jpeg", "jpeg-12")
    seeds["jpeg-lossless-sv1"] = _bundled("SC_rgb_jpeg_gdcm.dcm")
    lossless = seeds["jpeg-lossless-sv1"]
    seeds["jpeg-lossless"] = _renamed(lossless, "jpeg-lossless-sv1", "jpeg-lossless")
    return seeds


def picture_seeds() -> dict[str, bytes]:
    """Return further kinds of picture: colour, palette, 16 bit, tables, and other formats."""
    palette: dict[str, Any] = {}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        palette[f"{name}PaletteColorLookupTableData"] = bytes(range(256))
    segments: dict[str, Any] = {}
    for name in ("Red", "Green", "Blue"):
        segments[f"{name}PaletteColorLookupTableDescriptor"] = [12, 0, 16]
        numbers = [0, 2, 3, 9, 1, 4, 50, 2, 2, 0, 0]
        segments[f"Segmented{name}PaletteColorLookupTableData"] = np.array(numbers, "<u2").tobytes()
    lut = {"LUTDescriptor": [256, 0, 12], "LUTData": np.arange(256).astype("<u2").tobytes()}
    tables = {"ModalityLUTSequence": [lut], "VOILUTSequence": [lut]}
    return {
        "rgb": _file(photometric="RGB"),
        "rgb-planar-rle": _file(photometric="RGB", planar=1, syntax="rle"),
        "rgb-jpeg-ls": _file(photometric="RGB", syntax="jpeg-ls"),
        "ybr-422": _file(photometric="YBR_FULL_422"),
        "ybr-jpeg": _file(photometric="YBR_FULL_422", syntax="jpeg"),
        "palette": _file(photometric="PALETTE COLOR", tags=palette),
        "palette-segmented": _file(photometric="PALETTE COLOR", tags=segments),
        "signed-16": _file(stored=12, allocated=16, signed=True, rescale=(1, -1024)),
        "tables": _file(tags=tables),
        "12-bit-j2k": _file(stored=12, allocated=16, syntax="jpeg-2000-lossless"),
        "png": _picture("PNG"),
        "photo": _picture("JPEG"),
        "npy": _npy(),
    }


def _file(**options: Any) -> bytes:
    """Small enough that a damaged byte is often in the header (rows x columns of 32 for J2K)."""
    out = io.BytesIO()
    made.make(out, **{"rows": 32, "columns": 36, **options})  # type: ignore[arg-type]
    return out.getvalue()


def _renamed(data: bytes, old: str, new: str) -> bytes:
    before, after = made.SYNTAXES[old].encode(), made.SYNTAXES[new].encode()
    assert len(before) == len(after)
    return data.replace(before, after, 1)


def _bundled(name: str) -> bytes:
    from pydicom import data

    return (Path(data.__file__).parent / "test_files" / name).read_bytes()


def _picture(form: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(made.speckle((24, 20, 3))).save(out, form)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, made.speckle((3, 16, 16), stored=16))
    return out.getvalue()


def all_seeds() -> Mapping[str, bytes]:
    """Return every seed by name."""
    return syntax_seeds() | picture_seeds()
