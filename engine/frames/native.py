"""Frames of uncompressed DICOM: one at a time, in their file or one buffer, not interpreted."""

from __future__ import annotations

from typing import Any

import numpy as np

from medge.engine.frames import tags
from medge.engine.frames.asked import Asked
from medge.engine.frames.frame import Frame, Packing, Reader, Stored
from medge.engine.frames.header import UNDEFINED, PixelElement
from medge.engine.frames.image_pixel import ImagePixel
from medge.engine.frames.meaning import Meanings
from medge.engine.frames.source import MemorySource, Source
from medge.errors import InputError


class NativeFrames:
    """Reads frame after frame into the same buffer, so a long cine needs no more memory.

    ``words_swapped``: 8-bit samples that travel in big-endian words (VR OW), so each pair of bytes
    is the wrong way round (PS3.5 8.1.1).
    """

    def __init__(
        self,
        source: Source | MemorySource,
        pixel: ImagePixel,
        element: PixelElement,
        meanings: Meanings,
        *,
        words_swapped: bool,
        asked: Asked,
    ) -> None:
        self._source = source
        self._meanings = meanings
        self._offset = element.offset
        self._frame_bytes = pixel.frame_bytes
        self._words_swapped = words_swapped
        self.count = _whole_frames(source.size, pixel, element, words_swapped, asked.partial)
        self.notes: tuple[str, ...] = ()
        if self.count < pixel.frames:
            self.notes = (f"partial: {self.count} of {pixel.frames} frames",)
        buffer = np.empty(self._frame_bytes + 2, np.uint8)  # + 2: a word may start one byte early
        self._buffer = buffer
        kind = "i" if pixel.signed else "u"
        dtype = np.dtype(f"{kind}{pixel.bits_allocated // 8}")
        self._views = tuple(
            buffer[shift : shift + self._frame_bytes].view(dtype).reshape(pixel.shape)
            for shift in ((0, 1) if words_swapped else (0,))
        )
        self._target = buffer.data
        self._in_rows = not words_swapped and pixel.packing is not Packing.PLANAR

    def frame(self, index: int) -> Frame:
        """Return one frame; its view is valid until the next call.

        Samples that lie row after row in a file are not read yet, see ``Unread``.
        """
        if self._in_rows and isinstance(self._source, Source):
            self._source.check_unchanged()
            begin = self._offset + index * self._frame_bytes
            unread = _InFile(self._source, begin, self._target[: self._frame_bytes], self._views[0])
            return Frame(index, unread, self._meanings.of(index))
        return Frame(index, self._read(index), self._meanings.of(index))

    def _read(self, index: int) -> Stored:
        begin = index * self._frame_bytes
        shift = begin % 2 if self._words_swapped else 0
        stop = begin + self._frame_bytes
        if self._words_swapped:
            stop += stop % 2
        begin -= shift
        self._source.read_into(self._target[: stop - begin], self._offset + begin)
        self._source.check_unchanged()
        if self._words_swapped:
            self._buffer[: stop - begin].view(np.uint16).byteswap(inplace=True)
        return self._views[shift]


class _InFile:
    """The samples of one frame, at an offset of a file (Unread)."""

    def __init__(self, source: Source, offset: int, target: memoryview, view: Stored) -> None:
        self.dtype: np.dtype[Any] = view.dtype
        self._source = source
        self._offset = offset
        self._target: memoryview | None = target
        self._view = view

    def read(self) -> Stored:
        if self._target is not None:
            self._source.read_into(self._target, self._offset)
            self._source.check_unchanged()
            self._target = None
        return self._view

    def pour(self, reader: Reader) -> None:
        self._source.pour(reader, self._offset)
        self._source.check_unchanged()


def _whole_frames(
    size: int, pixel: ImagePixel, element: PixelElement, words: bool, partial: bool
) -> int:
    """Check the length of the pixel data against the picture; return the frames that are there."""
    if element.length == UNDEFINED:
        raise InputError(
            "encapsulation",
            "the pixel data is encapsulated, but the transfer syntax says it is not. "
            "The file contradicts itself; export it again.",
        )
    need = pixel.frame_bytes * pixel.frames
    left = size - element.offset
    have = min(element.length, left)
    if have >= need + (need % 2 if words else 0):
        if element.length > need + need % 2:  # an odd length gets one byte of padding
            raise InputError(
                "pixel-length",
                f"the pixel data is longer than the picture: need {need} bytes, have "
                f"{element.length}. {_wrong_size(pixel)}",
            )
        if element.length > left:
            raise InputError("truncated", "the file ends before its pixel data does.")
        return pixel.frames
    whole = have // pixel.frame_bytes
    if partial and 0 < whole < pixel.frames:
        return whole
    at = f"in frame {whole} of {pixel.frames} (0-based): " if pixel.frames > 1 else ""
    more = " --partial reads the whole frames before it." if whole else ""
    if element.length > left:
        raise InputError(
            "truncated",
            f"the file ends in its pixel data, {at}need {need} bytes, have {left}. "
            f"Copy it again.{more}",
        )
    raise InputError(
        "pixel-length",
        f"the pixel data is shorter than the picture, {at}need {need} bytes, have {have}. "
        f"{_wrong_size(pixel)}{more}",
    )


def _wrong_size(pixel: ImagePixel) -> str:
    return (
        f"{tags.ROWS}, {tags.COLUMNS} ({pixel.rows} x {pixel.columns}) or another field is wrong; "
        "export the file again."
    )
