"""Frames of encapsulated DICOM: fragments checked when opened, decoded one frame at a time."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medge import _native
from medge.engine.decoders import Decoder, Picture
from medge.engine.decoders.encapsulated import frame_spans
from medge.engine.frames import tags
from medge.engine.frames.asked import Asked, Limits
from medge.engine.frames.frame import Frame, Meaning
from medge.engine.frames.header import UNDEFINED, Header, PixelElement
from medge.engine.frames.image_pixel import COLOURS, ImagePixel
from medge.engine.frames.meaning import Meanings
from medge.engine.frames.source import Source
from medge.errors import InputError

Fragment = tuple[int, int]  # offset in the file, length
_DELIMITED, _NEED_SPACE, _UNENDED, _LENGTH, _STRUCTURE, _IO = range(6)
_FIRST_FRAGMENTS = 256
_TAIL_BYTES = 64
_ALIGNMENT_BYTES = 8  # a real cine holds 4 to 7 arbitrary bytes there
_PADDING = b"\0\xff"  # after an end marker: the standard's pad byte, and fill bytes seen in files


class CompressedFrames:
    """Reads the fragments of a frame into one buffer and has them decoded."""

    def __init__(
        self,
        source: Source,
        header: Header,
        element: PixelElement,
        pixel: ImagePixel,
        meanings: Meanings,
        *,
        decoder: Decoder,
        asked: Asked,
    ) -> None:
        if element.length != UNDEFINED:
            raise InputError(
                "encapsulation",
                "the pixel data is not encapsulated, but the transfer syntax compresses it. "
                "The file contradicts itself; export it again.",
            )
        fragments, whole = _fragments(source, element.offset, asked.limits)
        offsets, lengths = _offset_table(source, header, fragments[0], pixel.frames)
        fragments = fragments[1:]
        self.count = pixel.frames
        if not whole:
            self.count, fragments = _before_the_cut(fragments, offsets, pixel.frames, asked)
            offsets, lengths = offsets[: self.count], lengths[: self.count]
        self.notes: tuple[str, ...] = ()
        if not whole:
            self.notes = (f"partial: {self.count} of {pixel.frames} frames",)
        self._spans = frame_spans(fragments, offsets, lengths, self.count, source.read)
        self._source = source
        self._meanings = meanings
        self._decoder = decoder
        self._picture = _picture(pixel, asked)
        self._last: tuple[Meaning, Meaning] | None = None
        self._buffer = np.empty(_largest(self._spans, pixel), np.uint8).data
        if decoder.end_marker:
            self._check_ends(decoder.end_marker)

    def frame(self, index: int) -> Frame:
        """Read and decode one frame; the view is valid until the next call."""
        length = 0
        for offset, size in self._spans[index]:
            self._source.read_into(self._buffer[length : length + size], offset)
            length += size
        self._source.check_unchanged()
        decoded = self._decoder.decode(self._buffer[:length], self._picture)
        self.notes += tuple(note for note in decoded.notes if note not in self.notes)
        said = self._meanings.of(index)
        if self._last is None or self._last[0] is not said:
            meant = replace(
                said,
                photometric=decoded.photometric,
                colour=COLOURS[decoded.photometric],
                packing=decoded.packing,
            )
            self._last = (said, meant)
        return Frame(index, decoded.values, self._last[1])

    def _check_ends(self, marker: bytes) -> None:
        """Look for the end marker of every frame before any is served."""
        for index, span in enumerate(self._spans):
            offset, size = span[-1]
            tail = min(size, _TAIL_BYTES)
            if not _is_ended(self._source.read(offset + size - tail, tail), marker):
                raise InputError(
                    "truncated",
                    f"frame {index} of {self.count} (0-based) has no end marker "
                    f"{marker.hex().upper()}. The file is cut short or damaged; copy it again.",
                )


def _is_ended(tail: bytes, marker: bytes) -> bool:
    """Whether the marker is followed by padding only, or by the few bytes that align a fragment.

    No codec of the JPEG family can write the marker elsewhere. Padding that is longer than the
    tail is left to the decoder, which sees the whole frame.
    """
    at = tail.rfind(marker)
    if at < 0:
        return not tail.strip(_PADDING)
    rest = tail[at + len(marker) :]
    return len(rest) <= _ALIGNMENT_BYTES or not rest.strip(_PADDING)


def _fragments(source: Source, offset: int, limits: Limits) -> tuple[list[Fragment], bool]:
    """List all items, the offset table first, and say whether the sequence is whole."""
    found: list[Fragment] = []
    room = np.empty((_FIRST_FRAGMENTS, 2), np.uint64)
    while True:
        status, count, offset = _native.scan_fragments(source.fd, offset, source.size, room)
        found += map(tuple, room[:count].tolist())
        if status != _NEED_SPACE:
            break
        if len(found) > limits.fragments:
            raise InputError("fragments", f"there are more than {limits.fragments} fragments.")
        room = np.empty((2 * len(found), 2), np.uint64)
    if status == _IO:
        raise InputError("not-readable", "reading the fragments failed. Check the disk.")
    if status == _STRUCTURE:
        raise InputError(
            "fragments",
            f"there is neither a fragment nor the end of the pixel data at byte {offset}. "
            "The file is damaged; copy it again.",
        )
    if not found:
        raise InputError("truncated", "the file ends before its first fragment. Copy it again.")
    return found, status == _DELIMITED


def _offset_table(
    source: Source, header: Header, first: Fragment, frames: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offsets from the basic or the extended table, and the lengths of the latter (PS3.5 A.4)."""
    offset, size = first
    top = header.top
    extended, lengths = top.words(tags.OFFSETS_64), top.words(tags.LENGTHS_64)
    if size and extended:
        raise InputError(
            "fragments", "the file has both a basic and an extended offset table. Export it again."
        )
    if size:
        if size != 4 * frames:
            raise InputError(
                "fragments",
                f"the basic offset table has {size} bytes; {frames} frames need {4 * frames}, or "
                "none. Export the file again.",
            )
        return struct.unpack(f"<{frames}I", source.read(offset, size)), ()
    if extended is None:
        return (), ()
    if lengths is None or {len(extended[0]), len(lengths[0])} != {8 * frames}:
        raise InputError(
            "fragments",
            f"the extended offset table is not {frames} entries long. Export the file again.",
        )
    return struct.unpack(f"<{frames}Q", extended[0]), struct.unpack(f"<{frames}Q", lengths[0])


def _before_the_cut(
    fragments: list[Fragment], offsets: tuple[int, ...], frames: int, asked: Asked
) -> tuple[int, list[Fragment]]:
    """Return the frames that are whole in a file that was cut short, and their fragments."""
    if offsets and fragments:
        base = fragments[0][0] - 8
        end = fragments[-1][0] + fragments[-1][1] - base
        count = sum(after <= end for after in offsets[1:])
        kept = [place for place in fragments if place[0] - 8 - base < offsets[count]]
    elif len(fragments) <= frames:
        count, kept = len(fragments), fragments
    else:  # without a table, only one fragment a frame can be told apart
        count, kept = 0, []
    if asked.partial and count:
        return count, kept
    more = " --partial reads the whole frames before it." if count else ""
    where = f"after {count} of {frames} frames" if count < frames else "after its last frame"
    raise InputError(
        "truncated",
        f"the file ends {where}, without the end of its pixel data. Copy it again.{more}",
    )


def _largest(spans: Sequence[tuple[Fragment, ...]], pixel: ImagePixel) -> int:
    largest = max(sum(size for _, size in span) for span in spans)
    raw = pixel.rows * pixel.columns * pixel.samples * (pixel.bits_allocated // 8)
    allowed = 8 * raw + 2**20  # no codec grows a picture so much
    if largest > allowed:
        raise InputError(
            "budget",
            f"a compressed frame has {largest} bytes, for a picture of {raw}; the budget is "
            f"{allowed}. The file is damaged.",
        )
    return largest


def _picture(pixel: ImagePixel, asked: Asked) -> Picture:
    return Picture(
        rows=pixel.rows,
        columns=pixel.columns,
        samples=pixel.samples,
        bits_allocated=pixel.bits_allocated,
        bits_stored=pixel.bits_stored,
        high_bit=pixel.high_bit,
        signed=pixel.signed,
        photometric=pixel.photometric,
        planar=pixel.planar,
        gray_only=asked.gray_only,
        allow_gdcm=asked.allow_gdcm,
    )
