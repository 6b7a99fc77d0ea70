"""Lies told by the codestream itself: each field of its own header, and what comes of it.

    python tests/hostile/codestream_lies.py

A lie that contradicts the DICOM header or the length of the data must be refused. The others are
listed with what they yield: only the encoder could know better.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

import codestreams
import dicom_files as made
from hostile.outcome import outcome_of
from hostile.silent import verdict

Pixels = npt.NDArray[Any]
GRAY = made.speckle((48, 40), 8, seed=1)
DEEP = made.speckle((48, 40), 12, seed=2)
COLOUR = made.speckle((48, 40, 3), 8, seed=3)

# Field: offset behind the marker's length, format, values it is made to say.
Fields = dict[str, tuple[int, str, tuple[int, ...]]]
FRAME: Fields = {
    "precision": (0, "B", (0, 2, 7, 9, 12, 16, 255)),
    "rows": (1, "H", (0, 1, 40, 47, 49, 96, 65535)),
    "columns": (3, "H", (0, 1, 39, 41, 48, 80, 65535)),
    "components": (5, "B", (0, 2, 3, 4, 255)),
    "sampling of component 1": (7, "B", (0, 0x12, 0x21, 0x22, 0x44, 0xFF)),
    "identifier of component 1": (6, "B", (0, 82, 255)),
}
SCAN: Fields = {
    "components of the scan": (0, "B", (0, 2, 3, 4)),
    "component of the scan": (1, "B", (0, 9)),
    "tables of the scan": (2, "B", (0x01, 0x10, 0x33, 0xFF)),
}
LS_SCAN: Fields = {"near": (3, "B", (1, 5, 255)), "interleave": (4, "B", (1, 2, 3, 255))}
LOSSLESS_SCAN: Fields = {"predictor": (3, "B", (0, 2, 7, 8)), "point transform": (5, "B", (1, 8))}
SIZ: Fields = {
    "Rsiz": (0, "H", (0x4000, 0xFFFF)),
    "Xsiz": (2, "L", (0, 39, 41, 80, 2**32 - 1)),
    "Ysiz": (6, "L", (0, 47, 49, 96, 2**32 - 1)),
    "XOsiz": (10, "L", (1, 40, 2**32 - 1)),
    "YOsiz": (14, "L", (1, 48)),
    "XTsiz": (18, "L", (0, 1, 20, 39)),
    "YTsiz": (22, "L", (0, 1, 24, 47)),
    "XTOsiz": (26, "L", (1, 2**32 - 1)),
    "components": (34, "H", (0, 2, 3, 16384)),
    "precision": (36, "B", (0, 6, 8, 11, 15, 0x87, 0x8B, 0x8F, 127)),
    "XRsiz": (37, "B", (0, 2, 255)),
    "YRsiz": (38, "B", (0, 2, 255)),
}
COD: Fields = {
    "coding style": (0, "B", (1, 2, 4, 255)),
    "progression": (1, "B", (1, 4, 5, 255)),
    "layers": (2, "H", (0, 2, 65535)),
    "component transform": (4, "B", (1, 2, 255)),
    "levels": (5, "B", (0, 1, 4, 6, 32, 33, 255)),
    "block width": (6, "B", (0, 3, 8, 255)),
    "block style": (8, "B", (1, 4, 32, 64, 255)),
    "wavelet": (9, "B", (0, 2)),
}
SOT: Fields = {
    "tile": (0, "H", (1, 65535)),
    "tile-part length": (2, "L", (1, 13, 14, 100, 2**31, 2**32 - 1)),
    "tile-part": (6, "B", (1, 255)),
    "tile-parts": (7, "B", (2, 255)),
}
RLE: Fields = {
    "segments": (0, "<L", (0, 1, 3, 15, 16, 2**32 - 1)),
    "first offset": (4, "<L", (0, 63, 65, 10**6)),
    "second offset": (8, "<L", (0, 64, 100, 10**6)),
    "third offset": (12, "<L", (64, 2000, 2**31)),
}
# Only the encoder knows its predictor, its progression order and how it codes blocks; a scan of one
# component leaves its sampling and its name without effect (T.81 A.2.2).
BELIEVED = ("predictor = ", "progression", "block")


@cache
def streams() -> dict[str, tuple[Pixels, int, str, bytes, dict[bytes, Fields]]]:
    """Return samples, bits, syntax, codestream and what its markers can lie about."""
    jpeg = {b"\xff\xc0": FRAME, b"\xff\xda": SCAN}
    lossless = {b"\xff\xc3": FRAME, b"\xff\xda": SCAN | LOSSLESS_SCAN}
    ls = {b"\xff\xf7": FRAME, b"\xff\xda": SCAN | LS_SCAN}
    j2k = {b"\xff\x51": SIZ, b"\xff\x52": COD, b"\xff\x90": SOT}
    ht = codestreams.HTJ2K["htj2k_rgb8.j2c"]()
    captured = (codestreams.CAPTURED / "htj2k_rgb8.j2c").read_bytes()
    plain = codestreams.jpeg_2000
    return {
        "rle 16 bit": (DEEP, 12, "rle", codestreams.rle(DEEP), {b"": RLE}),
        "jpeg": (GRAY, 8, "jpeg", codestreams.jpeg(GRAY), jpeg),
        "jpeg colour": (COLOUR, 8, "jpeg", codestreams.jpeg(COLOUR, 2), jpeg),
        "jpeg-lossless": (DEEP, 12, "jpeg-lossless", codestreams.jpeg_lossless(DEEP, 12), lossless),
        "jpeg-ls": (DEEP, 12, "jpeg-ls", codestreams.jpeg_ls(DEEP, 12), ls),
        "jpeg-2000": (DEEP, 12, "jpeg-2000-lossless", plain(DEEP, 12), j2k),
        "jpeg-2000 colour": (COLOUR, 8, "jpeg-2000-lossless", plain(COLOUR), j2k),
        "htj2k colour": (ht, 8, "htj2k-lossless", captured, j2k),
    }


def lies(data: bytes, fields: dict[bytes, Fields]) -> Iterator[tuple[str, bytes]]:
    """Yield what is said, and the codestream that says it."""
    for marker, body in fields.items():
        start = data.index(marker) + 4 if marker else 0
        for name, (offset, form, values) in body.items():
            for value in values:
                told = bytearray(data)
                order = "" if form.startswith("<") else ">"
                struct.pack_into(order + form, told, start + offset, value)
                if told != data:
                    yield f"{name} = {value}", bytes(told)


def write(path: Path, name: str, data: bytes) -> bytes:
    """Return the DICOM file that holds a codestream of ``streams()[name]``."""
    pixels, bits, syntax, _, _ = streams()[name]
    photometric = "MONOCHROME2"
    if pixels.ndim == 3:
        photometric = "YBR_FULL_422" if syntax == "jpeg" else "RGB"
    made.make(
        path, pixels=pixels, stored=bits, syntax=syntax, encoded=[data], photometric=photometric
    )
    return path.read_bytes()


def judge(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each lie of ``streams()[name]`` and "refused", "same", "wrong" or what must not be."""
    _, _, _, data, fields = streams()[name]
    good = outcome_of(write(folder / "good", name, data), folder / "file")
    if good.kind != "read":
        raise RuntimeError(f"{name} is not read: {good.kind}")
    for what, lie in lies(data, fields):
        found = outcome_of(write(folder / "lie", name, lie), folder / "file")
        yield what, verdict(found, good)


def is_kept(what: str, found: str) -> bool:
    """Whether the promise is kept: refused, or believed because nothing contradicts it."""
    return found in ("refused", "same") or (found == "wrong" and what.startswith(BELIEVED))


def main() -> int:
    """Print the table and the list; exit 1 when a lie that can be known is believed."""
    bad = 0
    counts: dict[str, Counter[str]] = {}
    believed: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in streams():
            told = list(judge(name, Path(folder)))
            counts[name] = Counter(found for _, found in told)
            believed[name] = [f"{what} ({found})" for what, found in told if found != "refused"]
            bad += sum(not is_kept(what, found) for what, found in told)
    print("| codestream | lies | refused | same picture | other picture |\n|---|---|---|---|---|")
    for name, row in counts.items():
        total = sum(row.values())
        print(f"| {name} | {total} | {row['refused']} | {row['same']} | {row['wrong']} |")
    print("\nBelieved:")
    for name, told in believed.items():
        print(f"- {name}: {'; '.join(told) or 'none'}")
    print(f"\nlies that should have been known: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
