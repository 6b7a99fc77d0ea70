"""DICOM files: from an open file to frames, refusing what contradicts itself."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from medge.engine.frames import meta
from medge.engine.frames.asked import Asked
from medge.engine.frames.context import read_context
from medge.engine.frames.frame import Context, Frame
from medge.engine.frames.header import Header, PixelElement, read_header
from medge.engine.frames.image_pixel import read_image_pixel
from medge.engine.frames.inflate import inflate
from medge.engine.frames.meaning import Meanings
from medge.engine.frames.native import NativeFrames
from medge.engine.frames.source import MemorySource, Source
from medge.engine.frames.tags import PIXEL_DATA
from medge.errors import InputError


class _Frames(Protocol):
    count: int
    notes: tuple[str, ...]

    def frame(self, index: int) -> Frame: ...


class DicomStudy:
    """One DICOM file, open for reading. Not for use by two threads at once."""

    def __init__(
        self,
        source: Source | MemorySource,
        context: Context,
        frames: _Frames,
        notes: tuple[str, ...],
    ) -> None:
        self._source = source
        self._context = context
        self._frames = frames
        self._notes = notes

    @property
    def context(self) -> Context:
        """What the file says it shows."""
        return self._context

    @property
    def frame_count(self) -> int:
        """Frames that can be read."""
        return self._frames.count

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts about how the file is read; a decoder may add some with its first frame."""
        return self._notes + self._frames.notes

    def frame(self, index: int) -> Frame:
        """Read frame ``index``, 0-based; its array is valid until the next call."""
        if not 0 <= index < self._frames.count:
            raise IndexError(f"frame {index} of {self._frames.count}")
        return self._frames.frame(index)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> DicomStudy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_dicom(source: Source, head: bytes, asked: Asked) -> DicomStudy:
    """Read the header and make ready to read frames; the study owns ``source`` afterwards."""
    found = meta.read_meta(source, head, asked)
    native = found.syntax in meta.NATIVE
    decoder = None
    if not native:
        from medge.engine.decoders import decoder_for

        decoder = decoder_for(found.syntax, asked.allow_gdcm)
    body: Source | MemorySource = source
    start = found.start
    if found.syntax == meta.DEFLATED:
        body, start = inflate(source, start, asked.limits), 0
    big = found.syntax == meta.EXPLICIT_BIG
    explicit, switched = _vr_kind(body, start, found.syntax)
    header = read_header(body, start, explicit, big, asked.limits)
    element = _pixel_element(header)
    top = header.top
    pixel = read_image_pixel(top, native, asked.limits)
    meanings = Meanings(top, pixel, swapped=big and pixel.bits_allocated == 16)
    frames: _Frames
    if decoder is None:
        words = big and pixel.bits_allocated == 8 and element.vr == "OW"
        frames = NativeFrames(body, pixel, element, meanings, words_swapped=words, asked=asked)
    else:
        from medge.engine.frames.compressed import CompressedFrames

        frames = CompressedFrames(
            source,
            header,
            element,
            pixel,
            meanings,
            decoder=decoder,
            asked=asked,
        )
    body.check_unchanged()
    assumed = ("assumed-syntax",) if found.assumed else ()
    notes = assumed + switched + pixel.notes + meanings.notes
    return DicomStudy(body, read_context(top, found.syntax), frames, notes)


def _vr_kind(body: Source | MemorySource, start: int, syntax: str) -> tuple[bool, tuple[str, ...]]:
    """Whether the data set has explicit VRs, and a note when its syntax says otherwise.

    Real files exist that write the other kind than they name. The first element settles it: two
    letters where the VR belongs, which as an implicit length would be a gigabyte.
    """
    explicit = syntax != meta.IMPLICIT_LITTLE
    if syntax == meta.EXPLICIT_BIG or body.size - start < 8:
        return explicit, ()
    letters = body.read(start + 4, 2)
    found = letters.isalpha() and letters.isupper()
    if found == explicit:
        return explicit, ()
    return found, ("explicit-vr-found",) if found else ("implicit-vr-found",)


def _pixel_element(header: Header) -> PixelElement:
    element = header.pixels
    if element is None:
        raise InputError(
            "no-pixel-data",
            "it holds no pixel data: a report, a plan, or a picture that lost its pixels.",
        )
    if element.tag != PIXEL_DATA:
        raise InputError(
            "float-pixels",
            "it holds floating-point pixel data; medge reads 8 and 16-bit integers. Convert it.",
        )
    return element
