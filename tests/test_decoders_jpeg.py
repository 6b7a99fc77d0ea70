"""JPEG through Pillow: what the three components are, luminance alone, and no copies."""

from __future__ import annotations

import io
import struct
from typing import Any

import codestreams
import numpy as np
import numpy.typing as npt
import pytest
from codestreams import ROOT, jpeg_untransformed, picture, with_segment
from dicom_files import speckle

from medge.engine.decoders import Decoded, Picture, decoder_for
from medge.engine.frames.frame import Packing
from medge.errors import InputError

Pixels = npt.NDArray[Any]
RGB = speckle((40, 56, 3), seed=1)
GRAY = speckle((40, 56), seed=2)
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"


def adobe(transform: int) -> bytes:
    return b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)


def decode(data: bytes, said: Picture) -> Decoded:
    return decoder_for(ROOT + "4.50").decode(data, said)


def components(data: bytes) -> Pixels:
    """The components as coded: libjpeg told that they are YCbCr and that YCbCr is wanted."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        size = image.size
    return np.asarray(Image.frombytes("YCbCr", size, data, "jpeg", "YCbCr", "YCbCr"))


def renamed(data: bytes, ids: bytes) -> bytes:
    """Change the component identifiers in the frame and scan headers."""
    out = bytearray(data)
    frame, scan = data.index(b"\xff\xc0") + 10, data.index(b"\xff\xda") + 5
    for i, name in enumerate(ids):
        out[frame + 3 * i] = out[scan + 2 * i] = name
    return bytes(out)


PLAIN = jpeg_untransformed(RGB)
CASES = [  # codestream, photometric in the header, what it is, noted
    (PLAIN, "RGB", "RGB", False),
    (PLAIN, "YBR_FULL", "YBR_FULL", False),
    (PLAIN, "YBR_FULL_422", "YBR_FULL", False),
    (with_segment(PLAIN, 0xE0, JFIF), "YBR_FULL_422", "YBR_FULL", False),
    (with_segment(PLAIN, 0xE0, JFIF), "RGB", "YBR_FULL", True),
    (with_segment(PLAIN, 0xEE, adobe(1)), "RGB", "YBR_FULL", True),
    (with_segment(PLAIN, 0xEE, adobe(1)), "YBR_FULL", "YBR_FULL", False),
    (with_segment(PLAIN, 0xEE, adobe(0)), "RGB", "RGB", False),
    (with_segment(PLAIN, 0xEE, adobe(0)), "YBR_FULL", "RGB", True),
    (renamed(PLAIN, b"RGB"), "RGB", "RGB", False),
    (renamed(PLAIN, b"RGB"), "YBR_FULL", "RGB", True),
    (renamed(PLAIN, b"rgb"), "RGB", "RGB", False),
    (with_segment(PLAIN, 0xEE, adobe(1)[:11]), "RGB", "RGB", False),  # too short to count
]


@pytest.mark.parametrize(("data", "stated", "wanted", "noted"), CASES)
def test_markers_decide_what_three_components_are_and_else_the_header(
    data: bytes, stated: str, wanted: str, noted: bool
) -> None:
    decoded = decode(data, picture(RGB, photometric=stated))
    assert decoded.photometric == wanted
    assert bool(decoded.notes) == noted
    assert decoded.packing is Packing.INTERLEAVED
    np.testing.assert_array_equal(decoded.values, components(data))  # never converted here


@pytest.mark.parametrize(
    ("data", "stated"),
    [
        (with_segment(renamed(PLAIN, b"RGB"), 0xE0, JFIF), "RGB"),
        (with_segment(with_segment(PLAIN, 0xE0, JFIF), 0xEE, adobe(0)), "RGB"),
        (with_segment(PLAIN, 0xEE, adobe(2)), "RGB"),
        (PLAIN, "YBR_RCT"),
        (PLAIN, "YBR_ICT"),
        (PLAIN, "MONOCHROME2"),
    ],
)
def test_markers_that_contradict_each_other_are_refused(data: bytes, stated: str) -> None:
    with pytest.raises(InputError, match="colour") as refused:
        decode(data, picture(RGB, photometric=stated))
    assert refused.value.rule == "codestream"


@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["444", "422", "420"])
def test_luminance_alone_is_the_luminance_of_the_colour_picture(subsampling: int) -> None:
    data = codestreams.jpeg(RGB, subsampling)
    gray = decode(data, picture(RGB, photometric="YBR_FULL_422", gray_only=True))
    full = decode(data, picture(RGB, photometric="YBR_FULL_422"))
    np.testing.assert_array_equal(gray.values, full.values[..., 0])
    np.testing.assert_array_equal(full.values, components(data))
    assert (gray.photometric, gray.packing) == ("MONOCHROME2", Packing.MONO)


def test_rgb_components_are_not_taken_for_luminance() -> None:
    decoded = decode(renamed(PLAIN, b"RGB"), picture(RGB, gray_only=True))
    assert (decoded.photometric, decoded.values.shape) == ("RGB", (40, 56, 3))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"])
def test_one_component_keeps_the_header_s_meaning(photometric: str) -> None:
    from PIL import Image

    data = codestreams.jpeg(GRAY)
    decoded = decode(data, picture(GRAY, photometric=photometric))
    np.testing.assert_array_equal(decoded.values, np.asarray(Image.open(io.BytesIO(data))))
    assert decoded.photometric == photometric


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (8, 8), (17, 5), (5, 17), (16, 16)])
def test_any_size_decodes_as_pillow_opens_it(shape: tuple[int, int]) -> None:
    from PIL import Image

    pixels = speckle((*shape, 3))
    data = codestreams.jpeg(pixels, 2)
    decoded = decode(data, picture(pixels, photometric="YBR_FULL"))
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", image.size)
        np.testing.assert_array_equal(decoded.values, np.asarray(image))


def test_eight_bit_extended_jpeg_decodes() -> None:
    data = codestreams.jpeg(GRAY).replace(b"\xff\xc0", b"\xff\xc1", 1)
    decoded = decoder_for(ROOT + "4.51").decode(data, picture(GRAY))
    np.testing.assert_array_equal(
        decoded.values, decode(codestreams.jpeg(GRAY), picture(GRAY)).values
    )


def test_one_decoder_follows_frames_of_changing_headers() -> None:
    decoder = decoder_for(ROOT + "4.50")
    said = picture(RGB, photometric="YBR_FULL")
    gray = picture(RGB, photometric="YBR_FULL", gray_only=True)
    streams = [codestreams.jpeg(RGB, s, quality) for s in (0, 2) for quality in (50, 90)]
    for data in (*streams, *reversed(streams)):
        np.testing.assert_array_equal(decoder.decode(data, said).values, components(data))
        np.testing.assert_array_equal(decoder.decode(data, gray).values, components(data)[..., 0])
    with pytest.raises(InputError):
        decoder.decode(streams[0], picture(RGB[1:], photometric="YBR_FULL"))
    np.testing.assert_array_equal(decoder.decode(streams[0], said).values, components(streams[0]))


def test_truncation_is_refused_whatever_pillow_s_global_switch_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = codestreams.jpeg(GRAY)
    with pytest.raises(InputError) as refused:
        decode(data[: len(data) // 2], picture(GRAY))
    assert refused.value.rule == "truncated"
