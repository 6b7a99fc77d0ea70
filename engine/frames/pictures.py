"""PNG and JPEG files: structure checked first, then decoded by Pillow within the budgets."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medge.engine.frames.arrays import ArrayStudy, as_stack, meaning_of
from medge.engine.frames.asked import Asked, Limits
from medge.engine.frames.content import Kind
from medge.engine.frames.frame import Context
from medge.engine.frames.source import Source
from medge.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112  # EXIF
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # frame headers (T.81 table B.1)
_PILLOW_SOF = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive


@dataclass(frozen=True, slots=True)
class _Size:
    """What the file's own header says, read before the decoder sees it."""

    columns: int
    rows: int
    bits: int
    channels: int
    notes: tuple[str, ...] = ()


def open_picture(source: Source, kind: Kind, asked: Asked) -> ArrayStudy:
    """Decode the picture at once and close the file; one frame, or InputError."""
    if source.size > asked.limits.picture_bytes:
        raise InputError(
            "budget",
            f"the file has {source.size} bytes; the budget for {kind.value} is "
            f"{asked.limits.picture_bytes}.",
        )
    data = source.read(0, source.size)
    source.check_unchanged()
    source.close()
    size = _png(data) if kind is Kind.PNG else _jpeg(data)
    _check_budget(size, asked.limits)
    values, notes = _decode(data, kind, size, asked)
    values.flags.writeable = False
    stack = as_stack(values)
    return ArrayStudy(
        stack, meaning_of(stack, None, None, inverted=False), Context(), size.notes + notes
    )


def _check_budget(size: _Size, limits: Limits) -> None:
    side = max(size.rows, size.columns)
    pixels = size.rows * size.columns
    if pixels == 0:
        raise InputError("side", "the picture has no rows or no columns.")
    if side > limits.side or pixels > limits.frame_pixels:
        raise InputError(
            "budget",
            f"{size.rows} x {size.columns} exceeds the budget of {limits.frame_pixels} pixels a "
            f"frame or {limits.side} a side.",
        )


def _png(data: bytes) -> _Size:
    """Walk all chunks and check each CRC (PNG 5.3), so damage and truncation are certain."""
    size: _Size | None = None
    at = 8
    while True:
        if len(data) - at < 12:
            raise _cut_short("PNG")
        length, name = struct.unpack_from(">I4s", data, at)
        if length > len(data) - at - 12:
            raise _cut_short("PNG")
        body = memoryview(data)[at + 4 : at + 8 + length]
        if zlib.crc32(body) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            raise InputError("damaged-picture", "a PNG chunk fails its CRC. Copy the file again.")
        if size is None:
            if name != b"IHDR" or length != 13:
                raise InputError("damaged-picture", "the PNG does not begin with its header.")
            size = _png_size(data[at + 8 : at + 21])
        if name == b"acTL":
            raise InputError("animated", "the PNG is animated; medge reads single pictures.")
        at += 12 + length
        if name == b"IEND":
            return size


def _png_size(header: bytes) -> _Size:
    columns, rows, bits, colour = struct.unpack_from(">IIBB", header)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if channels is None:
        raise InputError("damaged-picture", "the PNG names no known colour type.")
    if bits == 16 and channels != 1:
        raise InputError(
            "picture-depth", "16-bit PNG is read when gray; this one has colour or alpha."
        )
    return _Size(columns, rows, bits, channels)


def _jpeg(data: bytes) -> _Size:
    """Walk the marker segments up to the frame header (T.81 B.1.1)."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise InputError("damaged-picture", "the JPEG has bytes where a marker must be.")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SOF:
            return _jpeg_size(marker, data[at + 4 : at + 2 + length], data)
        at += 2 + length
    raise _cut_short("JPEG")


def _jpeg_size(marker: int, header: bytes, data: bytes) -> _Size:
    if len(header) < 6:
        raise _cut_short("JPEG")
    bits, rows, columns, channels = struct.unpack_from(">BHHB", header)
    if marker not in _PILLOW_SOF or bits != 8:
        raise InputError(
            "picture-depth", f"the JPEG has {bits} bits or is lossless; expected 8-bit baseline."
        )
    if channels not in (1, 3):
        raise InputError(
            "picture-colour", f"the JPEG has {channels} components; expected gray or three colours."
        )
    # Pillow accepts a picture that lacks its end when all blocks are there; medge does not.
    if b"\xff\xd9" not in data[data.rfind(b"\xff\xda") :]:
        raise _cut_short("JPEG")
    return _Size(columns, rows, bits, channels)


def _decode(
    data: bytes, kind: Kind, size: _Size, asked: Asked
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=(kind.value,)) as image:
            if image.size != (size.columns, size.rows):
                raise _undecodable(kind)
            return _values(image, size, asked)
    except InputError:
        raise
    except Exception:  # a codec may raise anything; its text may quote the file
        raise _undecodable(kind) from None


def _values(
    image: Image.Image, size: _Size, asked: Asked
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        notes += ("exif-orientation-ignored",)
    if asked.gray_only and image.format == "JPEG" and size.channels == 3:
        image.draft("L", image.size)
        notes += ("luminance-only",)
    if image.mode.startswith("I;16"):
        if "transparency" in image.info:
            raise _alpha()
        return np.array(image).astype(np.uint16, copy=False), notes
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        gray = image.mode in ("LA", "L", "1")
        pixels = np.asarray(image.convert("RGBA"))
        if int(pixels[..., 3].min()) != 255:
            raise _alpha()
        values = pixels[..., 0] if gray else pixels[..., :3]
        return np.ascontiguousarray(values), (*notes, "alpha-dropped")
    wanted = "L" if image.mode in ("1", "L") else "RGB"
    if image.mode not in ("1", "L", "P", "RGB"):
        raise InputError("picture-colour", "expected a gray, RGB or palette picture. Convert it.")
    return np.array(image if image.mode == wanted else image.convert(wanted)), notes


def _alpha() -> InputError:
    return InputError(
        "alpha",
        "parts of the picture are transparent, so what it shows depends on a background. "
        "Flatten it first.",
    )


def _cut_short(name: str) -> InputError:
    return InputError("truncated", f"the {name} ends before its end mark. Copy the file again.")


def _undecodable(kind: Kind) -> InputError:
    return InputError(
        "damaged-picture", f"the {kind.value} cannot be decoded. Copy or export it again."
    )
