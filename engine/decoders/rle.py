"""RLE Lossless (PS3.5 Annex G), decoded by medge itself."""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from medge import _native
from medge.engine.decoders import Codestream, Decoded, Picture
from medge.engine.decoders.agreement import (
    check_container,
    contradiction,
    damaged,
    truncated,
)
from medge.engine.decoders.containment import contained
from medge.engine.frames.frame import Packing
from medge.errors import InputError

_CODEC = "RLE"
_HEADER_BYTES = 64
_MAX_RATIO = 64  # two bytes make at most 128 (PS3.5 G.3.1)
_MAX_PADDING = 1  # a segment is padded to an even length
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")  # PS3.5 8.2.2


class Rle:
    """Decodes RLE Lossless; keeps one frame of memory from frame to frame."""

    name = "medge RLE"
    end_marker = b""

    def __init__(self, syntax_uid: str) -> None:
        self._values: npt.NDArray[Any] | None = None

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the segment table with the DICOM header (PS3.5 G.5)."""
        _segments(data, picture)

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Decode to stored values, colour by plane; bits above Bits Stored are kept."""
        bounds = _segments(data, picture)
        values = self._memory(picture)
        planes = values.reshape(picture.samples, -1).view(np.uint8)
        source = np.frombuffer(data, np.uint8)
        size = picture.bits_allocated // 8
        for number, (start, end) in enumerate(bounds):
            sample, significance = divmod(number, size)  # most significant byte first
            first = size - 1 - significance if sys.byteorder == "little" else significance
            segment, out = source[start:end], planes[sample]
            done = contained(self.name, _native.unpack_packbits, segment, out, first, size)
            _judge(number, len(bounds), done, end - start, out.size // size)
        packing = Packing.MONO if picture.samples == 1 else Packing.PLANAR
        return Decoded(values, picture.photometric, packing)

    def _memory(self, picture: Picture) -> npt.NDArray[Any]:
        shape: tuple[int, ...] = (picture.rows, picture.columns)
        if picture.samples > 1:
            shape = (picture.samples, *shape)
        kind = f"{'i' if picture.signed else 'u'}{picture.bits_allocated // 8}"
        if (
            self._values is None
            or self._values.shape != shape
            or self._values.dtype != np.dtype(kind)
        ):
            self._values = contained(self.name, np.empty, shape, np.dtype(kind))
        return self._values


def _segments(data: Codestream, picture: Picture) -> list[tuple[int, int]]:
    """Return start and end of every segment, sample by sample, most significant byte first."""
    check_container(picture)
    if picture.photometric not in _PHOTOMETRIC:
        raise contradiction(_CODEC, "colour", "full-size planes", picture.photometric)
    if len(data) < _HEADER_BYTES:
        raise truncated(_CODEC, f"{len(data)} bytes, its header alone has {_HEADER_BYTES}")
    count, *offsets = struct.unpack_from("<16L", data)
    need = picture.samples * picture.bits_allocated // 8
    if count != need:
        raise contradiction(_CODEC, "segments", count, need)
    starts = offsets[:count]
    if starts[0] != _HEADER_BYTES or any(offsets[count:]):
        raise damaged(_CODEC, "its segment table is not laid out as PS3.5 G.5 says")
    bounds = list(zip(starts, [*starts[1:], len(data)], strict=True))
    pixels = picture.rows * picture.columns
    for number, (start, end) in enumerate(bounds, 1):
        if end > len(data) or start >= len(data):
            raise truncated(
                _CODEC, f"segment {number}/{count} starts at byte {start} of {len(data)}"
            )
        if start >= end:
            raise damaged(_CODEC, f"segment {number}/{count} ends before it starts")
        if (end - start) * _MAX_RATIO < pixels:
            raise truncated(
                _CODEC,
                f"segment {number}/{count} has {end - start} bytes, which cannot hold {pixels}",
            )
    return bounds


def _judge(
    number: int, count: int, done: tuple[Any, ...], have_bytes: int, need_pixels: int
) -> None:
    """Refuse a segment that does not fill its plane exactly."""
    status, read, written = done
    where = f"segment {number + 1}/{count}"
    if status == 1:
        raise InputError(
            "truncated",
            f"RLE {where} holds {written} of {need_pixels} bytes. Obtain the file again.",
        )
    if status == 2:
        raise contradiction(_CODEC, f"bytes in {where}", f"more than {need_pixels}", need_pixels)
    if have_bytes - read > _MAX_PADDING:
        left = have_bytes - read
        raise contradiction(
            _CODEC, f"bytes in {where}", f"{left} coded ones after {need_pixels}", need_pixels
        )
