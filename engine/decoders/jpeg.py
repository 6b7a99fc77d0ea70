"""JPEG Baseline and 8-bit Extended by Pillow (libjpeg-turbo), straight from the codestream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medge import _native
from medge.engine.decoders import Codestream, Decoded, Picture
from medge.engine.decoders.agreement import (
    END_MARKER,
    check_end,
    check_values,
    contradiction,
    same_bits,
    same_samples,
    same_size,
)
from medge.engine.decoders.containment import contained
from medge.engine.decoders.jpeg_codes import check_codes
from medge.engine.decoders.jpeg_header import (
    SOF_BASELINE,
    SOF_EXTENDED,
    JpegHeader,
    read_header,
)
from medge.engine.frames.frame import Packing
from medge.errors import InputError

_CODEC = "JPEG"
_NOTE_YBR = "colour: the JPEG codestream says YCbCr, the DICOM header RGB; read as YCbCr"
_NOTE_RGB = "colour: the JPEG codestream says RGB, the DICOM header YBR; read as RGB"


class Jpeg:
    """Decodes 8-bit sequential JPEG; keeps one picture of memory from frame to frame."""

    name = "Pillow"
    end_marker = END_MARKER

    def __init__(self, syntax_uid: str) -> None:
        self._prefix = b""  # of the last frame: markers of a cine are all alike
        self._agreed: tuple[JpegHeader, Picture, str, tuple[str, ...]] | None = None
        self._canvas: _Canvas | None = None

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the JPEG's own header with the DICOM header (PS3.5 8.2.1)."""
        self._check(bytes(data), picture)

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Decode to gray, RGB or YBR_FULL as the codestream holds it.

        With ``gray_only`` a YCbCr picture yields its luminance alone, which is the full-range Y
        of PS3.3 C.7.6.3.1.2.
        """
        data = bytes(data)
        coded, notes = self._check(data, picture)
        if coded == "gray" or (picture.gray_only and coded == "ybr"):
            mode = "L"
            photometric = "MONOCHROME2" if coded == "ybr" else picture.photometric
        else:
            mode = "RGBX"
            photometric = "RGB" if coded == "rgb" else "YBR_FULL"
        canvas = self._canvas
        if canvas is None or not canvas.fits(mode, picture):
            canvas = self._canvas = contained(self.name, _Canvas, mode, picture)
        jpegmode = {"gray": "L", "ybr": "YCbCr", "rgb": "RGB"}[coded]
        values = contained(self.name, canvas.draw, data, jpegmode if mode == "L" else "RGB")
        notes += check_values(_CODEC, values, 8, picture)
        packing = Packing.MONO if mode == "L" else Packing.INTERLEAVED
        return Decoded(values, photometric, packing, notes)

    def _check(self, data: bytes, picture: Picture) -> tuple[str, tuple[str, ...]]:
        """Return what the samples are ("gray", "ybr", "rgb") and notes."""
        agreed = self._agreed
        if agreed is None or picture is not agreed[1] or not data.startswith(self._prefix):
            agreed = self._agreed = _agree(data, picture)
            self._prefix = data[: agreed[0].scan_at]
        header, _, coded, notes = agreed
        notes += check_end(_CODEC, data, header.scan_at)
        check_codes(_CODEC, data, lossless=False)
        return coded, notes


class _Canvas:
    """Memory that Pillow draws into and NumPy reads, so that a frame is never copied whole."""

    def __init__(self, mode: str, picture: Picture) -> None:
        from PIL import Image

        self._mode = mode
        rows, columns = picture.rows, picture.columns
        shape = (rows, columns) if mode == "L" else (rows, columns, 4)
        self._memory: npt.NDArray[np.uint8] = np.empty(shape, np.uint8)
        self._image = Image.frombuffer(mode, (columns, rows), self._memory, "raw", mode, 0, 1)
        self._packed = None if mode == "L" else np.empty((rows, columns, 3), np.uint8)
        self._proven = False

    def fits(self, mode: str, picture: Picture) -> bool:
        return mode == self._mode and self._memory.shape[:2] == (picture.rows, picture.columns)

    def draw(self, data: bytes, jpegmode: str) -> npt.NDArray[Any]:
        """Decode into the memory; ``jpegmode`` is what the samples are to be taken for."""
        # Taking three components for RGB, and asking for RGBX, makes libjpeg leave them alone.
        self._image.frombytes(data, "jpeg", self._mode, jpegmode)
        if not self._proven:
            if self._image.tobytes() != self._memory.tobytes():
                raise RuntimeError("Pillow does not share memory with the array")
            self._proven = True
        if self._packed is None:
            return self._memory
        _native.drop_fourth(self._memory, self._packed)
        return self._packed


def _agree(data: bytes, picture: Picture) -> tuple[JpegHeader, Picture, str, tuple[str, ...]]:
    header = read_header(_CODEC, data)
    if header.process not in (SOF_BASELINE, SOF_EXTENDED):
        raise contradiction(
            _CODEC, "process", f"FF{header.process:02X}", "a sequential one (FFC0 or FFC1)"
        )
    same_size(_CODEC, header.rows, header.columns, picture)
    same_samples(_CODEC, header.components, picture)
    if header.precision != 8:
        raise InputError(
            "syntax-unsupported",
            f"JPEG with {header.precision} bits per sample is not decoded by medge; 8 bits are. "
            "Convert the file to JPEG 2000 Lossless or to an uncompressed transfer syntax.",
        )
    same_bits(_CODEC, header.precision, picture)
    if picture.signed:
        raise contradiction(_CODEC, "sign", "unsigned samples", "signed ones")
    coded, notes = _colour(header, picture)
    return header, picture, coded, notes


def _colour(header: JpegHeader, picture: Picture) -> tuple[str, tuple[str, ...]]:
    """Decide what three components are: markers first, then the header (PS3.5 8.2.1)."""
    if header.components == 1:
        return "gray", ()
    stated = picture.photometric
    if header.components != 3 or stated not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        raise contradiction(_CODEC, "colour", f"{header.components} components", stated)
    if header.says_rgb and header.says_ybr:
        raise contradiction(_CODEC, "colour", "both RGB and YCbCr", stated)
    if header.adobe not in (None, 0, 1):
        raise contradiction(_CODEC, "colour", "four components (YCCK)", stated)
    if stated == "RGB":
        return ("ybr", (_NOTE_YBR,)) if header.says_ybr else ("rgb", ())
    if header.says_rgb:
        return "rgb", (_NOTE_RGB,)
    return "ybr", ()
