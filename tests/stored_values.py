"""Slow and obvious reading of Frame.stored by the words of Meaning's docstring."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medge.engine.frames.frame import Frame, Lut, Packing

Values = npt.NDArray[Any]


def sample_values(frame: Frame) -> Values:
    """Sample values, int64, shape (h, w) or (h, w, 3); chroma of 422 is repeated."""
    meaning = frame.meaning
    stored = frame.stored.byteswap() if meaning.swapped else frame.stored
    bits = 8 * stored.dtype.itemsize
    words = stored.view(f"u{stored.dtype.itemsize}").astype(np.int64) & (2**bits - 1)
    words = (words >> (meaning.high_bit + 1 - meaning.bits_stored)) & (2**meaning.bits_stored - 1)
    if meaning.signed:
        words = np.where(words >> (meaning.bits_stored - 1), words - 2**meaning.bits_stored, words)
    if meaning.packing is Packing.PLANAR:
        return np.moveaxis(words, 0, -1)
    if meaning.packing is Packing.YBR_422:
        y = words[..., :2].reshape(meaning.rows, meaning.columns)
        chroma = np.repeat(words[..., 2:], 2, axis=1)
        return np.concatenate([y[..., None], chroma], axis=-1)
    return words


def apply_lut(values: Values, lut: Lut) -> Values:
    """Look values up; those outside take the first or the last entry (PS3.3 C.11.1.1.1)."""
    index = np.clip(values - lut.first, 0, len(lut.values) - 1)
    return lut.values[index]


def read_with_pydicom(path: Path, **options: Any) -> Any:
    """Data set as pydicom reads it, its warnings silenced."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(path, **options)


def pydicom_pixels(path: Path) -> Values:
    """Samples as pydicom decodes them, not converted to RGB, shape (frames, h, w[, 3])."""
    from pydicom.pixels import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_with_pydicom(path)
        values = pixel_array(dataset, raw=True)
    colour = dataset.SamplesPerPixel == 3
    return values[None] if values.ndim == 2 + colour else values
