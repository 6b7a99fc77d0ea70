"""Frames and specs that tests of preprocessing write by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medge.engine.frames.frame import Colour, Frame, Meaning, Packing
from medge.engine.manifest import ImageInput
from medge.engine.preprocess import Preprocessor

Values = npt.NDArray[Any]


def gray(stored: Values, **changes: Any) -> Frame:
    """Return a gray frame that uses all bits of its dtype."""
    bits = 8 * stored.dtype.itemsize
    meaning = Meaning(
        rows=stored.shape[0],
        columns=stored.shape[1],
        photometric="MONOCHROME2",
        colour=Colour.GRAY,
        packing=Packing.MONO,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=stored.dtype.kind == "i",
    )
    return Frame(0, stored, replace(meaning, **changes))


def rgb(stored: Values, **changes: Any) -> Frame:
    """Return a frame of (h, w, 3) samples."""
    bits = 8 * stored.dtype.itemsize
    meaning = Meaning(
        rows=stored.shape[0],
        columns=stored.shape[1],
        photometric="RGB",
        colour=Colour.RGB,
        packing=Packing.INTERLEAVED,
        bits_stored=bits,
        high_bit=bits - 1,
    )
    return Frame(0, stored, replace(meaning, **changes))


def spec(height: int, width: int, **changes: Any) -> ImageInput:
    """Return a float32 spec whose tensor is the display value."""
    fields: dict[str, Any] = {"channels": 1, "min_side": 1} | changes
    plain = fields.get("dtype") == "uint8"
    fields.setdefault("mean", () if plain else (0.0,) * fields["channels"])
    fields.setdefault("std", () if plain else (1.0,) * fields["channels"])
    return ImageInput(name="x", height=height, width=width, **fields)


def prepared(how: ImageInput, frame: Frame, build: str = "") -> Values:
    """Return the tensor of one frame."""
    out = np.zeros(how.shape, how.dtype)
    Preprocessor(how, build).prepare(frame, out)
    return out


def displayed(frame: Frame, **changes: Any) -> Values:
    """Display values of a gray frame, not resized, float32 (h, w)."""
    rows, columns = frame.meaning.rows, frame.meaning.columns
    return prepared(spec(rows, columns, **changes), frame)[0]
