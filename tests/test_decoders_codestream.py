"""A codestream that contradicts the DICOM header, or stops early, is refused before decoding."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import codestreams
import numpy as np
import pytest
from codestreams import ROOT, picture, samples, with_segment
from dicom_files import speckle

from medge.engine.decoders import Decoded, Picture, decoder_for
from medge.errors import InputError

GRAY = speckle((40, 48), 8, seed=1)
DEEP = speckle((40, 48), 12, seed=2)
RGB = speckle((40, 48, 3), 8, seed=3)
MAKERS: dict[str, tuple[str, Callable[..., bytes]]] = {
    "rle": ("5", lambda pixels, bits: codestreams.rle(pixels)),
    "jpeg": ("4.50", lambda pixels, bits: codestreams.jpeg(pixels)),
    "jpeg-lossless": ("4.70", codestreams.jpeg_lossless),
    "jpeg-ls": ("4.80", codestreams.jpeg_ls),
    "jpeg-2000": ("4.90", codestreams.jpeg_2000),
}
DEEP_CODECS = ("jpeg-lossless", "jpeg-ls", "jpeg-2000")
MARKED = ("jpeg", *DEEP_CODECS)


def decode(codec: str, data: bytes, said: Picture) -> Decoded:
    return decoder_for(ROOT + MAKERS[codec][0], allow_gdcm=True).decode(data, said)


def refusal(codec: str, data: bytes, said: Picture) -> InputError:
    decoder = decoder_for(ROOT + MAKERS[codec][0], allow_gdcm=True)
    with pytest.raises(InputError) as checked:
        decoder.check(data, said)
    with pytest.raises(InputError) as decoded:
        decoder.decode(data, said)
    assert str(checked.value) == str(decoded.value)  # decode never skips the check
    return decoded.value


@pytest.mark.parametrize("codec", sorted(MAKERS))
def test_the_unchanged_frame_decodes(codec: str) -> None:
    _, make = MAKERS[codec]
    for pixels in (GRAY, RGB):
        data, said = make(pixels, 8), picture(pixels)
        decoder_for(ROOT + MAKERS[codec][0], allow_gdcm=True).check(data, said)
        decoded = decode(codec, data, said)
        if codec != "jpeg":
            np.testing.assert_array_equal(samples(decoded, said), pixels)


@pytest.mark.parametrize(
    ("lie", "numbers"),
    [
        ({"rows": 41}, ("40 x 48", "41 x 48")),
        ({"rows": 39}, ("40 x 48", "39 x 48")),
        ({"columns": 47}, ("40 x 48", "40 x 47")),
        ({"rows": 48, "columns": 40}, ("40 x 48", "48 x 40")),
        ({"samples": 3, "photometric": "RGB"}, ("says 1", "says 3")),
        ({"bits_allocated": 16, "bits_stored": 12, "high_bit": 11}, ("says 8", "says 12")),
        ({"bits_allocated": 16, "high_bit": 8}, ("high bit",)),
    ],
)
@pytest.mark.parametrize("codec", MARKED)
def test_a_header_that_lies_about_gray_is_refused_with_both_numbers(
    codec: str, lie: dict[str, Any], numbers: tuple[str, ...]
) -> None:
    data = MAKERS[codec][1](GRAY, 8)
    error = refusal(codec, data, replace(picture(GRAY), **lie))
    assert error.rule == "codestream"
    assert all(number in error.message for number in numbers)


@pytest.mark.parametrize("codec", MARKED)
def test_a_header_that_calls_colour_gray_is_refused(codec: str) -> None:
    said = replace(picture(RGB), samples=1, photometric="MONOCHROME2")
    assert refusal(codec, MAKERS[codec][1](RGB, 8), said).rule == "codestream"


@pytest.mark.parametrize("codec", DEEP_CODECS)
def test_more_bits_than_the_header_says_are_taken_only_if_every_value_fits(codec: str) -> None:
    data = MAKERS[codec][1](DEEP, 16)  # 16 bits a sample announced, 12 used
    said = picture(DEEP, 12)
    decoded = decode(codec, data, said)
    np.testing.assert_array_equal(samples(decoded, said), DEEP)
    assert "16 a sample" in decoded.notes[0]
    with pytest.raises(InputError, match="4095") as refused:
        decode(codec, data, picture(DEEP, 11))
    assert refused.value.rule == "codestream"


@pytest.mark.parametrize("codec", DEEP_CODECS)
def test_negative_values_fit_when_their_sign_does(codec: str) -> None:
    pixels = speckle((40, 48), 12, signed=True, seed=4)
    said = picture(pixels, 12)
    decoded = decode(codec, MAKERS[codec][1](pixels, 16), said)
    np.testing.assert_array_equal(samples(decoded, said), pixels)
    with pytest.raises(InputError, match=r"-2048|63488"):
        decode(codec, MAKERS[codec][1](pixels, 16), picture(pixels, 11))


def test_jpeg_2000_of_the_other_sign_is_refused() -> None:
    said = replace(picture(DEEP, 12), signed=True)
    assert "unsigned" in refusal("jpeg-2000", codestreams.jpeg_2000(DEEP, 12), said).message


def test_32_bits_are_refused_by_every_decoder() -> None:
    for codec, (_, make) in MAKERS.items():
        said = replace(picture(GRAY), bits_allocated=32, bits_stored=32, high_bit=31)
        assert refusal(codec, make(GRAY, 8), said).rule in ("bits-allocated", "codestream")


@pytest.mark.parametrize(
    ("syntax", "codec"),
    [
        ("4.50", "jpeg-ls"),
        ("4.50", "jpeg-lossless"),
        ("4.70", "jpeg"),
        ("4.70", "jpeg-ls"),
        ("4.80", "jpeg"),
        ("4.80", "jpeg-2000"),
        ("4.90", "jpeg"),
    ],
)
def test_a_codestream_of_another_syntax_is_refused(syntax: str, codec: str) -> None:
    data = MAKERS[codec][1](GRAY, 8)
    with pytest.raises(InputError) as refused:
        decoder_for(ROOT + syntax, allow_gdcm=True).decode(data, picture(GRAY))
    assert refused.value.rule == "codestream"


def test_jpeg_2000_and_its_high_throughput_kin_are_not_confused() -> None:
    pixels = codestreams.HTJ2K["htj2k_rgb8.j2c"]()
    data = (codestreams.CAPTURED / "htj2k_rgb8.j2c").read_bytes()
    with pytest.raises(InputError, match="High-Throughput"):
        decoder_for(ROOT + "4.90").decode(data, picture(pixels))
    with pytest.raises(InputError, match="High-Throughput"):
        decoder_for(ROOT + "4.201").decode(codestreams.jpeg_2000(RGB), picture(RGB))


@pytest.mark.parametrize("syntax", ["4.80", "4.90"])
def test_a_lossy_codestream_under_a_lossless_syntax_is_refused(syntax: str) -> None:
    lossy = {
        "4.80": codestreams.jpeg_ls(GRAY, near=1),
        "4.90": codestreams.jpeg_2000(GRAY, signal_noise_ratios=[40]),
    }
    with pytest.raises(InputError, match="loss") as refused:
        decoder_for(ROOT + syntax).decode(lossy[syntax], picture(GRAY))
    assert refused.value.rule == "codestream"


def test_a_predictor_other_than_one_under_its_own_syntax_is_refused() -> None:
    error = refusal("jpeg-lossless", codestreams.jpeg_lossless(GRAY, predictor=4), picture(GRAY))
    assert "predictor" in error.message


def test_progressive_and_twelve_bit_jpeg_are_refused() -> None:
    progressive = codestreams.jpeg(GRAY, progressive=True)
    assert "FFC2" in refusal("jpeg", progressive, picture(GRAY)).message
    data = codestreams.jpeg(GRAY)
    at = data.index(b"\xff\xc0") + 4
    said = replace(picture(GRAY), bits_allocated=16, bits_stored=12, high_bit=11)
    error = refusal("jpeg", data[:at] + b"\x0c" + data[at + 1 :], said)
    assert error.rule == "syntax-unsupported"
    assert "12 bits" in error.message


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", sorted(MAKERS))
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_a_frame_cut_anywhere_is_refused(codec: str, pixels: np.ndarray[Any, Any]) -> None:
    data = MAKERS[codec][1](pixels, 8)
    if codec == "rle":
        data = data.rstrip(b"\0")  # without the pad byte, which may go
    decoder = decoder_for(ROOT + MAKERS[codec][0], allow_gdcm=True)
    for cut in sorted({*range(0, len(data), max(1, len(data) // 150)), len(data) - 1}):
        with pytest.raises(InputError) as refused:
            decoder.decode(data[:cut], picture(pixels))
        assert refused.value.rule in ("truncated", "codestream"), cut


@pytest.mark.parametrize("tail", [b"", b"\0", b"\xff", b"\0\0\0\0", b"\xff\0", bytes(500)])
@pytest.mark.parametrize("codec", MARKED)
def test_padding_behind_the_end_changes_nothing(codec: str, tail: bytes) -> None:
    data = MAKERS[codec][1](GRAY, 8)
    decoded = decode(codec, data + tail, picture(GRAY))
    np.testing.assert_array_equal(decoded.values, decode(codec, data, picture(GRAY)).values)
    assert decoded.notes == ()


@pytest.mark.parametrize("codec", MARKED)
def test_a_few_stray_bytes_behind_the_end_are_told_and_many_refused(codec: str) -> None:
    data = MAKERS[codec][1](GRAY, 8)
    decoded = decode(codec, data + b"\x12\x34\x56", picture(GRAY))
    assert "end marker" in decoded.notes[0]
    error = refusal(codec, data + b"\x12" * 16, picture(GRAY))
    assert error.rule == "codestream"
    assert "16 bytes" in error.message


@pytest.mark.parametrize("codec", MARKED)
def test_two_frames_in_one_are_refused(codec: str) -> None:
    data = MAKERS[codec][1](GRAY, 8)
    assert refusal(codec, data + data, picture(GRAY)).rule == "codestream"


@pytest.mark.parametrize("codec", sorted(MAKERS))
def test_nonsense_is_refused(codec: str) -> None:
    random = np.random.default_rng(0)
    start = {"jpeg-2000": b"\xff\x4f\xff\x51", "rle": b""}.get(codec, b"\xff\xd8")
    for size in (0, 1, 2, 3, 64, 65, 5000):
        for data in (bytes(size), random.bytes(size), start + random.bytes(size) + b"\xff\xd9"):
            assert refusal(codec, data, picture(GRAY)).rule in ("truncated", "codestream")


# --- JPEG markers --------------------------------------------------------------------------------


def test_a_jpeg_with_two_frame_headers_is_refused() -> None:
    data = codestreams.jpeg(GRAY)
    body = struct.pack(">BHHB3B", 8, 40, 48, 1, 1, 0x11, 0)
    assert (
        "two frame headers"
        in refusal("jpeg", with_segment(data, 0xC0, body), picture(GRAY)).message
    )


def test_an_end_marker_inside_a_comment_is_not_the_end() -> None:
    data = with_segment(codestreams.jpeg(GRAY), 0xFE, b"\xff\xd9")
    cut = data[: data.index(b"\xff\xda") + 200]
    assert decode("jpeg", data, picture(GRAY)).notes == ()
    assert refusal("jpeg", cut, picture(GRAY)).rule == "truncated"


def test_endless_segments_are_refused_quickly() -> None:
    data = codestreams.jpeg(GRAY)
    flood = data[:2] + b"\xff\xfe\0\2" * 200_000 + data[2:]
    assert "segments" in refusal("jpeg", flood, picture(GRAY)).message


# --- JPEG 2000 structure -------------------------------------------------------------------------


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(body), kind) + body


def test_jpeg_2000_in_jp2_boxes_is_read() -> None:
    data = codestreams.jpeg_2000(GRAY)
    signature = b"\0\0\0\x0cjP  \r\n\x87\n"
    boxed = signature + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2c", data)
    np.testing.assert_array_equal(decode("jpeg-2000", boxed, picture(GRAY)).values, GRAY)
    assert "JP2 boxes" in refusal("jpeg-2000", signature + bytes(40), picture(GRAY)).message


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (8, 2**32 - 1, "tiles"),  # Xsiz
        (24, 1, "tiles"),  # XTsiz
        (24, 0, "no area"),
        (24, 24, "1 of 2 tiles"),  # two tiles announced, one there
        (16, 48, "no area"),  # XOsiz
    ],
)
def test_a_size_segment_that_lies_is_refused(at: int, value: int, words: str) -> None:
    data = bytearray(codestreams.jpeg_2000(GRAY))
    struct.pack_into(">L", data, at, value)
    assert words in refusal("jpeg-2000", bytes(data), picture(GRAY)).message


def test_a_tile_part_longer_than_the_data_is_refused() -> None:
    data = bytearray(codestreams.jpeg_2000(GRAY))
    at = bytes(data).index(b"\xff\x90") + 6
    (size,) = struct.unpack_from(">L", data, at)
    struct.pack_into(">L", data, at, size + 5)
    error = refusal("jpeg-2000", bytes(data), picture(GRAY))
    assert error.rule == "truncated"
    assert "tile 1/1 needs 5 bytes more" in error.message


def test_a_last_tile_part_of_unstated_length_reaches_to_the_end() -> None:
    data = bytearray(codestreams.jpeg_2000(GRAY))
    struct.pack_into(">L", data, bytes(data).index(b"\xff\x90") + 6, 0)
    np.testing.assert_array_equal(decode("jpeg-2000", bytes(data), picture(GRAY)).values, GRAY)


def test_packets_that_cannot_be_there_are_refused() -> None:
    data = bytearray(codestreams.jpeg_2000(GRAY))
    at = bytes(data).index(b"\xff\x52")
    struct.pack_into(">H", data, at + 6, 65535)  # layers
    assert "packets" in refusal("jpeg-2000", bytes(data), picture(GRAY)).message


# --- RLE segments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        ({"rows": 41}, "truncated"),
        ({"rows": 39}, "codestream"),
        ({"columns": 47}, "codestream"),
        ({"samples": 3, "photometric": "RGB"}, "codestream"),
        ({"bits_allocated": 16, "bits_stored": 12, "high_bit": 11}, "codestream"),
    ],
)
def test_rle_that_does_not_fill_its_planes_exactly_is_refused(
    lie: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InputError) as refused:
        decode("rle", codestreams.rle(GRAY), replace(picture(GRAY), **lie))
    assert refused.value.rule == rule


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        (0, 2, "segments"),
        (0, 0, "segments"),
        (1, 60, "G.5"),
        (1, 2**31, "G.5"),
        (2, 1, "G.5"),
    ],
)
def test_an_rle_segment_table_that_lies_is_refused(number: int, value: int, words: str) -> None:
    data = bytearray(codestreams.rle(GRAY))
    struct.pack_into("<L", data, 4 * number, value)
    assert words in refusal("rle", bytes(data), picture(GRAY)).message


def test_rle_segments_out_of_order_or_outside_are_refused() -> None:
    data = bytearray(codestreams.rle(DEEP))
    (second,) = struct.unpack_from("<L", data, 8)
    for value in (64, second + 10**6, 10):
        struct.pack_into("<L", data, 8, value)
        assert refusal("rle", bytes(data), picture(DEEP)).rule in ("codestream", "truncated")


def test_an_rle_bomb_is_refused_before_memory_is_taken() -> None:
    said = replace(picture(GRAY), rows=60_000, columns=60_000)
    assert "cannot hold" in refusal("rle", codestreams.rle(GRAY), said).message
