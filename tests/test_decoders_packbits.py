"""The native PackBits loop against a slow one, on anything."""

from __future__ import annotations

import codestreams
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medge import _native


def slow(segment: bytes, count: int) -> tuple[int, int, bytes]:
    """PS3.5 G.3.2: status (0 filled, 1 short, 2 overrun), bytes read, bytes written."""
    out, at = b"", 0
    while len(out) < count:
        if at == len(segment):
            return 1, at, out
        code = segment[at]
        if code == 128:
            at += 1
            continue
        end = at + code + 2 if code < 128 else at + 2
        run = segment[at + 1 : end] if code < 128 else segment[at + 1 : end] * (257 - code)
        if end > len(segment):
            return 1, at, out
        if len(out) + len(run) > count:
            return 2, at, out
        out += run
        at = end
    return 0, at, out


@given(segment=st.binary(max_size=80), count=st.integers(1, 300), stride=st.sampled_from([1, 2]))
def test_any_bytes_end_as_the_standard_says(segment: bytes, count: int, stride: int) -> None:
    for first in range(stride):
        room = np.full(count * stride, 77, np.uint8)
        status, read, written = _native.unpack_packbits(
            np.frombuffer(segment, np.uint8), room, first, stride
        )
        want_status, want_read, want = slow(segment, count)
        assert (status, read, written) == (want_status, want_read, len(want))
        assert room[first::stride][:written].tobytes() == want
        untouched = np.delete(room, np.arange(written) * stride + first)
        assert (untouched == 77).all()


@given(
    plane=st.lists(
        st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 200)), min_size=1, max_size=8
    )
)
def test_what_is_packed_comes_back(plane: list[tuple[bytes, int]]) -> None:
    raw = b"".join(pattern * times for pattern, times in plane)
    packed = codestreams.pack_bits(raw)
    room = np.empty(len(raw), np.uint8)
    status, read, written = _native.unpack_packbits(np.frombuffer(packed, np.uint8), room, 0, 1)
    assert (status, written) == (0, len(raw))
    assert len(packed) - read <= 1
    assert room.tobytes() == raw


@pytest.mark.parametrize(("size", "first", "stride"), [(4, 0, 0), (4, 2, 2), (5, 0, 2)])
def test_a_stride_that_does_not_fit_is_refused(size: int, first: int, stride: int) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        _native.unpack_packbits(np.zeros(2, np.uint8), np.zeros(size, np.uint8), first, stride)


def test_the_fourth_sample_is_dropped() -> None:
    four = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    three = np.full((5, 7, 3), 77, np.uint8)
    _native.drop_fourth(four, three)
    np.testing.assert_array_equal(three, four[..., :3])
    with pytest.raises(ValueError, match="different sizes"):
        _native.drop_fourth(four, np.empty((7, 5, 3), np.uint8))
