"""Look-up tables of DICOM: modality, VOI and palette, plain and segmented."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medge._native import expand_segments
from medge.engine.frames import tags
from medge.engine.frames.frame import Lut, Palette
from medge.engine.frames.header import Fields
from medge.engine.frames.image_pixel import missing
from medge.engine.frames.tags import Tag
from medge.errors import InputError

_WRONG = {  # what the status of expand_segments means
    1: "ends inside a segment",
    2: "has an empty segment",
    3: "has a segment of type {kind}",
    4: "begins with a line from nowhere",
    5: "expands to more than the {count} entries promised",
    6: "expands to {done} entries; {count} were promised",
}
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
    numbers = _bytes_of(data, big) if bits == 8 else np.frombuffer(data, ">u2" if big else "<u2")
    values = np.zeros(count, np.uint16)
    status, done, kind = expand_segments(numbers.astype(np.uint16), values, bits == 8)
    if status:
        wrong = _WRONG[status].format(done=done, count=count, kind=kind)
        raise InputError("lut", f"{tag} {wrong}. Export the file again.")
    return _within(tag, values, bits)
