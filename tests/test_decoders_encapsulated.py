"""Fragments become frames only when tables, fragments and Number of Frames agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medge.engine.decoders.encapsulated import Fragment, Span, frame_spans
from medge.errors import InputError

START, END = b"\xff\xd8\xff\xdb", b"\x12\xff\xd9\0"


class File:
    """Fragments with contents, as they lie in a file that starts somewhere."""

    def __init__(self, *contents: bytes, start: int = 1000) -> None:
        self.fragments: list[Fragment] = []
        self._bytes: dict[int, bytes] = {}
        at = start
        for content in contents:
            at += 8  # the item header
            self.fragments.append((at, len(content)))
            self._bytes[at] = content
            at += len(content)
        self.offsets = [offset - self.fragments[0][0] for offset, _ in self.fragments]

    def read(self, offset: int, length: int) -> bytes:
        for start, content in self._bytes.items():
            if start <= offset and offset + length <= start + len(content):
                return content[offset - start :][:length]
        raise AssertionError("read outside of a fragment")

    def spans(
        self, count: int, offsets: list[int] | None = None, lengths: list[int] | None = None
    ) -> list[Span]:
        return frame_spans(self.fragments, offsets or [], lengths or [], count, self.read)

    def refusal(
        self, count: int, offsets: list[int] | None = None, lengths: list[int] | None = None
    ) -> str:
        with pytest.raises(InputError) as refused:
            self.spans(count, offsets, lengths)
        assert refused.value.rule == "fragments"
        return refused.value.message


FOUR = File(b"a" * 10, b"b" * 20, b"c" * 30, b"d" * 40)


def test_one_fragment_a_frame_needs_no_table() -> None:
    assert FOUR.spans(4) == [(f,) for f in FOUR.fragments]


def test_one_frame_takes_all_fragments() -> None:
    assert FOUR.spans(1) == [tuple(FOUR.fragments)]


def test_the_basic_table_groups_fragments() -> None:
    a, b, c, d = FOUR.fragments
    starts = [FOUR.offsets[i] for i in (0, 1, 3)]
    assert FOUR.spans(3, starts) == [(a,), (b, c), (d,)]


@pytest.mark.parametrize(
    ("count", "offsets", "words"),
    [
        (3, [0, 18], "2 entries for 3 frames"),
        (2, [0, 18, 46], "3 entries for 2 frames"),
        (2, [0, 19], "frame 2/2: no fragment at offset 19"),
        (2, [18, 46], "frame 1/2"),
        (3, [0, 46, 18], "frame 3/3: offset 18 is out of order"),
        (2, [0, 0], "frame 2/2"),
        (2, [0, 4_000_000_000], "frame 2/2: no fragment"),
    ],
)
def test_a_basic_table_that_is_wrong_is_refused(count: int, offsets: list[int], words: str) -> None:
    assert words in FOUR.refusal(count, offsets)


def test_the_extended_table_may_leave_out_the_pad_byte() -> None:
    spans = FOUR.spans(4, FOUR.offsets, [10, 19, 30, 39])
    assert [span[0][1] for span in spans] == [10, 19, 30, 39]
    assert [span[0][0] for span in spans] == [offset for offset, _ in FOUR.fragments]


@pytest.mark.parametrize(
    ("count", "offsets", "lengths", "words"),
    [
        (4, [0, 18, 46], [10, 20, 30, 40], "3 offsets and 4 lengths for 4 frames"),
        (4, [0, 18, 46, 84], [10, 20, 30], "4 offsets and 3 lengths"),
        (3, [0, 18, 46], [10, 20, 30], "4 fragments for 3 frames"),
        (4, [0, 18, 84, 46], [10, 20, 30, 40], "frame 3/4"),
        (4, [0, 18, 46, 84], [10, 20, 28, 40], "frame 3/4: 28 bytes announced, 30"),
        (4, [0, 18, 46, 84], [10, 21, 30, 40], "frame 2/4"),
    ],
)
def test_an_extended_table_that_is_wrong_is_refused(
    count: int, offsets: list[int], lengths: list[int], words: str
) -> None:
    assert words in FOUR.refusal(count, offsets, lengths)


def test_no_fragments_and_too_few_are_refused() -> None:
    with pytest.raises(InputError, match="no fragment for 2 frames"):
        frame_spans([], [], [], 2, FOUR.read)
    assert "4 fragments cannot hold 5 frames" in FOUR.refusal(5)


@pytest.mark.parametrize("junk", [b"", b"\0", b"\xff", b"\x12\x34\x56\x78"])
def test_markers_tell_frames_apart_where_nothing_else_does(junk: bytes) -> None:
    body = bytes(100)
    file = File(START + body, body + END + junk, START + body + END, START, body, END)
    a, b, c, d, e, f = file.fragments
    assert file.spans(3) == [(a, b), (c,), (d, e, f)]
    assert "3 images in 6 fragments, for 4 frames" in file.refusal(4)
    assert "3 images in 6 fragments, for 2 frames" in file.refusal(2)


def test_a_start_marker_after_an_unended_fragment_begins_no_frame() -> None:
    file = File(START + bytes(50), START + bytes(50) + END, START + END)
    assert [len(span) for span in file.spans(2)] == [2, 1]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
    start=st.integers(0, 2**40),
)
def test_frames_by_table_use_every_fragment_once_and_in_order(
    sizes: list[int], cuts: set[int], start: int
) -> None:
    file = File(*(bytes(size) for size in sizes), start=start)
    firsts = [0, *sorted(cut for cut in cuts if cut < len(sizes))]
    spans = file.spans(len(firsts), [file.offsets[first] for first in firsts])
    assert [fragment for span in spans for fragment in span] == file.fragments
    assert [span[0] for span in spans] == [file.fragments[first] for first in firsts]
