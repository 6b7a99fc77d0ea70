"""PNG, JPEG and NPY files and arrays become frames, exactly, or are refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest

from medge.engine.frames.frame import Colour, Context, Packing, Window
from medge.engine.frames.study import Asked, Limits, from_array, open_study
from medge.errors import InputError

GRAY = made.speckle((24, 20))
DEEP = made.speckle((24, 20), stored=16)
RGB = made.speckle((24, 20, 3), seed=3)


def save(path: Path, pixels: Any, **options: Any) -> Path:
    from PIL import Image

    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def stored(path: Path, asked: Asked | None = None) -> np.ndarray[Any, Any]:
    with open_study(path, asked) as study:
        assert study.frame_count == 1
        return study.frame(0).stored.copy()


def refusal(path: Path, asked: Asked | None = None) -> InputError:
    with pytest.raises(InputError) as caught, open_study(path, asked) as study:
        study.frame(0)
    return caught.value


@pytest.mark.parametrize("pixels", [GRAY, DEEP, RGB], ids=["gray", "16-bit", "rgb"])
def test_png_keeps_every_value(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path = save(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(stored(path), pixels)
    with open_study(path) as study:
        meaning = study.frame(0).meaning
    assert meaning.bits_stored == 8 * pixels.dtype.itemsize
    assert meaning.photometric == ("RGB" if pixels.ndim == 3 else "MONOCHROME2")


def test_palette_and_one_bit_png_are_spread_out(tmp_path: Path) -> None:
    from PIL import Image

    palette = Image.fromarray(RGB).quantize(16)
    path = save(tmp_path / "p.png", palette)
    np.testing.assert_array_equal(stored(path), np.asarray(palette.convert("RGB")))
    path = save(tmp_path / "1.png", Image.fromarray(GRAY > 100))
    np.testing.assert_array_equal(stored(path), (GRAY > 100) * np.uint8(255))


def test_opaque_alpha_is_dropped_with_a_note_and_transparency_is_refused(tmp_path: Path) -> None:
    opaque = np.dstack([RGB, np.full((24, 20), 255, np.uint8)])
    path = save(tmp_path / "opaque.png", opaque)
    np.testing.assert_array_equal(stored(path), RGB)
    with open_study(path) as study:
        assert study.notes == ("alpha-dropped",)
    opaque[5, 5, 3] = 254
    assert refusal(save(tmp_path / "clear.png", opaque)).rule == "alpha"
    from PIL import Image

    gray = Image.merge("LA", (Image.fromarray(GRAY), Image.new("L", (20, 24), 255)))
    np.testing.assert_array_equal(stored(save(tmp_path / "la.png", gray)), GRAY)
    keyed = save(tmp_path / "key.png", GRAY, transparency=int(GRAY[3, 3]))
    assert refusal(keyed).rule == "alpha"


def test_jpeg_is_what_pillow_decodes_and_luminance_when_that_is_enough(tmp_path: Path) -> None:
    from PIL import Image

    path = save(tmp_path / "a.jpg", RGB, quality=95)
    with Image.open(path) as image:
        np.testing.assert_array_equal(stored(path), np.asarray(image))
    gray = stored(path, Asked(gray_only=True))
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray - expected).mean() < 4  # chroma subsampling leaves luminance alone
    with open_study(path, Asked(gray_only=True)) as study:
        assert study.notes == ("luminance-only",)
        assert study.frame(0).meaning.colour is Colour.GRAY


def test_exif_rotation_is_noted_and_not_applied(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "r.jpg", GRAY, exif=exif)
    with open_study(path) as study:
        assert study.frame(0).stored.shape == (24, 20)
        assert study.notes == ("exif-orientation-ignored",)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E] = "an end marker \xff\xd9 inside"
    whole = save(tmp_path / name, RGB, exif=exif).read_bytes()
    path = tmp_path / ("cut-" + name)
    for size in [*range(8, 400, 7), *range(400, len(whole), 31), len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert refusal(path).rule in ("truncated", "damaged-picture"), size


def test_a_flipped_bit_in_a_png_is_always_seen(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", GRAY).read_bytes()
    path = tmp_path / "flipped.png"
    for at in range(8, len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)
        assert refusal(path).exit_code == 3, at


def png_claiming(columns: int, rows: int, bits: int = 8, colour: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (png_claiming(60_000, 60_000), "budget"),
        (png_claiming(0, 5), "side"),
        (png_claiming(70_000, 5), "budget"),
        (png_claiming(20, 20, bits=16, colour=2), "picture-depth"),
        (png_claiming(20, 20, colour=5), "damaged-picture"),
        (png_claiming(20, 20), "damaged-picture"),  # too few pixels
        (b"\x89PNG\r\n\x1a\n", "truncated"),
    ],
)
def test_png_headers_that_lie_are_refused(tmp_path: Path, data: bytes, rule: str) -> None:
    path = tmp_path / "lie.png"
    path.write_bytes(data)
    assert refusal(path).rule == rule


def test_jpeg_headers_that_lie_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", GRAY).read_bytes()
    at = whole.index(b"\xff\xc0") + 4
    path = tmp_path / "lie.jpg"
    path.write_bytes(whole[: at + 1] + b"\xff\xff\xff\xff" + whole[at + 5 :])
    assert refusal(path).rule == "budget"
    path.write_bytes(whole[:at] + b"\x0c" + whole[at + 1 :])  # 12 bits
    assert refusal(path).rule == "picture-depth"
    from PIL import Image

    cmyk = save(tmp_path / "cmyk.jpg", Image.fromarray(RGB).convert("CMYK"))
    assert refusal(cmyk).rule == "picture-colour"


def test_the_file_size_budget_holds_before_reading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GRAY)
    asked = Asked(limits=Limits(picture_bytes=100))
    assert refusal(path, asked).rule == "budget"


@pytest.mark.parametrize(
    "array",
    [
        GRAY,
        DEEP,
        RGB,
        made.speckle((4, 8, 8), stored=16, signed=True),
        made.speckle((4, 8, 8, 3)),
        (GRAY / 255).astype(np.float32),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_npy_frames_are_those_of_the_array(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    frames = array if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] != 3) else array[None]
    with open_study(path) as study:
        assert study.frame_count == len(frames)
        for index in (len(frames) - 1, 0):
            np.testing.assert_array_equal(study.frame(index).stored, frames[index])


def test_npy_in_the_other_byte_order_is_marked_swapped(tmp_path: Path) -> None:
    path = tmp_path / "big.npy"
    np.save(path, DEEP.astype(">u2"))
    with open_study(path) as study:
        frame = study.frame(0)
        assert frame.meaning.swapped
        np.testing.assert_array_equal(frame.stored, DEEP)  # numpy compares values


def test_npy_files_that_are_not_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"

    def refused(array: Any, **options: Any) -> str:
        np.save(path, array, **options)
        return refusal(path).rule

    assert refused(np.array([{}]), allow_pickle=True) == "array-dtype"
    assert refused(np.zeros((4, 4), np.float64)) == "array-dtype"
    assert refused(np.zeros(4, np.uint8)) == "array-shape"
    assert refused(np.zeros((4, 0), np.uint8)) == "array-shape"
    assert refused(np.asfortranarray(np.zeros((4, 5), np.uint8))) == "array-layout"
    assert refused(np.full((4, 4), np.nan, np.float32)) == "not-finite-input"
    assert refused(np.full((4, 4), 255, np.float32)) == "float-range"


def test_npy_headers_that_lie_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, GRAY)
    whole = buffer.getvalue()
    path = tmp_path / "lie.npy"
    lies = [
        (whole[:-1], "pixel-length"),
        (whole + b"\0", "pixel-length"),
        (whole.replace(b"(24, 20)", b"(9999999, 20)"), "budget"),
        (whole.replace(b"(24, 20)", b"(24, -20)"), "npy"),
        (whole.replace(b"(24, 20)", b"(24, 2.)"), "npy"),
        (whole.replace(b"'|u1'", b"'|O1'"), "array-dtype"),
        (whole.replace(b"False", b"maybe"), "npy"),
        (whole[:9], "npy"),
        (whole[:40], "npy"),
        (whole[:6] + b"\x09" + whole[7:], "npy"),
        (whole[:10] + b"[" * (len(whole) - 10), "npy"),
    ]
    for data, rule in lies:
        path.write_bytes(data)
        assert refusal(path).rule == rule, data[:80]


def test_from_array_copies_nothing() -> None:
    for array in (GRAY, DEEP, RGB, made.speckle((5, 8, 8)), made.speckle((5, 8, 8, 3))):
        study = from_array(array)
        frame = study.frame(study.frame_count - 1)
        assert np.shares_memory(frame.stored, array)
        assert frame.stored.flags.c_contiguous
        assert frame.meaning.packing is (
            Packing.INTERLEAVED if array.shape[-1] == 3 else Packing.MONO
        )


def test_from_array_takes_what_a_header_would_say() -> None:
    context = Context(modality="US")
    study = from_array(
        DEEP >> 4, bits_stored=12, window=Window(40, 400), inverted=True, context=context
    )
    meaning = study.frame(0).meaning
    assert (meaning.bits_stored, meaning.high_bit, meaning.inverted) == (12, 11, True)
    assert meaning.voi == (Window(40, 400),)
    assert study.context is context
    assert study.notes == ()


@pytest.mark.parametrize(
    ("array", "options", "rule"),
    [
        (GRAY.astype(np.int64), {}, "array-dtype"),
        (GRAY[0], {}, "array-shape"),
        (np.zeros((2, 4, 4, 4), np.uint8), {}, "array-shape"),
        (np.zeros((0, 4, 4), np.uint8), {}, "array-shape"),
        (DEEP.astype(">u2"), {}, "array-layout"),
        (GRAY.T, {}, "array-layout"),
        (GRAY[:, ::2], {}, "array-layout"),
        (GRAY, {"bits_stored": 9}, "bits-conflict"),
        (RGB, {"window": Window(1, 2)}, "array-dtype"),
        (GRAY.astype(np.float32) / 255, {"window": Window(1, 2)}, "array-dtype"),
        (GRAY.astype(np.float32), {}, "float-range"),
        (np.full((3, 3), np.inf, np.float32), {}, "float-range"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    array: np.ndarray[Any, Any], options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InputError) as caught:
        from_array(array, **options).frame(0)
    assert caught.value.rule == rule


def test_frames_of_a_strided_stack_are_served_where_they_lie() -> None:
    stack = made.speckle((6, 8, 8))
    study = from_array(stack[::2])
    assert study.frame_count == 3
    np.testing.assert_array_equal(study.frame(1).stored, stack[2])
