"""Make codestreams of every compressed syntax, with other people's encoders or slow ones here."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dicom_files import speckle

from medge.engine.decoders import Decoded, Picture
from medge.engine.frames.frame import Packing

Pixels = npt.NDArray[Any]
ROOT = "1.2.840.10008.1.2."
CAPTURED = Path(__file__).parent / "captured"

# Made by OpenJPH 0.26.3 (imagecodecs 2026.3.6) from these pictures: no encoder is installable
# from the list of development dependencies. Gray ones announce 16 bits a sample, colour ones 8.
HTJ2K = {
    "htj2k_gray12.j2c": lambda: speckle((33, 41), 12, False, 3),
    "htj2k_signed12.j2c": lambda: speckle((33, 41), 12, True, 5),
    "htj2k_rgb8.j2c": lambda: speckle((30, 26, 3), 8, False, 4),
}


def picture(pixels: Pixels, stored: int | None = None, **changes: Any) -> Picture:
    """What a DICOM header says of samples of shape (rows, columns[, 3])."""
    bits = 8 * pixels.dtype.itemsize
    colour = pixels.ndim == 3
    said: dict[str, Any] = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples": 3 if colour else 1,
        "bits_allocated": bits,
        "bits_stored": stored or bits,
        "high_bit": (stored or bits) - 1,
        "signed": pixels.dtype.kind == "i",
        "photometric": "RGB" if colour else "MONOCHROME2",
        "allow_gdcm": True,
    }
    return Picture(**(said | changes))


def samples(decoded: Decoded, said: Picture) -> npt.NDArray[np.int64]:
    """Sample values, shape (rows, columns[, 3]): masked to Bits Stored and sign-extended."""
    kind = f"u{decoded.values.dtype.itemsize}"
    values = decoded.values.view(kind).astype(np.int64)
    values = (values >> (said.high_bit + 1 - said.bits_stored)) & (2**said.bits_stored - 1)
    if said.signed:
        values = np.where(values >> (said.bits_stored - 1), values - 2**said.bits_stored, values)
    return np.moveaxis(values, 0, -1) if decoded.packing is Packing.PLANAR else values


def unsigned(pixels: Pixels, bits: int) -> Pixels:
    """Two's complement in ``bits`` bits, for codecs that know no sign."""
    return (pixels.astype(np.int64) & (2**bits - 1)).astype(f"u{pixels.dtype.itemsize}")


def jpeg(pixels: Pixels, subsampling: int = 0, quality: int = 90, **options: Any) -> bytes:
    """JPEG baseline; three channels are stored as YCbCr with a JFIF marker."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling=subsampling, **options)
    return out.getvalue()


def jpeg_untransformed(pixels: Pixels) -> bytes:
    """JPEG baseline whose three components are as given, without any marker that names them."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels, "YCbCr" if pixels.ndim == 3 else None).save(out, "JPEG", quality=95)
    return without_segment(out.getvalue(), 0xE0)


def jpeg_ls(pixels: Pixels, bits: int | None = None, near: int = 0, interleave: int = 0) -> bytes:
    """JPEG-LS by CharLS. ``interleave``: 0 planes, 1 lines (CharLS takes pixels), 2 pixels."""
    import jpeg_ls as charls

    bits = bits or 8 * pixels.dtype.itemsize
    raw = unsigned(pixels, bits)
    colour = pixels.ndim == 3
    ordered = np.ascontiguousarray(np.moveaxis(raw, -1, 0) if colour and interleave == 0 else raw)
    encoded: bytes = bytes(
        charls.encode_buffer(
            ordered.tobytes(),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            samples_per_pixel=3 if colour else 1,
            bits_stored=bits,
            lossy_error=near,
            interleave_mode=interleave,
        )
    )
    return encoded


def jpeg_2000(pixels: Pixels, bits: int | None = None, mct: bool = True, **options: Any) -> bytes:
    """JPEG 2000 by OpenJPEG; lossless without ``options``."""
    from openjpeg.utils import encode_array

    colour = pixels.ndim == 3
    return bytes(
        encode_array(
            np.ascontiguousarray(pixels),
            bits_stored=bits or 8 * pixels.dtype.itemsize,
            photometric_interpretation=1 if colour else 2,
            use_mct=mct and colour,
            **options,
        )
    )


def rle(pixels: Pixels) -> bytes:
    """RLE Lossless (PS3.5 Annex G), byte by byte."""
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    segments = []
    for plane in planes:
        words = plane.astype(plane.dtype.newbyteorder(">")).tobytes()
        size = plane.dtype.itemsize
        segments += [pack_bits(words[byte::size]) for byte in range(size)]
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    table = struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments)))
    return table + b"".join(segments)


def pack_bits(plane: bytes) -> bytes:
    """One segment: runs of three and more repeated, the rest literal; even length."""
    out, at = bytearray(), 0
    while at < len(plane):
        run = 1
        while run < 128 and plane[at : at + 1] == plane[at + run : at + run + 1]:
            run += 1
        if run >= 3:
            out += bytes((257 - run, plane[at]))
            at += run
            continue
        end = at + 1
        while end < min(len(plane), at + 128) and len(set(plane[end : end + 3])) != 1:
            end += 1
        out += bytes((end - at - 1,)) + plane[at:end]
        at = end
    return bytes(out) + b"\0" * (len(out) % 2)


def jpeg_lossless(pixels: Pixels, precision: int | None = None, predictor: int = 1) -> bytes:
    """JPEG Lossless, Process 14 (T.81 H): one scan, a flat Huffman table of five-bit codes."""
    precision = precision or 8 * pixels.dtype.itemsize
    planes = unsigned(pixels, precision).astype(np.int64)
    planes = planes[..., None] if planes.ndim == 2 else planes
    rows, columns, count = planes.shape
    frame = struct.pack(">BHHB", precision, rows, columns, count)
    frame += b"".join(bytes((i + 1, 0x11, 0)) for i in range(count))
    table = b"\0" + bytes((0, 0, 0, 0, 17)) + bytes(11) + bytes(range(17))
    scan = bytes((count,)) + b"".join(bytes((i + 1, 0)) for i in range(count))
    scan += bytes((predictor, 0, 0))
    head = b"\xff\xd8" + _segment(0xC3, frame) + _segment(0xC4, table) + _segment(0xDA, scan)
    return head + _stuffed(_lossless_bits(planes, precision, predictor)) + b"\xff\xd9"


def _lossless_bits(planes: npt.NDArray[np.int64], precision: int, predictor: int) -> str:
    out = []
    rows, columns, count = planes.shape
    for y in range(rows):
        for x in range(columns):
            for c in range(count):
                guess = _predict(planes[..., c], y, x, precision, predictor)
                difference = int(planes[y, x, c]) - guess
                out.append(_code((difference + 32768) % 65536 - 32768))
    return "".join(out)


def _predict(plane: Pixels, y: int, x: int, precision: int, predictor: int) -> int:
    if y == 0:
        return 2 ** (precision - 1) if x == 0 else int(plane[0, x - 1])
    above = int(plane[y - 1, x])
    if x == 0:
        return above
    left, corner = int(plane[y, x - 1]), int(plane[y - 1, x - 1])
    return (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )[predictor - 1]


def _code(difference: int) -> str:
    if difference == -32768:
        return f"{16:05b}"
    category = abs(difference).bit_length()
    extra = difference if difference > 0 else difference + 2**category - 1
    return f"{category:05b}" + (f"{extra:0{category}b}" if category else "")


def _stuffed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return data.replace(b"\xff", b"\xff\0")


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """Insert a segment right after SOI."""
    return data[:2] + _segment(marker, body) + data[2:]


def without_segment(data: bytes, marker: int) -> bytes:
    """Remove the first segment of this kind."""
    at = data.index(bytes((0xFF, marker)))
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + data[at + 2 + length :]
