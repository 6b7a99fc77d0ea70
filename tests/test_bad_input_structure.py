"""Bad input: what is no DICOM file, or whose elements cannot lie where they say."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import dicom_files as made
import pytest
from refusals import refusal, write

from medge.engine.frames.study import Asked, Limits, open_study
from medge.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.dcm"


# --- is it DICOM at all ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "rule", "fact"),
    [
        (b"", "empty", "empty"),
        (b"hello", "not-an-image", "no DICM magic"),
        (bytes(200), "not-an-image", "no DICM magic"),
        (bytes(128) + b"DIC", "not-an-image", "no DICM magic"),
        (b"%PDF-1.7" + bytes(300), "not-an-image", "no DICM magic"),
    ],
)
def test_what_is_not_dicom_is_refused(path: Path, data: bytes, rule: str, fact: str) -> None:
    path.write_bytes(data)
    error = refusal(path)
    assert error.rule == rule
    assert fact in error.message


@pytest.mark.parametrize("magic", [b"MZ\x90\0", b"\x7fELF\2\1", b"PK\3\4", b"#!/bin/sh\n"])
def test_a_preamble_that_is_a_program_is_refused(path: Path, magic: bytes) -> None:
    path.write_bytes(made.meta(preamble=magic) + made.image_pixel() + made.pixel_data())
    error = refusal(path)
    assert error.rule == "executable-preamble"
    assert "executable preamble" in error.message


def test_a_tiff_preamble_is_legal(path: Path) -> None:
    path.write_bytes(made.meta(preamble=b"II*\0") + made.image_pixel() + made.pixel_data())
    with open_study(path) as study:
        assert study.frame_count == 1


@pytest.mark.parametrize("with_preamble", [True, False])
def test_a_missing_transfer_syntax_is_not_guessed(path: Path, with_preamble: bool) -> None:
    body = made.element(0x00080060, "CS", b"US") + made.image_pixel() + made.pixel_data()
    path.write_bytes((made.meta(None) if with_preamble else b"") + body)
    error = refusal(path)
    assert error.rule == ("no-transfer-syntax" if with_preamble else "no-meta")
    assert "absent" in error.message
    assert "not guessing" in error.message
    assert "--assume-ts" in error.message
    with open_study(path, Asked(assume_syntax=made.SYNTAXES["explicit"])) as study:
        assert study.notes == ("assumed-syntax",)


def test_meta_information_cut_anywhere_is_refused(path: Path) -> None:
    whole = made.meta()
    for size in range(132, len(whole) + 1):
        path.write_bytes(whole[:size])
        assert refusal(path).rule in {
            "element-length",
            "no-transfer-syntax",
            "no-pixel-data",
        }, size


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.2.4.102",  # MPEG-4
        "1.2.840.10008.1.2.4.94",  # JPIP
        "1.2.840.10008.1.2.4.110",  # JPEG XL
        "1.2.840.10008.1.2.4.100",  # MPEG-2
        "1.2.840.113619.5.2",  # private
        "1.2.840.10008.1.2.9",  # none
    ],
)
def test_unsupported_syntaxes_are_refused_by_name(path: Path, uid: str) -> None:
    write(path, made.image_pixel(), made.pixel_data(), syntax=uid)
    assert refusal(path).rule == "syntax-unsupported"


def test_a_syntax_that_is_no_uid_is_refused_without_repeating_it(path: Path) -> None:
    write(path, made.image_pixel(), made.pixel_data(), syntax="Sentinel^P")
    assert refusal(path).rule == "transfer-syntax"


def test_gdcm_is_used_only_when_asked_for(path: Path) -> None:
    write(path, made.image_pixel(), made.pixel_data(), syntax="jpeg-lossless-sv1")
    error = refusal(path)
    assert error.rule == "gdcm-not-allowed"
    assert 'pip install "medge[gdcm]"' in error.message


# --- lengths and nesting -----------------------------------------------------------------------


def test_a_length_beyond_the_file_is_refused_with_its_offset(path: Path) -> None:
    front = made.meta() + made.image_pixel()
    path.write_bytes(front + made.element(0x00420011, "OB", b"1234", length=0xFFFFFFF0))
    error = refusal(path)
    assert error.rule == "element-length"
    assert f"byte {len(front)}" in error.message


def test_deep_nesting_is_refused_at_once(path: Path) -> None:
    for depth in (33, 500, 5_000, 100_000):
        opened = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
        opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        write(path, opened * depth)
        begin = time.thread_time()  # what others do on a busy machine is not its time
        error = refusal(path)
        assert time.thread_time() - begin < 0.05
        assert error.rule == "nesting"
        assert "32" in error.message


def test_a_header_without_end_stays_within_its_budget(path: Path) -> None:
    asked = Asked(limits=Limits(header_bytes=1 << 20))
    write(path, made.element(0x00091010, "OB", bytes(2 << 20)), made.image_pixel())
    assert refusal(path, asked).rule == "header-budget"


def test_an_element_that_occurs_twice_is_refused(path: Path) -> None:
    write(path, made.image_pixel(), made.image_pixel(rows=3), made.pixel_data())
    assert refusal(path).rule == "repeated-element"


@pytest.mark.parametrize("vr", ["SH", "SS", "UL", "OB"])
def test_rows_of_another_vr_are_refused(path: Path, vr: str) -> None:
    rows = made.element(0x00280010, vr, b"\2\0")
    header = made.image_pixel().replace(made.element(0x00280010, "US", b"\2\0"), rows)
    write(path, header, made.pixel_data())
    error = refusal(path)
    assert error.rule == "vr-mismatch"
    assert "(0028,0010) Rows" in error.message


def test_a_number_of_several_values_or_odd_size_is_refused(path: Path) -> None:
    for value in (made.words(2, 3), b"\2\0\0", made.words(*range(70))):
        header = made.image_pixel().replace(
            made.element(0x00280010, "US", b"\2\0"), made.element(0x00280010, "US", value)
        )
        write(path, header, made.pixel_data())
        assert refusal(path).rule == "bad-value"


# --- deflated ----------------------------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def test_a_deflate_bomb_stops_at_its_cap(path: Path) -> None:
    header = made.image_pixel(20_000, 3_000)
    write(path, deflated(header + made.pixel_data(bytes(60_000_000))), syntax="deflated")
    assert path.stat().st_size < 100_000
    error = refusal(path)
    assert error.rule == "inflate-budget"
    assert "100:1" in error.message


def test_a_small_constant_picture_deflates_better_than_the_cap_and_is_read(path: Path) -> None:
    header = made.image_pixel(1000, 1000)
    write(path, deflated(header + made.pixel_data(bytes(1_000_000))), syntax="deflated")
    assert path.stat().st_size < 3_000
    with open_study(path) as study:
        assert study.frame(0).stored.shape == (1000, 1000)


def test_deflated_data_cut_or_damaged_is_refused(path: Path) -> None:
    body = deflated(made.image_pixel() + made.pixel_data(bytes(range(6))))
    for size in range(len(body)):
        write(path, body[:size], syntax="deflated")
        assert refusal(path).rule == "truncated", size
    write(path, b"\xff" + body[1:], syntax="deflated")
    assert refusal(path).rule == "deflate"


# --- encapsulated ------------------------------------------------------------------------------


def encapsulated(path: Path, *items: bytes, frames: int = 3, end: bool = True) -> Path:
    data = made.element(0x7FE00010, "OB", b"".join(items), length=made.UNDEFINED)
    count = made.element(0x00280008, "IS", f"{frames} ".encode()[: 2 if frames < 10 else None])
    header = made.image_pixel(frames=count)
    return write(path, header, data, made.delimiter() if end else b"", syntax="jpeg")


JPEG = b"\xff\xd8 not a real picture \xff\xd9"
TABLE = struct.pack("<3I", 0, len(JPEG) + 8, 2 * len(JPEG) + 16)


@pytest.mark.parametrize(
    "items",
    [
        (made.item(), made.item(JPEG), made.item(JPEG)),  # 2 fragments for 3 frames
        (made.item(), *3 * (made.item(JPEG),), made.item(JPEG)),  # 4 pictures
        (made.item(TABLE[:8]), *3 * (made.item(JPEG),)),  # table too short
        (made.item(TABLE[:4] + TABLE[:8]), *3 * (made.item(JPEG),)),  # out of order
        (made.item(TABLE[:8] + b"\xff\xff\0\0"), *3 * (made.item(JPEG),)),  # beyond the end
        (made.item(TABLE), made.item(JPEG), made.pixel_data()),  # not an item
    ],
)
def test_tables_fragments_and_frames_must_agree(path: Path, items: tuple[bytes, ...]) -> None:
    assert refusal(encapsulated(path, *items)).rule == "fragments"


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_frame_without_end_marker_is_named_before_any_is_served(path: Path, bad: int) -> None:
    items = [made.item(JPEG)] * 3
    items[bad] = made.item(JPEG[:-2] + b"ab")
    encapsulated(path, made.item(TABLE), *items)
    with pytest.raises(InputError) as caught:
        open_study(path)
    assert caught.value.rule == "truncated"
    assert f"frame {bad} of 3" in caught.value.message


def test_native_and_encapsulated_must_be_what_the_syntax_says(path: Path) -> None:
    write(path, made.image_pixel(), made.pixel_data(), syntax="jpeg")
    assert refusal(path).rule == "encapsulation"
    items = made.item() + made.item(b"abcdef") + made.delimiter()
    write(path, made.image_pixel(), made.pixel_data(items, length=made.UNDEFINED))
    assert refusal(path).rule == "encapsulation"
