"""What damage goes unseen: truncations, header lies and single bit flips, syntax by syntax.

    python tests/hostile/silent.py [--flips 200]

A silently wrong frame is one that is served although it differs from the undamaged file's.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.outcome import Outcome, outcome_of
from hostile.seeds import syntax_seeds

PIXEL_DATA = b"\xe0\x7f\x10\x00"

# Fields of the Image Pixel module and what they are made to say. Bytes are little endian; the
# lie is told in a copy of the file whose element has the same length.
US_LIES: dict[str, tuple[int, tuple[int, ...]]] = {
    "Samples per Pixel": (0x00280002, (0, 2, 3, 4)),
    "Rows": (0x00280010, (1, 16, 31, 33, 64, 0xFFFF)),
    "Columns": (0x00280011, (1, 18, 35, 37, 72, 0xFFFF)),
    "Bits Allocated": (0x00280100, (1, 12, 16, 32)),
    "Bits Stored": (0x00280101, (0, 1, 7, 9, 12, 16)),
    "High Bit": (0x00280102, (0, 6, 8, 15)),
    "Pixel Representation": (0x00280103, (1, 2)),
}
TEXT_LIES: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "Number of Frames": (0x00280008, (b"0 ", b"1 ", b"3 ", b"9 ", b"-1", b"x ")),
    "Photometric": (0x00280004, (b"MONOCHROME1 ", b"RGB         ", b"YBR_FULL_422")),
}


def verdict(found: Outcome, good: Outcome) -> str:
    """Judge a damaged file: refused, same frames, fewer frames, or silently wrong."""
    if not found.is_typed:
        return found.kind
    if any(digest not in good.digests for digest in found.digests):
        return "wrong"
    if found.kind != "read":
        return "refused"
    return "same" if found.digests == good.digests else "fewer"


def truncations(data: bytes, good: Outcome, path: Path, cuts: int = 100) -> Counter[str]:
    """Cut the file at ``cuts`` places, evenly over its length."""
    counts: Counter[str] = Counter()
    for cut in range(cuts):
        found = outcome_of(data[: len(data) * cut // cuts], path)
        counts[verdict(found, good)] += 1
    return counts


def lies(data: bytes, name: str) -> list[tuple[str, bytes]]:
    """Return files in which one field of the header lies, with what it says."""
    if name == "deflated":
        start = 144 + struct.unpack_from("<I", data, 140)[0]  # after the group length's group
        plain = data[:start] + zlib.decompress(data[start:], -15)
        return [(what, lie[:start] + _deflate(lie[start:])) for what, lie in lies(plain, "")]
    big = name == "big"
    told: list[tuple[str, bytes]] = []
    for field, (tag, values) in US_LIES.items():
        for value in values:
            raw = struct.pack(">H" if big else "<H", value)
            told += _lie(data, tag, raw, f"{field} = {value}", big)
    for field, (tag, texts) in TEXT_LIES.items():
        for text in texts:
            told += _lie(data, tag, text, f"{field} = {text.decode().strip()}", big)
    return told


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _lie(data: bytes, tag: int, value: bytes, what: str, big: bool) -> list[tuple[str, bytes]]:
    order = ">" if big else "<"
    key = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    at = data.find(key, 132)
    if at < 0:
        return []
    length = struct.unpack_from(order + "H", data, at + 6 if data[at + 4] > 32 else at + 4)[0]
    if length != len(value) or data[at + 8 : at + 8 + length] == value:
        return []
    return [(what, data[: at + 8] + value + data[at + 8 + length :])]


def flips(data: bytes, good: Outcome, path: Path, count: int, seed: int = 5) -> Counter[str]:
    """Flip one bit of the pixel data's value, ``count`` times."""
    random = np.random.default_rng(seed)
    begin = max(data.rfind(PIXEL_DATA), data.rfind(b"\x7f\xe0\x00\x10")) + 12
    counts: Counter[str] = Counter()
    for _ in range(count):
        damaged = bytearray(data)
        damaged[int(random.integers(begin, len(data)))] ^= 1 << int(random.integers(8))
        counts[verdict(outcome_of(bytes(damaged), path), good)] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    options = parser.parse_args()
    silent = 0
    unseen: Counter[str] = Counter()
    print("| syntax | 100 truncations: refused, same, wrong | lies: refused, same, wrong ", end="")
    print(f"| {options.flips} bit flips: refused, same, wrong |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for name, data in syntax_seeds().items():
            good = outcome_of(data, path)
            cuts = truncations(data, good, path)
            silent += cuts["wrong"]
            told: Counter[str] = Counter()
            for what, lie in lies(data, name):
                found = verdict(outcome_of(lie, path), good)
                told[found] += 1
                if found != "refused":
                    unseen[f"{what}: {found}"] += 1
            flipped = flips(data, good, path, options.flips)
            print(f"| {name} | {_row(cuts)} | {_row(told)} | {_row(flipped)} |")
    print("\nLies that were read, and in how many of the syntaxes:")
    for what, count in sorted(unseen.items()):
        print(f"  {what} ({count})")
    print(f"\nsilently wrong after truncation: {silent}")
    return 1 if silent else 0


def _row(counts: Counter[str]) -> str:
    told = [str(counts[kind]) for kind in ("refused", "same", "wrong")]
    rest = {kind: n for kind, n in counts.items() if kind not in ("refused", "same", "wrong")}
    return ", ".join(told) + (f" {rest}" if rest else "")


if __name__ == "__main__":
    sys.exit(main())
