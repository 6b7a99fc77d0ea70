"""Frames: stored values as the file holds them, and what those values mean."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

# Reads from a file descriptor and an offset; returns 0, an errno, or -1 when the file ends early.
Reader: TypeAlias = Callable[[int, int], int]
Stored: TypeAlias = npt.NDArray[Any]  # uint8, int8, uint16, int16 or float32; see Frame.stored


class Packing(enum.Enum):
    """How samples lie in ``Frame.stored``."""

    MONO = "mono"  # (h, w)
    INTERLEAVED = "interleaved"  # (h, w, 3)
    PLANAR = "planar"  # (3, h, w)
    YBR_422 = "ybr-422"  # (h, w / 2, 4): Y0 Y1 Cb Cr for two pixels (PS3.3 C.7.6.3.1.2)


class Colour(enum.Enum):
    """What the samples are."""

    GRAY = "gray"
    PALETTE = "palette"
    RGB = "rgb"
    YBR_FULL = "ybr-full"


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality rescale: output units = stored * slope + intercept (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Lut:
    """A look-up table of one channel (PS3.3 C.11.1.1.1, C.11.2.1.1, C.7.6.3.1.5).

    ``first`` is the input value of entry 0; inputs below and above take the first and last entry.
    ``values`` are the entries, uint16, shape (n,); ``bits`` is the depth they use (8..16).
    """

    first: int
    values: npt.NDArray[np.uint16]
    bits: int


@dataclass(frozen=True, slots=True)
class Window:
    """VOI window in modality units (PS3.3 C.11.2.1.2): LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    shape: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Palette:
    """Three tables, all of one length; entries of ``bits`` depth map to display 0..1."""

    red: Lut
    green: Lut
    blue: Lut


@dataclass(frozen=True, slots=True)
class Region:
    """An ultrasound region (0018,6011): rows [y0, y1), columns [x0, x1), inside the frame."""

    x0: int
    y0: int
    x1: int
    y1: int
    tissue: bool  # Region Data Type (0018,6014) is 1, tissue


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the stored values of one frame are, and the display transforms the file asks for.

    Sample value of a stored word: shift right by ``high_bit + 1 - bits_stored``, mask to
    ``bits_stored`` bits, sign-extend when ``signed``. ``swapped``: words are in the other byte
    order. Display value: modality, VOI, then 1 - x when ``inverted`` (MONOCHROME1 or
    Presentation LUT Shape INVERSE, applied after VOI), padding values becoming 0 at the end.
    """

    rows: int
    columns: int
    photometric: str  # (0028,0004) of the frame as decoded
    colour: Colour
    packing: Packing
    bits_stored: int
    high_bit: int
    signed: bool = False
    swapped: bool = False
    modality: Rescale | Lut | None = None
    voi: tuple[Window | Lut, ...] = ()
    inverted: bool = False
    padding: tuple[int, int] | None = None  # inclusive range of stored values
    palette: Palette | None = None
    regions: tuple[Region, ...] = ()


class Unread(Protocol):
    """Stored values that are still in their file, row after row, not planar.

    Both methods raise InputError when the file does not hold them any more.
    """

    dtype: np.dtype[Any]

    def read(self) -> Stored:
        """Return the values; the first call reads them."""
        ...

    def pour(self, reader: Reader) -> None:
        """Let ``reader`` read them in its own way."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. ``stored`` may be a view that is valid only until the next frame is read.

    C-contiguous; dtype uint8 or int8 (8 bits allocated), uint16 or int16 (16), float32 (arrays
    handed in by an integrator, already display values 0..1).
    """

    index: int
    values: Stored | Unread
    meaning: Meaning

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return self.values.dtype

    @property
    def stored(self) -> Stored:
        """The stored values, read from the file when that was not done before."""
        return self.values if isinstance(self.values, np.ndarray) else self.values.read()


@dataclass(frozen=True, slots=True)
class Context:
    """What a file says it shows, for the scope check; None where it is silent."""

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    pixel_spacing_mm: tuple[float, float] | None = None  # row, column
    syntax: str | None = None  # transfer syntax UID
    synthetic: bool = False
