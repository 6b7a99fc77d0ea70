"""Look-up tables of DICOM: modality, VOI and palette, plain and segmented."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medge.engine.frames import tags
from medge.engine.frames.frame import Lut, Palette
from medge.engine.frames.header import Fields
from medge.engine.frames.image_pixel import missing
from medge.engine.frames.tags import Tag
from medge.errors import InputError

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_Words = npt.NDArray[np.uint16]


def read_lut(item: Fields, signed: bool) -> Lut:
    """Read an item of a modality or VOI LUT sequence (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Parameters
    ----------
    signed
        The first input value is signed where the file does not say (implicit VR).
    """
    count, first, bits = _descriptor(item, tags.LUT_DESCRIPTOR, signed)
    return Lut(first, _table(item, tags.LUT_DATA, count, bits), bits)


def read_palette(top: Fields, signed: bool) -> Palette:
    """Read the three palette tables, segmented ones expanded (PS3.3 C.7.6.3.1.5, C.7.9.2)."""
    described = [_descriptor(top, tag, signed) for tag in tags.PALETTE_DESCRIPTORS]
    if len(set(described)) != 1:
        raise InputError(
            "palette", "the red, green and blue palettes differ in size or depth. Export it again."
        )
    count, first, bits = described[0]
    tables = []
    for plain, segmented in zip(tags.PALETTE_DATA, tags.PALETTE_SEGMENTS, strict=True):
        if top.has(plain):
            values = _table(top, plain, count, bits)
        elif top.has(segmented):
            values = _expand(top, segmented, count, bits)
        else:
            raise missing(plain)
        tables.append(Lut(first, values, bits))
    return Palette(*tables)


def _descriptor(fields: Fields, tag: Tag, signed: bool) -> tuple[int, int, int]:
    """Entries, first input value, bits of an entry. Only the middle number may be signed."""
    values = fields.integers(tag, signed)
    if not values:
        raise missing(tag)
    if len(values) != 3:
        raise InputError("lut", f"{tag} holds {len(values)} numbers; expected 3.")
    count, first, bits = values[0] & 0xFFFF or 65536, values[1], values[2]
    if not 8 <= bits <= 16:
        raise InputError("lut", f"{tag} says {bits} bits an entry; expected 8 to 16.")
    return count, first, bits


def _table(fields: Fields, tag: Tag, count: int, bits: int) -> _Words:
    found = fields.words(tag)
    if found is None:
        raise missing(tag)
    data, big = found
    if len(data) == 2 * count:
        values = np.frombuffer(data, ">u2" if big else "<u2").astype(np.uint16)
    elif bits == 8 and len(data) == count + count % 2:
        values = _bytes_of(data, big)[:count].astype(np.uint16)
    else:
        raise InputError(
            "lut", f"{tag} holds {len(data)} bytes; {count} entries of {bits} bits were promised."
        )
    return _within(tag, values, bits)


def _within(tag: Tag, values: _Words, bits: int) -> _Words:
    highest = int(values.max())
    if highest >> bits:
        raise InputError("lut", f"{tag} holds the entry {highest}, which is not {bits} bits deep.")
    values.flags.writeable = False
    return values


def _bytes_of(data: bytes, big: bool) -> npt.NDArray[np.uint8]:
    """8-bit entries travel two to a word, the first in the low byte (PS3.5 8.1.1 and Annex D)."""
    plain = np.frombuffer(data, np.uint8)
    return plain.reshape(-1, 2)[:, ::-1].reshape(-1) if big else plain


def _expand(fields: Fields, tag: Tag, count: int, bits: int) -> _Words:
    """Expand a segmented palette (PS3.3 C.7.9.2); InputError when it does not add up."""
    found = fields.words(tag)
    if found is None or (bits > 8 and len(found[0]) % 2):
        raise missing(tag)
    data, big = found
    if bits == 8:
        numbers = _bytes_of(data, big).tolist()
    else:
        numbers = np.frombuffer(data, ">u2" if big else "<u2").tolist()
    expanded = _Segments(tag, numbers, count, bits).expand()
    return _within(tag, np.array(expanded, np.uint16), bits)


class _Segments:
    """The segments of one table, and what they have expanded to so far."""

    def __init__(self, tag: Tag, numbers: list[int], count: int, bits: int) -> None:
        self._tag = tag
        self._numbers = numbers
        self._count = count
        self._offset_parts = 4 if bits == 8 else 2  # an offset is 32 bits wide
        self._out: list[int] = []

    def expand(self) -> list[int]:
        end = len(self._numbers)
        at = 0
        # One trailing zero byte makes the length of an 8-bit table even.
        while at < end and len(self._out) < self._count:
            at = self._segment(at, allow_indirect=True)
        if len(self._out) != self._count or end - at > 1:
            raise self._wrong(f"expands to {len(self._out)} entries; {self._count} were promised")
        return self._out

    def _segment(self, at: int, allow_indirect: bool) -> int:
        if at + 2 >= len(self._numbers):
            raise self._wrong("ends inside a segment")
        kind, length = self._numbers[at], self._numbers[at + 1]
        at += 2
        if length == 0:  # would let a small file ask for endless work
            raise self._wrong("has an empty segment")
        if kind == _DISCRETE:
            self._append(self._take(at, length))
            return at + length
        if kind == _LINEAR:
            self._line(length, self._numbers[at])
            return at + 1
        if kind == _INDIRECT and allow_indirect:
            self._copy(length, self._take(at, self._offset_parts))
            return at + self._offset_parts
        raise self._wrong(f"has a segment of type {kind}")

    def _line(self, length: int, target: int) -> None:
        """Straight line from the entry before to ``target``, which becomes the last entry."""
        if not self._out:
            raise self._wrong("begins with a line from nowhere")
        begin = self._out[-1]
        if begin == target:
            self._append([target] * length)
            return
        step = (target - begin) / length
        self._append([round(begin + step * place) for place in range(1, length)])
        self._append([target])

    def _copy(self, segments: int, parts: list[int]) -> None:
        width = 16 if self._offset_parts == 2 else 8
        offset = sum(part << (width * place) for place, part in enumerate(parts))
        at = offset // (1 if width == 8 else 2)
        for _ in range(segments):
            at = self._segment(at, allow_indirect=False)  # C.7.9.2.3 forbids nesting

    def _append(self, values: list[int]) -> None:
        if len(self._out) + len(values) > self._count:
            raise self._wrong(f"expands to more than the {self._count} entries promised")
        self._out += values

    def _take(self, at: int, length: int) -> list[int]:
        taken = self._numbers[at : at + length]
        if len(taken) != length:
            raise self._wrong("ends inside a segment")
        return taken

    def _wrong(self, what: str) -> InputError:
        return InputError("lut", f"{self._tag} {what}. Export the file again.")
