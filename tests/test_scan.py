"""The native walk over DICOM headers finds what pydicom finds and believes no length."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest
from stored_values import read_with_pydicom

from medge import _native
from medge.engine.frames.tags import WANTED, Tag

PIXELS, END, NEED_MORE, NEED_SPACE, LENGTH, DEPTH, STRUCTURE, VR = range(8)
SHARED, TRANSFORM, SLOPE = 0x52009229, 0x00289145, 0x00281053


def scan(
    data: bytes,
    *,
    total: int | None = None,
    explicit: bool = True,
    big: bool = False,
    capacity: int = 64,
    start: int = 0,
) -> tuple[Any, ...]:
    records = np.zeros((capacity, 4), np.uint32)
    whole = len(data) if total is None else total
    found = _native.scan_header(data, start, whole, explicit, big, False, WANTED, records)
    return (*found, records[: found[1]])


def nested(depth: int, defined: bool) -> bytes:
    """Sequences inside each other, explicit VR."""
    inner = made.element(SLOPE, "DS", b"1 ")
    for _ in range(depth):
        if defined:
            inner = made.element(TRANSFORM, "SQ", made.item(inner))
        else:
            end = made.delimiter(0xFFFEE00D)
            body = made.item(inner + end, length=made.UNDEFINED) + made.delimiter()
            inner = made.element(TRANSFORM, "SQ", body, length=made.UNDEFINED)
    return inner


@pytest.mark.parametrize(("explicit", "big"), [(True, False), (True, True), (False, False)])
def test_the_walk_stops_at_the_pixel_data_and_says_where_its_value_is(
    explicit: bool, big: bool
) -> None:
    vr = (lambda name: name) if explicit else (lambda _: "")
    header = made.element(0x00280010, vr("US"), made.words(7, big=big), big=big)
    data = header + made.element(0x7FE00010, vr("OW"), bytes(14), big=big)
    status, count, offset, tag, letters, length, *_ = scan(data, explicit=explicit, big=big)
    assert (status, count, tag, length) == (PIXELS, 1, 0x7FE00010, 14)
    assert offset == len(data) - 14
    assert letters == (0x4F57 if explicit else 0)


@pytest.mark.parametrize("defined", [True, False])
def test_thirty_two_nested_sequences_pass_and_thirty_three_are_refused(defined: bool) -> None:
    assert scan(nested(32, defined), capacity=128)[0] == END
    status, *_, depth, _, _ = scan(nested(33, defined), capacity=128)
    assert (status, depth) == (DEPTH, 32)
    assert scan(nested(2000, defined), capacity=128)[0] == DEPTH


def test_every_prefix_of_a_header_asks_for_more_and_never_reads_past_it() -> None:
    header = nested(3, True) + nested(3, False) + made.image_pixel()
    data = header + made.pixel_data()
    want = scan(data)
    for size in range(len(header)):
        status, *_, needed, _ = scan(data[:size], total=len(data))
        assert status == NEED_MORE, size
        assert size < needed <= len(data)
    assert scan(data[: len(header) + 12], total=len(data))[:8] == want[:8]


def test_every_cut_of_a_file_is_an_end_at_an_element_or_a_length_fault() -> None:
    header = nested(3, True) + nested(3, False) + made.image_pixel()
    ends = 0
    for size in range(len(header)):
        status = scan(header[:size])[0]
        assert status in (END, LENGTH), size
        ends += status == END
    assert 1 < ends < 20  # only between top-level elements


def test_an_element_longer_than_what_holds_it_is_refused_with_its_offset() -> None:
    front = made.image_pixel()
    lie = made.element(0x00081030, "LO", b"abcd", length=5)
    status, _, offset, tag, _, length, *_ = scan(front + lie)
    assert (status, offset, tag, length) == (LENGTH, len(front), 0x00081030, 5)
    # One that fits the file but not its item.
    inner = made.element(SLOPE, "DS", b"1 ", length=4)
    data = made.element(TRANSFORM, "SQ", made.item(inner)) + front
    assert scan(data)[0] == LENGTH


@pytest.mark.parametrize(
    "data",
    [
        made.delimiter(),
        made.delimiter(0xFFFEE00D),
        made.item(b"ab"),
        made.element(TRANSFORM, "SQ", made.element(SLOPE, "DS", b"1 ")),
        made.element(TRANSFORM, "SQ", made.delimiter()),  # a defined length has no delimiter
        made.element(TRANSFORM, "SQ", made.item(made.delimiter(0xFFFEE00D))),
    ],
)
def test_items_and_delimiters_where_none_may_be_are_refused(data: bytes) -> None:
    assert scan(data)[0] == STRUCTURE


@pytest.mark.parametrize("letters", [b"us", b"U\0", b"\0\0", b"1A"])
def test_a_vr_that_is_not_two_capitals_is_refused(letters: bytes) -> None:
    data = struct.pack("<HH", 0x0028, 0x0010) + letters + b"\2\0ab"
    assert scan(data)[0] == VR
    assert scan(made.element(0x00280010, "LT", length=0))[0] == END
    assert scan(made.element(0x00081190, "UT", length=made.UNDEFINED))[0] == VR


def test_sequences_that_travel_as_unknown_are_walked_as_implicit_little_endian() -> None:
    slope = made.element(SLOPE, "", b"2 ")
    defined = made.element(TRANSFORM, "UN", made.item(slope))
    undefined = made.element(
        TRANSFORM, "UN", made.item(slope) + made.delimiter(), length=made.UNDEFINED
    )
    for data in (defined, undefined):
        records = scan(data)[-1]
        assert records[:, 0].tolist() == [TRANSFORM, 0xFFFEE000, SLOPE]
        assert (records[:, 1] & 0xFF).tolist() == [0, 1, 1]
        offset, length = records[2, 2:].tolist()
        assert data[offset : offset + length] == b"2 "


def test_encapsulated_pixels_of_an_icon_are_stepped_over() -> None:
    icon = made.element(
        0x7FE00010, "OB", made.item() + made.item(b"\xff\xd8") + made.delimiter(),
        length=made.UNDEFINED,
    )  # fmt: skip
    data = made.element(0x00880200, "SQ", made.item(icon)) + made.pixel_data()
    status, _, offset, *_ = scan(data)
    assert (status, offset) == (PIXELS, len(data) - 6)


def test_records_that_do_not_fit_ask_for_space() -> None:
    data = made.image_pixel()
    assert scan(data, capacity=3)[:2] == (NEED_SPACE, 3)
    assert scan(data, capacity=9)[0] == END


def test_wrong_bounds_are_the_callers_error() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        scan(b"12345678", total=4)
    with pytest.raises(ValueError, match="does not hold"):
        scan(b"12345678", start=9)


def test_random_bytes_and_random_edits_always_end_in_a_status() -> None:
    random = np.random.default_rng(7)
    good = nested(4, False) + made.image_pixel() + made.pixel_data()
    seen = set()
    for case in range(4000):
        data = bytearray(good) if case % 4 else bytearray(random.bytes(64))
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        found = scan(bytes(data), explicit=bool(case % 3), big=bool(case % 5 == 0), capacity=16)
        seen.add(found[0])
        assert found[2] <= len(data)
    assert seen >= {PIXELS, END, LENGTH, STRUCTURE, VR}


def fragments_of(tmp_path: Path, data: bytes, capacity: int = 8) -> tuple[int, list[list[int]]]:
    path = tmp_path / "items"
    path.write_bytes(data)
    room = np.zeros((capacity, 2), np.uint64)
    fd = os.open(path, os.O_RDONLY)
    try:
        status, count, _ = _native.scan_fragments(fd, 0, len(data), room)
    finally:
        os.close(fd)
    return status, room[:count].tolist()


def test_fragments_are_listed_until_their_delimiter(tmp_path: Path) -> None:
    data = made.item() + made.item(b"abcd") + made.item(b"ef") + made.delimiter() + b"more"
    assert fragments_of(tmp_path, data) == (0, [[8, 0], [16, 4], [28, 2]])
    assert fragments_of(tmp_path, data, capacity=2)[0] == 1


def test_fragments_that_end_badly_say_how(tmp_path: Path) -> None:
    whole = made.item() + made.item(b"abcd")
    assert fragments_of(tmp_path, whole) == (2, [[8, 0], [16, 4]])
    assert fragments_of(tmp_path, whole[:-1]) == (3, [[8, 0]])
    assert fragments_of(tmp_path, whole + b"\xfe\xff")[0] == 3
    assert fragments_of(tmp_path, whole + made.element(0x00100010, "PN", b"ab"))[0] == 4
    assert fragments_of(tmp_path, made.item(length=made.UNDEFINED) + bytes(8))[0] == 4
    fd = os.open(tmp_path, os.O_RDONLY)  # a folder cannot be read
    try:
        assert _native.scan_fragments(fd, 0, 100, np.zeros((4, 2), np.uint64))[0] == 5
    finally:
        os.close(fd)


def real_files() -> list[Path]:
    from pydicom import data

    bundled = Path(data.__file__).parent / "test_files"
    shared = Path(__file__).parents[2] / "shared" / "data" / "dicom"
    return sorted(bundled.glob("*.dcm")) + sorted(shared.glob("*.dcm"))


def test_the_recorded_values_are_those_that_pydicom_reads() -> None:
    from medge.engine.frames import tags
    from medge.engine.frames.asked import Asked, Limits
    from medge.engine.frames.header import read_header
    from medge.engine.frames.meta import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, read_meta
    from medge.engine.frames.source import Source
    from medge.errors import InputError

    wanted = {tag for tag in vars(tags).values() if isinstance(tag, Tag) and tag.vr != "SQ"}
    files, values = 0, 0
    for path in real_files():
        source = Source(path)
        try:
            meta = read_meta(source, source.read(0, min(4096, source.size)), Asked())
            if meta.syntax == DEFLATED:
                continue
            big = meta.syntax == EXPLICIT_BIG
            top = read_header(source, meta.start, meta.syntax != IMPLICIT_LITTLE, big, Limits()).top
        except InputError:
            continue
        finally:
            source.close()
        theirs = read_with_pydicom(path, stop_before_pixels=True)
        files += 1
        for tag in wanted - {tags.TRANSFER_SYNTAX}:
            raw = theirs.get_item(tag.number) if tag.number in theirs else None
            try:
                ours = top.raw(tag)
            except InputError as error:
                assert error.rule == "vr-mismatch"  # noqa: PT017  only files that lie do this
                continue
            if raw is not None and isinstance(raw.value, bytes) and raw.value:
                assert ours is not None
                assert ours[0] == raw.value, (path.name, tag)
                values += 1
            elif raw is None:
                assert ours is None, (path.name, tag)
    assert files > 60
    assert values > 600
