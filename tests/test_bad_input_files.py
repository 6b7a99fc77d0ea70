"""The file rows of the bad-input contract: each gets its code, its rule and its fact."""

from __future__ import annotations

import os
import socket
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import dicom_files as made
import pytest

from medge.engine.frames.study import Asked, Limits, open_study
from medge.errors import InputError

SENTINELS = ("Sentinel", "SENTINEL-ID", "Patient^")


def read_all(path: Path, asked: Asked | None = None) -> None:
    with open_study(path, asked) as study:
        for index in range(study.frame_count):
            study.frame(index)


def refusal(path: Path, asked: Asked | None = None) -> InputError:
    """Open and read every frame; the refusal must come within 2 s and name nobody."""
    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        read_all(path, asked)
    assert time.monotonic() - begin < 2
    error = caught.value
    assert error.exit_code == 3
    assert str(error).startswith(f"E3 {error.rule}: ")
    assert not any(word in str(error) for word in SENTINELS)
    return error


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.dcm"


def write(path: Path, *parts: bytes, syntax: str | None = "explicit") -> Path:
    path.write_bytes(made.meta(syntax) + b"".join(parts))
    return path


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
        begin = time.monotonic()
        error = refusal(path)
        assert time.monotonic() - begin < 0.05
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


# --- the picture -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["samples", "photometric", "allocated", "stored", "representation"],
)
def test_a_missing_element_is_named(path: Path, name: str) -> None:
    write(path, made.image_pixel(**{name: None}), made.pixel_data())
    assert refusal(path).rule == "missing-element"


def test_a_missing_high_bit_is_assumed_and_noted(path: Path) -> None:
    write(path, made.image_pixel(high_bit=None), made.pixel_data())
    with open_study(path) as study:
        assert study.frame(0).meaning.high_bit == 7
        assert study.notes == ("high-bit-assumed",)


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (b"0 ", "is 0"),
        (b"-1", "is -1"),
        (b"2147483647", "2147483647 frames"),
        (b"999999999999", "999999999999 frames"),
        (b"Sentinel^Patient", "not a number"),
        (b"1.5 ", "not a number"),
        (b"1\\2 ", "one value"),
    ],
)
def test_a_number_of_frames_that_cannot_be_is_refused(path: Path, value: bytes, fact: str) -> None:
    frames = made.element(0x00280008, "IS", value)
    write(path, made.image_pixel(frames=frames), made.pixel_data())
    error = refusal(path)
    assert error.rule in ("frame-count", "budget")
    assert fact in error.message or error.rule == "frame-count"


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (2, 0), (65535, 3), (2, 65535)])
def test_a_side_of_0_or_65535_is_refused(path: Path, rows: int, columns: int) -> None:
    write(path, made.image_pixel(rows, columns), made.pixel_data())
    assert refusal(path).rule == "side"


def test_pictures_over_the_budget_are_refused_before_any_memory_is_taken(path: Path) -> None:
    write(path, made.image_pixel(40_000, 40_000), made.pixel_data())
    error = refusal(path)
    assert error.rule == "budget"
    assert "1600000000 bytes" in error.message
    assert str(2**26) in error.message
    frames = made.element(0x00280008, "IS", b"200000")
    write(path, made.image_pixel(100, 100, frames=frames), made.pixel_data())
    error = refusal(path)
    assert error.rule == "budget"
    assert "2000000000 bytes" in error.message
    asked = Asked(limits=Limits(file_pixels=2**31))
    assert refusal(path, asked).rule == "pixel-length"  # the budget is the caller's to raise


def test_native_pixel_data_that_is_short_or_long_says_need_and_have(path: Path) -> None:
    for size in (0, 4, 8, 600):
        write(path, made.image_pixel(), made.pixel_data(bytes(size)))
        error = refusal(path)
        assert error.rule == "pixel-length"
        assert "need 6 bytes" in error.message
        assert f"have {size}" in error.message


def test_a_file_that_ends_in_its_pixels_says_need_and_have(path: Path) -> None:
    write(path, made.image_pixel(), made.pixel_data(b"abcd", length=6))
    error = refusal(path)
    assert error.rule == "truncated"
    assert "need 6 bytes, have 4" in error.message


def us(tag: int, value: int) -> bytes:
    return made.element(tag, "US", made.words(value))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"allocated": us(0x00280100, 1)}, "bits-allocated"),
        ({"allocated": us(0x00280100, 12)}, "bits-allocated"),
        ({"allocated": us(0x00280100, 32)}, "bits-allocated"),
        ({"stored": us(0x00280101, 9)}, "bits-conflict"),
        ({"stored": us(0x00280101, 0)}, "bits-conflict"),
        ({"high_bit": us(0x00280102, 6)}, "bits-conflict"),
        ({"high_bit": us(0x00280102, 8)}, "bits-conflict"),
        ({"representation": us(0x00280103, 2)}, "pixel-representation"),
        ({"samples": us(0x00280002, 3)}, "samples"),
        ({"samples": us(0x00280002, 4)}, "samples"),
        ({"photometric": made.element(0x00280004, "CS", b"CMYK")}, "photometric"),
        ({"photometric": made.element(0x00280004, "CS", b"YBR_ICT ")}, "photometric"),
        ({"photometric": made.element(0x00280004, "CS", b"Sentinel^Patient")}, "photometric"),
    ],
)
def test_fields_that_contradict_each_other_are_named(
    path: Path, changes: dict[str, bytes], rule: str
) -> None:
    write(path, made.image_pixel(**changes), made.pixel_data())
    assert refusal(path).rule == rule


def colour(photometric: bytes, planar: int | None, columns: int = 3) -> bytes:
    return made.image_pixel(
        2,
        columns,
        samples=us(0x00280002, 3),
        photometric=made.element(0x00280004, "CS", photometric),
        planar=None if planar is None else us(0x00280006, planar),
    )


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (colour(b"RGB ", None), "missing-element"),
        (colour(b"RGB ", 2), "planar"),
        (colour(b"YBR_FULL_422", 1, columns=4), "planar"),
        (colour(b"YBR_FULL_422", 0), "planar"),  # 3 columns cannot share chroma
        (colour(b"MONOCHROME2 ", 0), "samples"),
    ],
)
def test_colour_that_cannot_be_is_refused(path: Path, header: bytes, rule: str) -> None:
    write(path, header, made.pixel_data(bytes(18)))
    assert refusal(path).rule == rule


def test_signed_colour_is_refused(path: Path) -> None:
    made.make(path, photometric="RGB", tags={"PixelRepresentation": 1})
    assert refusal(path).rule == "pixel-representation"


def test_a_file_without_pixels_or_with_float_pixels_is_refused(path: Path) -> None:
    write(path, made.image_pixel())
    assert refusal(path).rule == "no-pixel-data"
    for tag, vr in ((0x7FE00008, "OF"), (0x7FE00009, "OD")):
        write(path, made.image_pixel(), made.element(tag, vr, bytes(48)))
        assert refusal(path).rule == "float-pixels"


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


# --- cut short ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 700, 1440, 1441, 4000])
def test_partial_reads_the_whole_native_frames_before_the_cut(path: Path, cut: int) -> None:
    pixels = made.make(path, frames=5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    left = (5 * 1440 - cut) // 1440
    error = refusal(path)
    assert error.rule == "truncated"
    assert f"frame {left} of 5" in error.message
    assert "--partial" in error.message
    with open_study(path, Asked(partial=True)) as study:
        assert study.frame_count == left
        assert study.notes == (f"partial: {left} of 5 frames",)
        for index in range(left):
            assert (study.frame(index).stored == pixels[index]).all()


@pytest.mark.parametrize("offset_table", [True, False])
def test_partial_reads_the_whole_compressed_frames_before_the_cut(
    path: Path, offset_table: bool
) -> None:
    pixels = made.make(path, syntax="rle", frames=4, offset_table=offset_table)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    assert refusal(path).rule == "truncated"
    with open_study(path, Asked(partial=True)) as study:
        assert 0 < study.frame_count < 4
        assert study.notes == (f"partial: {study.frame_count} of 4 frames",)
        for index in range(study.frame_count):
            assert (study.frame(index).stored == pixels[index]).all()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big", "deflated", "rle", "jpeg"])
@pytest.mark.parametrize("partial", [False, True])
def test_no_cut_yields_a_frame_that_is_not_whole(path: Path, syntax: str, partial: bool) -> None:
    pixels = made.make(path, syntax=syntax, rows=16, columns=16, frames=2)
    with open_study(path) as study:
        wanted = [study.frame(index).stored.copy() for index in range(2)]
    assert len(pixels) == 2
    whole = path.read_bytes()
    for step in range(1, 100):
        path.write_bytes(whole[: len(whole) * step // 100])
        try:
            with open_study(path, Asked(partial=partial)) as study:
                assert partial
                assert study.notes
                for index in range(study.frame_count):
                    assert (study.frame(index).stored == wanted[index]).all()
        except InputError:  # a typed refusal is the other right answer
            continue


# --- what is not a regular file ----------------------------------------------------------------


def test_what_is_not_a_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "folder.dcm").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.dcm"))
        for name, kind in (
            ("pipe.dcm", "a named pipe"),
            ("folder.dcm", "a directory"),
            ("socket.dcm", "a socket"),
        ):
            error = refusal(tmp_path / name)
            assert error.rule == "not-a-file"
            assert kind in error.message
    assert refusal(Path("/dev/zero")).rule == "not-a-file"
    assert refusal(tmp_path / "nothing").rule == "not-found"


def test_a_symbolic_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    made.make(tmp_path / "real.dcm")
    os.symlink("real.dcm", tmp_path / "link.dcm")
    with open_study(tmp_path / "link.dcm") as study:
        assert study.frame_count == 1
    os.symlink("nothing", tmp_path / "broken.dcm")
    assert refusal(tmp_path / "broken.dcm").rule == "not-found"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    made.make(tmp_path / "secret.dcm")
    (tmp_path / "secret.dcm").chmod(0)
    assert refusal(tmp_path / "secret.dcm").rule == "not-readable"


# --- every rule is documented ------------------------------------------------------------------


def test_every_rule_of_reading_is_in_the_list_of_errors() -> None:
    import re

    root = Path(__file__).parents[1]
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", (root / "docs/errors.md").read_text(), re.M))
    raised: set[Any] = set()
    for source in (root / "engine/frames").glob("*.py"):
        raised |= set(re.findall(r'InputError\(\s*"([a-z-]+)"', source.read_text()))
    assert len(raised) > 40
    assert raised - listed == set()
