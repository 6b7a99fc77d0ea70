"""A JPEG whose codes are not exactly those of its picture is refused: libjpeg would make it up."""

from __future__ import annotations

import struct
from collections.abc import Callable

import codestreams
import jpeg_reference
import numpy as np
import pytest
from codestreams import ROOT, picture
from dicom_files import speckle

from medge import _native
from medge.engine.decoders import decoder_for
from medge.errors import InputError

GRAY = speckle((24, 40), seed=1)
RGB = speckle((24, 40, 3), seed=2)


def streams() -> dict[str, bytes]:
    return {
        "gray": codestreams.jpeg(GRAY),
        "444": codestreams.jpeg(RGB, 0),
        "422": codestreams.jpeg(RGB, 1),
        "420": codestreams.jpeg(RGB, 2, quality=30),
        "restarts": codestreams.jpeg(RGB, 2, restart_marker_blocks=1),
        "optimised": codestreams.jpeg(GRAY, optimize=True, quality=98),
        "three scans": three_scans(),
        "odd": codestreams.jpeg(speckle((17, 9, 3)), 2),
    }


def three_scans() -> bytes:
    """Three components, each in a scan of its own: three gray JPEGs put together."""
    parts = [codestreams.jpeg(np.ascontiguousarray(RGB[..., i])) for i in range(3)]
    head = codestreams.without_segment(parts[0][: parts[0].index(b"\xff\xda")], 0xE0)
    head = codestreams.without_segment(head, 0xC0)
    frame = struct.pack(">BHHB", 8, 24, 40, 3) + bytes((1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))
    head = codestreams.with_segment(head, 0xC0, frame)
    for number, part in enumerate(parts, 1):
        at = part.index(b"\xff\xda")
        head += part[at : at + 5] + bytes((number,)) + part[at + 6 : -2]
    return head + b"\xff\xd9"


def whole_by_reference(data: bytes) -> bool:
    try:
        jpeg_reference.account(data)
    except jpeg_reference.NotWholeError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(streams()))
def test_every_block_of_a_good_jpeg_is_counted(name: str) -> None:
    data = streams()[name]
    status, _, blocks = _native.account_jpeg(data)
    assert (status, blocks) == (0, jpeg_reference.account(data))


def test_scans_of_one_component_each_decode() -> None:
    decoded = decoder_for(ROOT + "4.50").decode(three_scans(), picture(RGB))
    assert np.abs(decoded.values.astype(int) - RGB).max() < 60
    for i in range(3):
        alone = codestreams.jpeg(np.ascontiguousarray(RGB[..., i]))
        gray = decoder_for(ROOT + "4.50").decode(alone, picture(GRAY))
        np.testing.assert_array_equal(decoded.values[..., i], gray.values)


@pytest.mark.parametrize("name", sorted(streams()))
def test_mutated_jpegs_are_judged_as_the_slow_reference_judges_them(name: str) -> None:
    good = streams()[name]
    random = np.random.default_rng(len(name))
    verdicts = {True: 0, False: 0}
    for _ in range(80):
        data = bytearray(good)
        at = int(random.integers(2, len(data)))
        match random.integers(4):
            case 0:
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                del data[at : at + int(random.integers(1, 9))]
            case 2:
                data[at:at] = random.bytes(int(random.integers(1, 9)))
            case _:
                data[at] = int(random.integers(256))
        whole = whole_by_reference(bytes(data))
        assert (_native.account_jpeg(bytes(data))[0] == 0) == whole
        verdicts[whole] += 1
    assert min(verdicts.values()) > 2  # both answers were tried


@pytest.mark.parametrize("name", sorted(streams()))
def test_bytes_lost_or_doubled_inside_a_frame_are_noticed(name: str) -> None:
    data = streams()[name]
    begin = data.index(b"\xff\xda") + 14
    for count in (1, 7):
        for at in range(begin, len(data) - 2 - count, max(1, len(data) // 20)):
            lost = data[:at] + data[at + count :]
            doubled = data[: at + count] + data[at:]
            for hurt in (lost, doubled):
                assert (_native.account_jpeg(hurt)[0] == 0) == whole_by_reference(hurt)


@pytest.mark.parametrize(("bits", "shape"), [(8, (9, 14)), (12, (9, 14)), (16, (7, 5, 3))])
def test_lossless_jpegs_are_judged_sample_by_sample(bits: int, shape: tuple[int, ...]) -> None:
    pixels = speckle(shape, bits, seed=bits)
    good = codestreams.jpeg_lossless(pixels, bits)
    status, _, count = _native.account_jpeg(good, lossless=True)
    assert (status, count) == (0, pixels.size)
    assert _native.account_jpeg(good)[0] != 0  # taken for a sequential one
    random = np.random.default_rng(bits)
    seen = set()
    for _ in range(120):
        data = bytearray(good)
        at = int(random.integers(2, len(data)))
        if random.integers(2):
            data[at] ^= 1 << int(random.integers(8))
        else:
            del data[at : at + int(random.integers(1, 4))]
        try:
            jpeg_reference.account(bytes(data), lossless=True)
            whole = True
        except jpeg_reference.NotWholeError:
            whole = False
        assert (_native.account_jpeg(bytes(data), lossless=True)[0] == 0) == whole
        seen.add(whole)
    assert seen == {True, False}


def test_jpeg_lossless_that_lost_a_few_bytes_is_refused() -> None:
    data = codestreams.jpeg_lossless(GRAY)
    hurt = data[:-62] + data[-2:]
    with pytest.raises(InputError, match="samples") as refused:
        decoder_for(ROOT + "4.70", allow_gdcm=True).check(hurt, picture(GRAY))
    assert refused.value.rule == "truncated"


@pytest.mark.parametrize(
    ("hurt", "rule", "words"),
    [
        (lambda d: d[:-60] + b"\xff\xd9", "truncated", "blocks of 8 x 8"),
        (lambda d: d[:-2] + b"\x55\x55" + d[-2:], "codestream", "more than the last block"),
        (lambda d: d.replace(b"\xff\xd1", b"\xff\xd2", 1), "codestream", "restart marker"),
        (lambda d: d[:-2] + b"\xff\xd0" + d[-2:], "codestream", ""),
    ],
)
def test_the_refusal_says_what_is_wrong(
    hurt: Callable[[bytes], bytes], rule: str, words: str
) -> None:
    data = codestreams.jpeg(RGB, 2, restart_marker_blocks=1)
    with pytest.raises(InputError) as refused:
        decoder_for(ROOT + "4.50").decode(hurt(data), picture(RGB, photometric="YBR_FULL"))
    assert refused.value.rule == rule
    assert words in refused.value.message


def test_any_bytes_are_safe() -> None:
    random = np.random.default_rng(3)
    good = streams()["420"]
    for size in (0, 1, 2, 3, 4, 5, 100, 400):
        for data in (random.bytes(size), b"\xff\xd8" + random.bytes(size), good[:size]):
            assert _native.account_jpeg(data)[0] != 0
