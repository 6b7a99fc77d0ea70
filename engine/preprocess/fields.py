"""What the native plan is made from: the words of cpp_ext/plan.hpp, filled in."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from medge.engine.frames.frame import Meaning, Packing
from medge.engine.manifest import Enhance, ImageInput
from medge.engine.preprocess.axes import Axis
from medge.engine.preprocess.place import Place


class Word(IntEnum):
    """Stored words; SWAPPED ones are in the other byte order."""

    U8 = 0
    U16 = 1
    U16_SWAPPED = 2
    F32 = 3


class Map(IntEnum):
    """How stored samples become display values."""

    LINE = 0
    TABLE = 1
    PALETTE = 2
    YBR = 3


class Want(IntEnum):
    """What is wanted of three samples a pixel; FIRST is the Y of YCbCr."""

    COLOUR = 0
    LUMA = 1
    FIRST = 2


_PACKING = {
    Packing.MONO: 0,
    Packing.INTERLEAVED: 1,
    Packing.PLANAR: 2,
    Packing.YBR_422: 3,
}


def word_of(dtype: np.dtype[np.generic], swapped: bool) -> Word:
    """Return the kind of word in an array of uint8, int8, uint16, int16 or float32."""
    if dtype.kind == "f":
        return Word.F32
    if dtype.itemsize == 1:
        return Word.U8
    return Word.U16_SWAPPED if swapped else Word.U16


def plan_fields(
    spec: ImageInput, meaning: Meaning, where: Place, *, word: Word, kind: Map, want: Want
) -> tuple[dict[str, object], Axis]:
    """Return the fields of PlanSpec, and the column axis on the columns that are read."""
    begin = int(where.columns.first[0])
    if meaning.packing is Packing.YBR_422:
        begin -= begin % 2  # pairs of pixels are not cut
    columns = where.columns.moved(-begin)
    fields: dict[str, object] = {
        "word": int(word),
        "packing": _PACKING[meaning.packing],
        "map": int(kind),
        "want": int(want),
        "signed": meaning.signed,
        "bits_stored": meaning.bits_stored,
        "high_bit": meaning.high_bit,
        "rows": meaning.rows,
        "columns": meaning.columns,
        "begin": begin,
        "width": columns.end,
        "top": where.top,
        "left": where.left,
    }
    return {**fields, **_tensor_fields(spec), **_enhance_fields(spec.enhance, spec)}, columns


def _tensor_fields(spec: ImageInput) -> dict[str, object]:
    spare = 3 - len(spec.mean)
    return {
        "channels": spec.channels,
        "height": spec.height,
        "out_width": spec.width,
        "pad": spec.resize.pad,
        "rounded": spec.resize.rounding == "uint8",
        "bytes": spec.dtype == "uint8",
        "nhwc": spec.layout == "NHWC",
        "mean": [*spec.mean, *[0.0] * spare],
        "inverse_std": [*(1.0 / std for std in spec.std), *[1.0] * spare],
    }


def _enhance_fields(enhance: Enhance, spec: ImageInput) -> dict[str, object]:
    tiles = enhance.clahe_tiles if enhance.equalize == "clahe" else 0
    height, width = spec.height, spec.width
    if tiles and (height % tiles or width % tiles):
        # OpenCV extends both sides when one does not divide, an even one by a whole row of tiles.
        height += tiles - height % tiles
        width += tiles - width % tiles
    tile_height, tile_width = (height // tiles, width // tiles) if tiles else (0, 0)
    return {
        "median": enhance.median,
        "histogram": enhance.equalize == "histogram",
        "tiles": tiles,
        "tile_height": tile_height,
        "tile_width": tile_width,
        "clip": _clip(enhance.clahe_clip, tile_height * tile_width),
    }


def _clip(limit: float, pixels: int) -> int:
    """Most pixels of a tile that may have one of 256 values, as OpenCV counts them."""
    return max(1, min(int(limit * pixels / 256), 2**30))
