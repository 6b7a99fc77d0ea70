"""DICOM frames hold the samples that pydicom reads, in every native format."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest
from stored_values import pydicom_pixels, sample_values

from medge.engine.frames.frame import Colour, Packing, Window
from medge.engine.frames.study import Asked, open_study
from medge.errors import InputError

GRAY = [
    {"stored": 8},
    {"stored": 8, "photometric": "MONOCHROME1"},
    {"stored": 5, "allocated": 8},
    {"stored": 8, "signed": True},
    {"stored": 16},
    {"stored": 12, "allocated": 16},
    {"stored": 12, "allocated": 16, "signed": True},
    {"stored": 16, "signed": True},
    {"stored": 8, "allocated": 16},
]
COLOUR = [
    {"photometric": "RGB"},
    {"photometric": "RGB", "planar": 1},
    {"photometric": "RGB", "stored": 16},
    {"photometric": "YBR_FULL"},
    {"photometric": "YBR_FULL", "planar": 1},
]


@pytest.mark.parametrize("syntax", made.NATIVE)
@pytest.mark.parametrize("frames", [None, 3])
@pytest.mark.parametrize("options", GRAY + COLOUR, ids=str)
def test_native_samples_are_those_written_and_those_pydicom_reads(
    tmp_path: Path, syntax: str, frames: int | None, options: dict[str, object]
) -> None:
    path = tmp_path / "native.dcm"
    options = {"rows": 7, "columns": 5, **options}  # odd sides: odd frame lengths, pad bytes
    pixels = made.make(path, syntax=syntax, frames=frames, **options)  # type: ignore[arg-type]
    theirs = pydicom_pixels(path)
    with open_study(path) as study:
        assert study.frame_count == (frames or 1)
        for index in range(study.frame_count):
            ours = sample_values(study.frame(index))
            np.testing.assert_array_equal(ours, pixels if frames is None else pixels[index])
            np.testing.assert_array_equal(ours, theirs[index])


@pytest.mark.parametrize("frames", [None, 3])
def test_native_ybr_422_is_served_as_it_lies(tmp_path: Path, frames: int | None) -> None:
    path = tmp_path / "ybr422.dcm"
    made.make(path, photometric="YBR_FULL_422", rows=4, columns=6, frames=frames)
    theirs = pydicom_pixels(path)
    with open_study(path) as study:
        for index in range(study.frame_count):
            frame = study.frame(index)
            assert frame.meaning.packing is Packing.YBR_422
            assert frame.meaning.colour is Colour.YBR_FULL
            assert frame.stored.shape == (4, 3, 4)
            np.testing.assert_array_equal(sample_values(frame), theirs[index])


def test_eight_bit_samples_in_big_endian_words_are_put_in_order(tmp_path: Path) -> None:
    # 3 frames of 3 x 3 bytes: every second frame begins in the middle of a word.
    path = tmp_path / "words.dcm"
    pixels = made.speckle((3, 3, 3))
    data = np.frombuffer(pixels.tobytes() + b"\0", np.uint16).byteswap().tobytes()
    made.make(path, syntax="big", pixels=pixels, frames=3, raw=data)
    from stored_values import read_with_pydicom

    dataset = read_with_pydicom(path)
    dataset["PixelData"].VR = "OW"
    made.write(path, dataset, made.SYNTAXES["big"])
    with open_study(path) as study:
        for index in (0, 1, 2, 1):
            np.testing.assert_array_equal(study.frame(index).stored, pixels[index])


def test_high_bits_above_the_sample_are_shifted_and_masked_away(tmp_path: Path) -> None:
    # 12 bits stored in bits 4..15, an overlay in bit 0.
    path = tmp_path / "high.dcm"
    values = made.speckle((6, 6), stored=12)
    words = (values << 4 | 1).astype("<u2")
    made.make(path, pixels=values, allocated=16, stored=12, high_bit=15, raw=words.tobytes())
    with open_study(path) as study:
        frame = study.frame(0)
        assert frame.meaning.high_bit == 15
        np.testing.assert_array_equal(frame.stored, words)
        np.testing.assert_array_equal(sample_values(frame), values)


def test_big_endian_words_are_handed_on_without_a_swap(tmp_path: Path) -> None:
    path = tmp_path / "big.dcm"
    pixels = made.make(path, syntax="big", stored=12, allocated=16)
    with open_study(path) as study:
        frame = study.frame(0)
        assert frame.meaning.swapped
        np.testing.assert_array_equal(frame.stored.byteswap(), pixels)


def test_an_odd_length_may_lack_its_pad_byte_but_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "odd.dcm"
    for size, accepted in ((8, False), (9, True), (10, True), (11, False), (12, False)):
        path.write_bytes(
            made.meta() + made.image_pixel(rows=3, columns=3) + made.pixel_data(bytes(size))
        )
        if accepted:
            with open_study(path) as study:
                assert study.frame(0).stored.shape == (3, 3)
        else:
            with pytest.raises(InputError) as caught:
                open_study(path)
            assert caught.value.rule == "pixel-length"
            assert "need 9 bytes" in caught.value.message
            assert f"have {size}" in caught.value.message


def test_elements_after_the_pixel_data_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "trailing.dcm"
    padding = made.element(0xFFFCFFFC, "OB", bytes(100))
    path.write_bytes(made.meta() + made.image_pixel() + made.pixel_data() + padding)
    with open_study(path) as study:
        assert study.frame(0).stored.shape == (2, 3)


def test_ten_thousand_frames_are_read_in_the_memory_of_one(tmp_path: Path) -> None:
    path = tmp_path / "cine.dcm"
    pixels = np.zeros((10_000, 16, 16), np.uint8)
    pixels[:, 0, 0] = np.arange(10_000) % 251
    made.make(path, pixels=pixels)
    with open_study(path) as study:
        stored = study.frame(0).stored
        study.frame(100)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for index in range(101, study.frame_count):
            frame = study.frame(index)
            assert np.shares_memory(frame.stored, stored)
            assert frame.stored[0, 0] == index % 251
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 10_000  # Python keeps some freed objects; 2,900 frames have more
    assert peak - before < 20_000


def test_a_long_compressed_cine_is_read_in_the_memory_of_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "cine.dcm"
    pixels = made.speckle((8, 8))
    stream = made.encode(pixels, "rle", _Gray(pixels))[0]
    streams = [stream] * 3000
    made.make(path, syntax="rle", pixels=np.stack([pixels] * 3000), encoded=streams)
    with open_study(path) as study:
        for index in range(100):
            study.frame(index)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for index in range(100, study.frame_count):
            assert study.frame(index).stored[7, 7] == pixels[7, 7]
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 10_000  # Python keeps some freed objects; 2,900 frames have more
    assert peak - before < 20_000


def test_groups_of_a_long_cine_are_looked_up_in_place(tmp_path: Path) -> None:
    path = tmp_path / "groups.dcm"
    groups = [
        {"FrameVOILUTSequence": [{"WindowCenter": index, "WindowWidth": 10}]}
        for index in range(400)
    ]
    pixels = np.zeros((400, 2, 2), np.uint8)
    made.make(path, pixels=pixels, tags={"PerFrameFunctionalGroupsSequence": groups})
    with open_study(path) as study:
        for index in (399, 0, 17):
            assert study.frame(index).meaning.voi == (Window(index, 10),)


def test_a_native_file_is_read_without_pydicom_pillow_or_a_codec(tmp_path: Path) -> None:
    path = tmp_path / "plain.dcm"
    made.make(path)
    code = (
        "import sys; from pathlib import Path; from medge.engine.frames.study import open_study\n"
        f"open_study(Path({str(path)!r})).frame(0)\n"
        "heavy = {'pydicom', 'PIL', 'onnxruntime', 'torch', 'openjpeg', 'jpeg_ls', 'gdcm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-I", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_header_longer_than_the_first_read_is_read_in_growing_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long.dcm"
    private = made.element(0x00091010, "OB", bytes(300_000))
    path.write_bytes(made.meta() + private + made.image_pixel() + made.pixel_data(b"abcdef"))
    with open_study(path) as study:
        assert study.frame(0).stored.tobytes() == b"abcdef"


def test_hundreds_of_wanted_elements_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "regions.dcm"
    regions = made.element(
        0x00186011, "SQ", 400 * made.item(made.element(0x00186014, "US", made.words(1)))
    )
    path.write_bytes(made.meta() + regions + made.image_pixel() + made.pixel_data())
    with open_study(path) as study:
        assert study.frame(0).meaning.regions == ()  # they lack their corners


@pytest.mark.parametrize("syntax", ["rle", "jpeg", "jpeg-ls", "jpeg-2000-lossless"])
@pytest.mark.parametrize("offset_table", [True, False])
@pytest.mark.parametrize("frames", [None, 3])
def test_compressed_frames_are_those_that_pydicom_decodes(
    tmp_path: Path, syntax: str, offset_table: bool, frames: int | None
) -> None:
    path = tmp_path / "compressed.dcm"
    made.make(path, syntax=syntax, frames=frames, offset_table=offset_table)
    theirs = pydicom_pixels(path)
    with open_study(path) as study:
        assert study.frame_count == (frames or 1)
        for index in range(study.frame_count):
            ours = sample_values(study.frame(index)).astype(int)
            tolerance = 1 if syntax == "jpeg" else 0  # two JPEG decoders may round apart
            assert np.abs(ours - theirs[index]).max() <= tolerance


def test_the_extended_offset_table_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "extended.dcm"
    pixels = made.speckle((3, 40, 36))
    streams = made.encode(pixels, "rle", _Gray(pixels))
    sizes = [len(stream) for stream in streams]
    offsets = np.cumsum([0] + [size + 8 for size in sizes[:-1]])
    tables = {
        "ExtendedOffsetTable": offsets.astype("<u8").tobytes(),
        "ExtendedOffsetTableLengths": np.array(sizes, "<u8").tobytes(),
    }
    options = {"syntax": "rle", "pixels": pixels, "encoded": streams, "offset_table": False}
    made.make(path, tags=tables, **options)  # type: ignore[arg-type]
    with open_study(path) as study:
        np.testing.assert_array_equal(sample_values(study.frame(2)), pixels[2])
    tables["ExtendedOffsetTable"] = tables["ExtendedOffsetTable"][:-8]
    made.make(path, tags=tables, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        open_study(path)
    assert caught.value.rule == "fragments"


class _Gray:
    """What the RLE encoder asks of a data set."""

    SamplesPerPixel = 1
    BitsAllocated = BitsStored = 8
    PixelRepresentation = 0
    PhotometricInterpretation = "MONOCHROME2"

    def __init__(self, pixels: np.ndarray[Any, Any]) -> None:
        self.Rows, self.Columns = pixels.shape[-2:]


def test_a_data_set_without_file_meta_is_read_when_the_syntax_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.dcm"
    front = made.element(0x00080060, "CS", b"US")
    path.write_bytes(front + made.image_pixel() + made.pixel_data(b"abcdef"))
    with pytest.raises(InputError) as caught:
        open_study(path)
    assert caught.value.rule == "no-meta"
    with open_study(path, Asked(assume_syntax=made.SYNTAXES["explicit"])) as study:
        assert study.frame(0).stored.tobytes() == b"abcdef"
        assert study.notes == ("assumed-syntax",)


def test_a_syntax_that_the_file_names_wins_over_the_assumed_one(tmp_path: Path) -> None:
    path = tmp_path / "named.dcm"
    pixels = made.make(path, syntax="big", stored=16)
    with open_study(path, Asked(assume_syntax=made.SYNTAXES["implicit"])) as study:
        np.testing.assert_array_equal(sample_values(study.frame(0)), pixels)
        assert study.notes == ()


@pytest.mark.parametrize(("says", "is_vr"), [("explicit", ""), ("implicit", "x")])
def test_the_other_kind_of_vr_is_found_and_noted(tmp_path: Path, says: str, is_vr: str) -> None:
    path = tmp_path / "switched.dcm"
    source = tmp_path / "source.dcm"
    pixels = made.make(source, syntax="implicit" if says == "explicit" else "explicit")
    data = source.read_bytes()
    uids = made.SYNTAXES["implicit"].encode() + b"\0", made.SYNTAXES["explicit"].encode()
    body = data[data.index(b"\x08\0\x16\0") :]
    path.write_bytes(made.meta(says) + body)
    assert uids[says == "explicit"].rstrip(b"\0") in path.read_bytes()
    with open_study(path) as study:
        np.testing.assert_array_equal(study.frame(0).stored, pixels)
        assert study.notes == (("explicit" if is_vr else "implicit") + "-vr-found",)


def test_a_file_that_changes_between_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "changing.dcm"
    made.make(path, frames=3)
    with open_study(path) as study:
        study.frame(0)
        os.utime(path, ns=(1, 1))
        with pytest.raises(InputError) as caught:
            study.frame(1)
        assert caught.value.rule == "changed"


def test_a_file_cut_short_between_frames_is_refused_and_kills_nobody(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.dcm"
    made.make(path, frames=3)
    with open_study(path) as study:
        study.frame(0)
        os.truncate(path, 700)
        with pytest.raises(InputError) as caught:
            study.frame(2)
        assert caught.value.rule == "changed"


def test_a_frame_number_that_does_not_exist_is_the_callers_error(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    made.make(path)
    with open_study(path) as study:
        for index in (-1, 1):
            with pytest.raises(IndexError):
                study.frame(index)


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "short.dcm"
    path.write_bytes(made.meta() + made.image_pixel() + made.pixel_data(bytes(5)))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(InputError):
            open_study(path)
    assert len(os.listdir("/proc/self/fd")) == before
