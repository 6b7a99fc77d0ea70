"""Frames from an array in memory: no copy, for integrators who have the pixels already."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from medge.engine.frames.frame import Colour, Context, Frame, Meaning, Packing, Window
from medge.errors import InputError

_DTYPES = ("uint8", "uint16", "int16", "float32")


class ArrayStudy:
    """Frames that are views of one array; they stay valid as long as the array does."""

    def __init__(
        self, stack: npt.NDArray[Any], meaning: Meaning, context: Context, notes: tuple[str, ...]
    ) -> None:
        self._stack = stack
        self._meaning = meaning
        self._context = context
        self._notes = notes

    @property
    def context(self) -> Context:
        """What the caller said it shows."""
        return self._context

    @property
    def frame_count(self) -> int:
        """Frames in the stack."""
        return len(self._stack)

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts about how the array is read."""
        return self._notes

    def frame(self, index: int) -> Frame:
        """Return a view of frame ``index``, 0-based."""
        if not 0 <= index < len(self._stack):
            raise IndexError(f"frame {index} of {len(self._stack)}")
        stored = self._stack[index]
        if stored.dtype == np.float32:
            check_unit_range(stored)
        return Frame(index, stored, self._meaning)

    def close(self) -> None:
        """Nothing to release: the array is the caller's."""

    def __enter__(self) -> ArrayStudy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def from_array(
    array: npt.NDArray[Any],
    *,
    window: Window | None = None,
    inverted: bool = False,
    bits_stored: int | None = None,
    context: Context | None = None,
) -> ArrayStudy:
    """Wrap pixels in memory.

    Parameters
    ----------
    array
        uint8, uint16 or int16 stored values, or float32 display values in 0..1. Shape (h, w) or
        (h, w, 3) RGB, or a stack (n, h, w) or (n, h, w, 3); three dimensions that end in 3 are
        RGB. Each frame must be C-contiguous and in native byte order; it is not copied.
    window
        VOI window of gray integer frames; without one a bundle's ``file`` rule takes the range of
        ``bits_stored``.
    inverted
        Large values are dark, as in MONOCHROME1.
    bits_stored
        Low bits in use, when fewer than the dtype has.
    context
        What the frames show, for the scope check.

    Raises
    ------
    InputError
        The array is none of these, or (from ``frame``) float values leave 0..1.
    """
    stack = as_stack(array)
    if not stack.dtype.isnative:
        raise InputError("array-layout", "the array is not in native byte order; byteswap it.")
    if not stack[0].flags.c_contiguous:
        raise InputError(
            "array-layout", "its frames are not C-contiguous; pass np.ascontiguousarray(array)."
        )
    meaning = meaning_of(stack, bits_stored, window, inverted)
    return ArrayStudy(stack, meaning, context or Context(), ())


def as_stack(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View an array as (n, h, w) or (n, h, w, 3); InputError when shape or dtype is another."""
    check_array(array.shape, array.dtype)
    colour = array.ndim >= 3 and array.shape[-1] == 3
    return array if array.ndim == 3 + colour else array[None]


def check_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise InputError unless shape and dtype are those of ``from_array``."""
    if dtype.newbyteorder("=").name not in _DTYPES:
        raise InputError(
            "array-dtype", f"the array's dtype is {dtype}; expected {', '.join(_DTYPES)}."
        )
    fits = len(shape) in (2, 3) or (len(shape) == 4 and shape[-1] == 3)
    if not fits or 0 in shape:
        raise InputError(
            "array-shape",
            f"the array's shape is {shape}; expected (h, w), (h, w, 3), (n, h, w) or (n, h, w, 3).",
        )


def meaning_of(
    stack: npt.NDArray[Any], bits_stored: int | None, window: Window | None, inverted: bool
) -> Meaning:
    """Describe the frames of a stack from ``as_stack``."""
    colour = stack.ndim == 4
    bits = 8 * stack.dtype.itemsize
    stored = bits if bits_stored is None else bits_stored
    if not 1 <= stored <= bits:
        raise InputError("bits-conflict", f"bits_stored is {stored}; expected 1 to {bits}.")
    if colour and (stack.dtype == np.int16 or window is not None or inverted):
        raise InputError("array-dtype", "colour is unsigned and takes no window or inversion.")
    if stack.dtype.kind == "f" and window is not None:
        raise InputError("array-dtype", "float32 is display values already and takes no window.")
    return Meaning(
        rows=stack.shape[1],
        columns=stack.shape[2],
        photometric="RGB" if colour else ("MONOCHROME1" if inverted else "MONOCHROME2"),
        colour=Colour.RGB if colour else Colour.GRAY,
        packing=Packing.INTERLEAVED if colour else Packing.MONO,
        bits_stored=stored,
        high_bit=stored - 1,
        signed=stack.dtype.kind == "i",
        swapped=not stack.dtype.isnative,
        voi=() if window is None else (window,),
        inverted=inverted,
    )


def check_unit_range(values: npt.NDArray[Any]) -> None:
    """Raise InputError unless all values are in 0..1 (which NaN is not)."""
    low, high = float(values.min()), float(values.max())
    if low >= 0.0 and high <= 1.0:
        return
    if np.isnan(low) or np.isnan(high):
        raise InputError("not-finite-input", "the float picture holds NaN. Check what made it.")
    raise InputError(
        "float-range",
        f"float pictures are display values 0..1; found {low:g} to {high:g}. Scale them, or pass "
        "integers.",
    )
