"""Encapsulated pixel data (PS3.5 A.4): which fragments make which frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from medge.engine.decoders.agreement import END_MARKER
from medge.errors import InputError

Fragment: TypeAlias = tuple[int, int]  # offset of the bytes in the file, length
Span: TypeAlias = tuple[Fragment, ...]  # the fragments of one frame, in order

_HEAD_BYTES = 8  # enough to see a start marker
_TAIL_BYTES = 32  # enough to see an end marker behind what encoders write after it
_STARTS = (
    b"\xff\xd8",  # JPEG, JPEG-LS
    b"\xff\x4f\xff\x51",  # JPEG 2000
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000 in JP2 boxes
)


def frame_spans(
    fragments: Sequence[Fragment],
    offsets: Sequence[int],
    lengths: Sequence[int],
    frame_count: int,
    read: Callable[[int, int], bytes],
) -> list[Span]:
    """Find the fragments of every frame.

    Parameters
    ----------
    fragments
        Every fragment after the Basic Offset Table item, in file order.
    offsets
        The Basic Offset Table, or the Extended one (7FE0,0001); bytes from the first fragment's
        item tag. Empty when the file has none.
    lengths
        Extended Offset Table Lengths (7FE0,0002); empty with the Basic Offset Table.
    frame_count
        Number of Frames (0028,0008).
    read
        ``read(offset, length)`` returns bytes of the file; called only when neither table nor
        counts tell where frames begin.

    Returns
    -------
    list
        One span for each frame. A span's length may be one byte less than its fragment's, when
        ``lengths`` says that the last one is padding.

    Raises
    ------
    InputError
        ``fragments``: tables, fragments and Number of Frames disagree.
    """
    if not fragments:
        raise _refusal(f"there is no fragment for {frame_count} frames")
    if lengths:
        return _by_extended_table(fragments, offsets, lengths, frame_count)
    if offsets:
        return _by_basic_table(fragments, offsets, frame_count)
    if len(fragments) == frame_count:
        return [(fragment,) for fragment in fragments]
    if frame_count == 1:
        return [tuple(fragments)]
    if len(fragments) < frame_count:
        raise _refusal(f"{len(fragments)} fragments cannot hold {frame_count} frames")
    return _by_markers(fragments, frame_count, read)


def _refusal(fact: str) -> InputError:
    return InputError(
        "fragments", f"Encapsulated pixel data: {fact}. The file is damaged; obtain it again."
    )


def _positions(fragments: Sequence[Fragment]) -> dict[int, int]:
    """Map the offset of an item tag, as the tables count it, to the fragment's number."""
    base = fragments[0][0]
    return {offset - base: number for number, (offset, _) in enumerate(fragments)}


def _by_basic_table(
    fragments: Sequence[Fragment], offsets: Sequence[int], frame_count: int
) -> list[Span]:
    if len(offsets) != frame_count:
        raise _refusal(f"the offset table has {len(offsets)} entries for {frame_count} frames")
    positions = _positions(fragments)
    starts: list[int] = []
    for frame, offset in enumerate(offsets, 1):
        start = positions.get(offset)
        if start is None:
            raise _refusal(f"frame {frame}/{frame_count}: no fragment at offset {offset}")
        if start != 0 if frame == 1 else start <= starts[-1]:
            raise _refusal(f"frame {frame}/{frame_count}: offset {offset} is out of order")
        starts.append(start)
    ends = [*starts[1:], len(fragments)]
    return [tuple(fragments[start:end]) for start, end in zip(starts, ends, strict=True)]


def _by_extended_table(
    fragments: Sequence[Fragment],
    offsets: Sequence[int],
    lengths: Sequence[int],
    frame_count: int,
) -> list[Span]:
    """Read the Extended Offset Table, which allows one fragment for each frame (PS3.3 C.7.6.3)."""
    if len(offsets) != frame_count or len(lengths) != frame_count:
        raise _refusal(
            f"the extended offset table has {len(offsets)} offsets and {len(lengths)} lengths "
            f"for {frame_count} frames"
        )
    if len(fragments) != frame_count:
        raise _refusal(
            f"{len(fragments)} fragments for {frame_count} frames, an extended offset table "
            "wants one for each"
        )
    positions = _positions(fragments)
    spans: list[Span] = []
    for frame, (offset, length) in enumerate(zip(offsets, lengths, strict=True), 1):
        if positions.get(offset) != frame - 1:
            raise _refusal(f"frame {frame}/{frame_count}: its fragment is not at offset {offset}")
        start, held = fragments[frame - 1]
        if length not in (held, held - 1):
            raise _refusal(
                f"frame {frame}/{frame_count}: {length} bytes announced, {held} in the fragment"
            )
        spans.append(((start, length),))
    return spans


def _by_markers(
    fragments: Sequence[Fragment], frame_count: int, read: Callable[[int, int], bytes]
) -> list[Span]:
    """Split where a fragment ends with an end marker and the next starts an image."""
    starts = [0]
    for number in range(1, len(fragments)):
        before, here = fragments[number - 1], fragments[number]
        tail = min(_TAIL_BYTES, before[1])
        ended = END_MARKER in read(before[0] + before[1] - tail, tail)
        if ended and read(here[0], min(_HEAD_BYTES, here[1])).startswith(_STARTS):
            starts.append(number)
    if len(starts) != frame_count:
        raise _refusal(
            f"{len(starts)} images in {len(fragments)} fragments, for {frame_count} frames"
        )
    ends = [*starts[1:], len(fragments)]
    return [tuple(fragments[start:end]) for start, end in zip(starts, ends, strict=True)]
