"""Bad input: pictures whose fields contradict each other or the pixel data."""

from __future__ import annotations

from pathlib import Path

import dicom_files as made
import pytest
from refusals import refusal, us, write

from medge.engine.frames.study import Asked, Limits, open_study


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.dcm"


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
