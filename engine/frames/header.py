"""Values of a DICOM header: elements found by the native walk, converted without a dictionary."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medge import _native
from medge.engine.frames.asked import Limits
from medge.engine.frames.source import MemorySource, Source
from medge.engine.frames.tags import WANTED, Tag
from medge.errors import InputError

UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_FIRST_CHUNK_BYTES = 1 << 16
_FIRST_RECORDS = 256

# Statuses of cpp_ext/dicom_scan.hpp.
_PIXELS, _END, _NEED_MORE, _NEED_SPACE, _LENGTH, _DEPTH, _STRUCTURE, _VR = range(8)

_TEXT = frozenset(("AE", "AS", "CS", "DS", "IS", "LO", "LT", "SH", "ST", "UC", "UI", "UT"))
_WORDS = frozenset(("US", "SS", "OW", "OB"))
_ACCEPTED = {  # a text may travel as another text, words as bytes; anything else is a lie
    "CS": _TEXT,
    "SH": _TEXT,
    "UI": frozenset(("UI",)),
    "IS": frozenset(("IS", "DS")),
    "DS": frozenset(("IS", "DS")),
    "US": frozenset(("US",)),
    "UL": frozenset(("UL",)),
    "FD": frozenset(("FD",)),
    "US or SS": frozenset(("US", "SS", "OW")),
    "OW": _WORDS,
    "OV": frozenset(("OV", "OB")),
    "SQ": frozenset(("SQ",)),
}
_FORMATS = {"US": "H", "SS": "h", "UL": "I", "FD": "d"}
_INTEGER = re.compile(rb"[+-]?\d{1,12}")
_DECIMAL = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data is: tag, VR letters ("" in implicit VR), offset and stated length."""

    tag: int
    vr: str
    offset: int
    length: int


class Header:
    """The wanted elements of one header, and the bytes that hold their values."""

    def __init__(
        self, data: bytes, records: npt.NDArray[np.uint32], big: bool, pixels: PixelElement | None
    ) -> None:
        self.data = data
        self.records = records
        self.levels = records[:, 1] & 0xFF
        self.big = big
        self.pixels = pixels

    @property
    def top(self) -> Fields:
        """The elements outside any sequence."""
        return Fields(self, 0, len(self.records), 0)


class Items(Sequence["Fields"]):
    """The items of one sequence."""

    def __init__(self, header: Header, starts: Sequence[int], stop: int, level: int) -> None:
        self._header = header
        self._starts = starts
        self._stop = stop
        self._level = level

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> Any:
        begin = self._starts[index]
        last = index + 1 >= len(self._starts)
        end = self._stop if last else self._starts[index + 1]
        return Fields(self._header, begin + 1, end, self._level)

    def __iter__(self) -> Iterator[Fields]:
        return (self[index] for index in range(len(self)))


class Fields:
    """The elements of one data set or item. Absent and empty elements are both None."""

    def __init__(self, header: Header, low: int, high: int, level: int) -> None:
        self._header = header
        self._level = level
        self._high = high
        rows = np.flatnonzero(header.levels[low:high] == level) + low
        tags = header.records[rows, 0].tolist()
        self._index = dict(zip(tags, rows.tolist(), strict=True))
        if len(self._index) != len(tags):
            raise InputError(
                "repeated-element",
                "an element that describes the picture occurs twice, so the file contradicts "
                "itself. Export it again.",
            )

    def has(self, tag: Tag) -> bool:
        """Whether the element is present with a value."""
        row = self._index.get(tag.number)
        return row is not None and int(self._header.records[row, 3]) != 0

    def raw(self, tag: Tag) -> tuple[bytes, str, bool] | None:
        """Value bytes, VR letters ("" when the file does not say) and whether big endian."""
        row = self._index.get(tag.number)
        if row is None:
            return None
        _, packed, offset, length = self._header.records[row].tolist()
        if length == 0:
            return None
        letters = packed >> 16
        vr = chr(letters >> 8) + chr(letters & 0xFF) if letters else ""
        if vr == "UN":
            vr = ""
        if vr and vr not in _ACCEPTED[tag.vr]:
            raise InputError(
                "vr-mismatch",
                f"{tag} has VR {vr}; the standard says {tag.vr}. Export the file again.",
            )
        big = self._header.big and not packed & 0x100
        return self._header.data[offset : offset + length], vr, big

    def items(self, tag: Tag) -> Items:
        """Items of a sequence; empty when the file has none."""
        row = self._index.get(tag.number)
        if row is None:
            return Items(self._header, (), 0, 0)
        self.raw(tag)  # refuses a VR that is not SQ
        level = self._level + 1
        levels = self._header.levels[row + 1 : self._high]
        outside = np.flatnonzero(levels < level)
        stop = row + 1 + int(outside[0]) if len(outside) else self._high
        tags = self._header.records[row + 1 : stop, 0]
        starts = np.flatnonzero((tags == _ITEM) & (levels[: len(tags)] == level)) + row + 1
        return Items(self._header, starts.tolist(), stop, level)

    def integers(self, tag: Tag, signed: bool = False) -> tuple[int, ...]:
        """US, SS, UL or IS values. ``signed`` settles "US or SS" where the file does not say."""
        found = self.raw(tag)
        if found is None:
            return ()
        data, vr, big = found
        if tag.vr == "IS":
            return tuple(int(part) for part in self._parts(tag, data, _INTEGER))
        if tag.vr == "US or SS":
            kind = vr if vr in ("US", "SS") else ("SS" if signed else "US")
        else:
            kind = tag.vr
        return self._unpack(tag, data, _FORMATS[kind], big)

    def integer(self, tag: Tag) -> int | None:
        """One integer; InputError when there are several."""
        values = self.integers(tag)
        if len(values) > 1:
            raise _malformed(tag, "one value")
        return values[0] if values else None

    def decimals(self, tag: Tag) -> tuple[float, ...]:
        """DS or FD values, all finite."""
        found = self.raw(tag)
        if found is None:
            return ()
        data, _, big = found
        if tag.vr == "FD":
            values = self._unpack(tag, data, "d", big)
        else:
            values = tuple(float(part) for part in self._parts(tag, data, _DECIMAL))
        if not all(-1e300 < value < 1e300 for value in values):
            raise _malformed(tag, "finite numbers")
        return values

    def decimal(self, tag: Tag) -> float | None:
        """One DS or FD value; InputError when there are several."""
        values = self.decimals(tag)
        if len(values) > 1:
            raise _malformed(tag, "one value")
        return values[0] if values else None

    def text(self, tag: Tag) -> str | None:
        """First value of a CS, SH or UI element, trimmed; None when absent or empty."""
        found = self.raw(tag)
        if found is None:
            return None
        first = found[0].split(b"\\", 1)[0].strip(b" \0")
        return first.decode("latin-1") or None

    def words(self, tag: Tag) -> tuple[bytes, bool] | None:
        """Bytes of an OW, OB or US element and whether its words are big endian."""
        found = self.raw(tag)
        return None if found is None else (found[0], found[2])

    @staticmethod
    def _unpack(tag: Tag, data: bytes, code: str, big: bool) -> tuple[Any, ...]:
        size = struct.calcsize("=" + code)
        count, rest = divmod(len(data), size)
        if rest or count > 64:
            raise _malformed(tag, f"values of {size} bytes")
        return struct.unpack(f"{'>' if big else '<'}{count}{code}", data)

    @staticmethod
    def _parts(tag: Tag, data: bytes, pattern: re.Pattern[bytes]) -> list[bytes]:
        if len(data) > 4096:
            raise _malformed(tag, "a short list of numbers")
        text = data.strip(b" \0")
        if not text:
            return []
        parts = [part.strip(b" ") for part in text.split(b"\\")]
        if not all(pattern.fullmatch(part) for part in parts):
            raise _malformed(tag, "numbers only")
        return parts


def read_header(
    source: Source | MemorySource, start: int, explicit: bool, big: bool, limits: Limits
) -> Header:
    """Read from ``start`` up to the pixel data, in growing pieces; InputError when malformed."""
    size = min(source.size, max(_FIRST_CHUNK_BYTES, start + 4096))
    data = source.read(0, size)
    records = np.empty((_FIRST_RECORDS, 4), np.uint32)
    while True:
        found = _native.scan_header(data, start, source.size, explicit, big, False, WANTED, records)
        status, count, offset, tag, vr, length, depth, needed = found
        if status == _NEED_MORE:
            if needed > limits.header_bytes:
                raise InputError(
                    "header-budget",
                    f"the header needs more than {limits.header_bytes} bytes before its pixel "
                    "data. It is not a picture, or it is damaged.",
                )
            size = min(source.size, max(needed, 4 * size), limits.header_bytes)
            data += source.read(len(data), size - len(data))
        elif status == _NEED_SPACE:
            records = np.empty((4 * len(records), 4), np.uint32)
        elif status in (_PIXELS, _END):
            break
        else:
            raise fault(status, offset, tag, length, depth)
    pixels = None
    if status == _PIXELS:
        letters = chr(vr >> 8) + chr(vr & 0xFF) if vr else ""
        pixels = PixelElement(tag, letters, offset, length)
    return Header(data, records[:count].copy(), big, pixels)


def fault(status: int, offset: int, tag: int, length: int, depth: int) -> InputError:
    """Say what the walk found wrong."""
    where = f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {offset}"
    if status == _LENGTH:
        return InputError(
            "element-length",
            f"{where} claims {length} bytes, more than there are left. The file is cut short or "
            "damaged; copy it again.",
        )
    if status == _DEPTH:
        return InputError("nesting", f"{where} is nested more than {depth} sequences deep.")
    if status == _VR:
        return InputError(
            "vr-invalid",
            f"{where} has no valid VR. The file is damaged, or its transfer syntax is wrong.",
        )
    return InputError(
        "structure", f"{where} is an item or delimiter where none may be. The file is damaged."
    )


def _malformed(tag: Tag, expected: str) -> InputError:
    return InputError("bad-value", f"{tag} does not hold {expected}. Export the file again.")
