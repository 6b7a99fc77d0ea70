"""NPY files: the header is checked against the file's length, frames are read one at a time."""

from __future__ import annotations

import ast
import math
from types import TracebackType
from typing import Any

import numpy as np

from medge.engine.frames.arrays import check_array, check_unit_range, meaning_of
from medge.engine.frames.asked import Asked
from medge.engine.frames.frame import Context, Frame
from medge.engine.frames.source import Source
from medge.errors import InputError

_HEADER_BYTES = 10_000  # as numpy.load allows by default


class NpyStudy:
    """An array file; shapes and dtypes are those of ``from_array``. Pickles are never read."""

    def __init__(self, source: Source, start: int, shape: tuple[int, ...], dtype: Any) -> None:
        colour = len(shape) >= 3 and shape[-1] == 3
        frame_shape = shape[-2 - colour :]
        self._count = math.prod(shape[: len(shape) - len(frame_shape)])
        self._source = source
        self._start = start
        self._buffer = np.empty(frame_shape, dtype)
        self._target = self._buffer.reshape(-1).view(np.uint8).data
        self._meaning = meaning_of(self._buffer[None], None, None, inverted=False)

    @property
    def context(self) -> Context:
        """An array file says nothing of what it shows."""
        return Context()

    @property
    def frame_count(self) -> int:
        """Frames in the file."""
        return self._count

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing to note."""
        return ()

    def frame(self, index: int) -> Frame:
        """Read frame ``index``, 0-based; its array is valid until the next call."""
        if not 0 <= index < self._count:
            raise IndexError(f"frame {index} of {self._count}")
        self._source.read_into(self._target, self._start + index * len(self._target))
        self._source.check_unchanged()
        if self._buffer.dtype.kind == "f":
            check_unit_range(self._buffer)
        return Frame(index, self._buffer, self._meaning)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> NpyStudy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_npy(source: Source, asked: Asked) -> NpyStudy:
    """Check the header (NEP 1) and make ready to read frames; the study owns ``source``."""
    shape, fortran, dtype, start = _header(source)
    check_array(shape, dtype)
    if fortran:
        raise InputError(
            "array-layout", "the array is in Fortran order; save np.ascontiguousarray(array)."
        )
    if dtype.kind == "f" and not dtype.isnative:
        raise InputError("array-layout", "float values are not in native byte order; convert them.")
    colour = len(shape) >= 3 and shape[-1] == 3
    rows, columns = list(shape)[-2 - colour : len(shape) - colour]
    if max(rows, columns) > asked.limits.side or rows * columns > asked.limits.frame_pixels:
        raise InputError(
            "budget",
            f"{rows} x {columns} exceeds the budget of {asked.limits.frame_pixels} pixels "
            f"a frame or {asked.limits.side} a side.",
        )
    need = math.prod(shape) * dtype.itemsize
    if need != source.size - start:
        raise InputError(
            "pixel-length",
            f"the array needs {need} bytes, the file has {source.size - start}. Copy it again.",
        )
    return NpyStudy(source, start, shape, dtype)


def _header(source: Source) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    head = source.read(0, min(source.size, 12))
    width = 2 if head[6:7] == b"\x01" else 4
    start = 8 + width
    length = int.from_bytes(head[8:start], "little")
    if len(head) < start or head[6:7] not in (b"\x01", b"\x02", b"\x03") or length > _HEADER_BYTES:
        raise _damaged()
    if start + length > source.size:
        raise _damaged()
    return (*_fields(source.read(start, length)), start + length)


def _fields(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        found = ast.literal_eval(text.decode("utf-8").strip())
        descr, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise _damaged() from None
    if len(found) != 3 or not isinstance(fortran, bool) or not _is_shape(shape):
        raise _damaged()
    # Only plain numbers: "|O" would be a pickle, lists are records.
    if not isinstance(descr, str) or descr[1:] not in ("u1", "u2", "i2", "f4"):
        raise InputError(
            "array-dtype", "the array's dtype is not uint8, uint16, int16 or float32. Convert it."
        )
    if descr[0] not in "<>|=":
        raise _damaged()
    return shape, fortran, np.dtype(descr)


def _is_shape(shape: object) -> bool:
    if not isinstance(shape, tuple):
        return False
    return all(type(side) is int and 0 <= side < 2**40 for side in shape)


def _damaged() -> InputError:
    return InputError("npy", "the NPY header is damaged. Save the array again with numpy.save.")
