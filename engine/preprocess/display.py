"""How stored samples become display values 0..1: a straight line, or a table of all patterns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medge.engine.frames.frame import Lut, Meaning, Palette, Rescale, Window
from medge.engine.preprocess.voi import Range, Target
from medge.errors import InputError

_STEEPEST = 2.0**20  # display a sample; beyond it float32 is too coarse for a line
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's and OpenCV's RGB to gray

Samples = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """Display value: ``clamp((sample - base) * scale + offset, 0, 1)``, pixels in float32."""

    base: float
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Table:
    """Display value by the stored bits of a sample, float32; three in a row for RGB."""

    values: npt.NDArray[np.float32]


def sample_values(meaning: Meaning) -> Samples:
    """Sample value of each pattern of stored bits, int64, shape (2 ** bits_stored,)."""
    patterns = np.arange(2**meaning.bits_stored, dtype=np.int64)
    if not meaning.signed:
        return patterns
    half = 2 ** (meaning.bits_stored - 1)
    values: Samples = (patterns ^ half) - half
    return values


def modality_values(meaning: Meaning) -> Doubles:
    """Modality value of each pattern of stored bits, float64 (PS3.3 C.11.1)."""
    samples = sample_values(meaning)
    modality = meaning.modality
    if modality is None:
        return samples.astype(np.float64)
    if isinstance(modality, Lut):
        return look_up(modality, samples).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values: Doubles = samples.astype(np.float64) * modality.slope + modality.intercept
    if not np.isfinite(values).all():
        raise InputError(
            "rescale", "the rescaled values are beyond all numbers. Export the file again."
        )
    return values


def look_up(lut: Lut, values: Samples) -> npt.NDArray[np.uint16]:
    """Entries of a LUT; inputs outside take its first or last entry (PS3.3 C.11.1.1.1)."""
    return lut.values[np.clip(values - lut.first, 0, len(lut.values) - 1)]


def gray(meaning: Meaning, target: Target) -> Line | Table:
    """Display of gray whole-number samples through modality, VOI, inversion and padding."""
    if isinstance(target, Range) and not isinstance(meaning.modality, Lut):
        line = _line(meaning, target)
        if line is not None:
            return line
    with np.errstate(over="ignore", invalid="ignore"):
        shown = _apply(target, modality_values(meaning))
    if np.isnan(shown).any():
        raise InputError("voi-window", "the window is beyond all numbers. Export the file again.")
    shown = np.clip(shown, 0.0, 1.0)
    if meaning.inverted:
        shown = 1.0 - shown
    if meaning.padding is not None:
        low, high = meaning.padding
        samples = sample_values(meaning)
        shown[(samples >= low) & (samples <= high)] = 0.0
    return Table(shown.astype(np.float32))


def _line(meaning: Meaning, target: Range) -> Line | None:
    """Fold modality, VOI and inversion into one line, in float64; None when it is too steep."""
    rescale = meaning.modality if isinstance(meaning.modality, Rescale) else Rescale(1.0, 0.0)
    span = target.high - target.low
    if span <= 0 or not abs(rescale.slope) <= _STEEPEST * span:
        return None
    black = (target.low - rescale.intercept) / rescale.slope
    # A whole number of 17 bits and sign, so that sample - base is exact in float32.
    base = float(math.floor(min(max(black, -65536.0), 65536.0) + 0.5))
    scale = rescale.slope / span
    offset = (base * rescale.slope + rescale.intercept - target.low) / span
    if not max(abs(scale), abs(offset)) < 1e30:
        return None
    return Line(base, -scale, 1.0 - offset) if meaning.inverted else Line(base, scale, offset)


def _apply(target: Target, values: Doubles) -> Doubles:
    if isinstance(target, Lut):
        # Fractions cannot be looked up; they take the nearest entry, halves the higher.
        nearest = np.floor(np.clip(values, -(2.0**31), 2.0**31) + 0.5).astype(np.int64)
        return look_up(target, nearest) / float(2**target.bits - 1)
    if isinstance(target, Window):  # SIGMOID (PS3.3 C.11.2.1.3.1)
        return 1.0 / (1.0 + np.exp(-4.0 * (values - target.center) / target.width))
    if target.high <= target.low:
        return (values > target.low).astype(np.float64)
    return (values - target.low) / (target.high - target.low)


def float_gray(target: Range, inverted: bool) -> Line:
    """Display of float samples between two of them."""
    scale = 1.0 / (target.high - target.low)
    return Line(target.low, -scale, 1.0) if inverted else Line(target.low, scale, 0.0)


def colour(meaning: Meaning) -> Line:
    """Display of RGB samples, or of the Y of YCbCr: the full range of the stored bits."""
    return Line(0.0, 1.0 / (2**meaning.bits_stored - 1), 0.0)


def ybr(meaning: Meaning) -> Line:
    """Scale of YCbCr samples; base is the chroma of gray (PS3.3 C.7.6.3.1.2)."""
    return Line(float(2 ** (meaning.bits_stored - 1)), 1.0 / (2**meaning.bits_stored - 1), 0.0)


def palette(meaning: Meaning, tables: Palette, wants_gray: bool) -> Table:
    """Display of palette samples (PS3.3 C.7.6.3.1.5); their luma when gray is wanted."""
    samples = sample_values(meaning)
    red, green, blue = (
        look_up(lut, samples) / float(2**lut.bits - 1)
        for lut in (tables.red, tables.green, tables.blue)
    )
    if wants_gray:
        return Table((_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).astype(np.float32))
    return Table(np.concatenate((red, green, blue)).astype(np.float32))
