"""Look-up tables and palettes, plain and segmented, map as pydicom maps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest
from stored_values import apply_lut, read_with_pydicom, sample_values

from medge.engine.frames.frame import Lut, Meaning
from medge.engine.frames.study import open_study
from medge.errors import InputError


def meaning_of(path: Path, index: int = 0) -> Meaning:
    with open_study(path) as study:
        return study.frame(index).meaning


def refusal_of(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        meaning_of(path)
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.dcm"


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big"])
@pytest.mark.parametrize("first", [0, 3, -5])
def test_modality_and_voi_luts_map_as_pydicom_maps(path: Path, syntax: str, first: int) -> None:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    signed = first < 0
    pixels = made.speckle((8, 8), 8, signed).astype("i2" if signed else "u2")
    table = np.linspace(0, 4095, 200).astype(int).tolist()
    order = ">u2" if syntax == "big" else "<u2"
    modality = {"LUTDescriptor": [200, first, 16], "LUTData": np.array(table, order).tobytes()}
    voi = {
        "LUTDescriptor": [4096, 0, 10],
        "LUTData": (np.arange(4096) >> 2).astype(order).tobytes(),
    }
    tags = {"ModalityLUTSequence": [modality], "VOILUTSequence": [voi]}
    made.make(path, syntax=syntax, pixels=pixels, tags=tags)
    with open_study(path) as study:
        frame = study.frame(0)
        values = sample_values(frame)
    meaning = frame.meaning
    assert isinstance(meaning.modality, Lut)
    assert meaning.modality.bits == 16
    assert isinstance(meaning.voi[0], Lut)
    assert meaning.voi[0].bits == 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_with_pydicom(path)
        theirs = apply_modality_lut(pixels, dataset)
        ours = apply_lut(values, meaning.modality)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(
            apply_lut(ours.astype(int), meaning.voi[0]), apply_voi_lut(theirs, dataset)
        )


def test_eight_bit_entries_may_be_packed(path: Path) -> None:
    lut = {"LUTDescriptor": [5, 0, 8], "LUTData": bytes([0, 60, 120, 180, 240, 0])}
    made.make(path, tags={"VOILUTSequence": [lut]})
    voi = meaning_of(path).voi[0]
    assert isinstance(voi, Lut)
    assert voi.values.tolist() == [0, 60, 120, 180, 240]


def test_a_table_of_65536_entries_says_0(path: Path) -> None:
    lut = {"LUTDescriptor": [0, 0, 16], "LUTData": np.arange(65536).astype("<u2").tobytes()}
    made.make(path, stored=16, tags={"VOILUTSequence": [lut]})
    voi = meaning_of(path).voi[0]
    assert isinstance(voi, Lut)
    assert len(voi.values) == 65536


@pytest.mark.parametrize(
    ("lut", "word"),
    [
        ({"LUTDescriptor": [5, 0, 16], "LUTData": bytes(8)}, "8 bytes"),
        ({"LUTDescriptor": [4, 0, 7], "LUTData": bytes(8)}, "7 bits"),
        ({"LUTDescriptor": [4, 0, 17], "LUTData": bytes(8)}, "17 bits"),
        ({"LUTDescriptor": [4, 0], "LUTData": bytes(8)}, "2 numbers"),
        ({"LUTDescriptor": [2, 0, 10], "LUTData": b"\0\4\0\0"}, "entry 1024"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    path: Path, lut: dict[str, Any], word: str
) -> None:
    made.make(path, tags={"VOILUTSequence": [lut]})
    error = refusal_of(path)
    assert error.rule == "lut"
    assert word in error.message


def palette_tags(entries: int, first: int, bits: int, order: str = "<u2") -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for place, name in enumerate(("Red", "Green", "Blue")):
        table = np.linspace(place * 10, 2**bits - 1, entries).astype(int)
        data = table.astype(order).tobytes() if bits > 8 else table.astype("u1").tobytes()
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [entries % 65536, first, bits]
        tags[f"{name}PaletteColorLookupTableData"] = data
    return tags


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize(
    ("entries", "first", "bits"), [(256, 0, 8), (200, 7, 16), (256, 0, 16), (65536, 0, 16)]
)
def test_palettes_colour_as_pydicom_colours(
    path: Path, syntax: str, entries: int, first: int, bits: int
) -> None:
    from pydicom.pixels import apply_color_lut

    tags = palette_tags(entries, first, bits)
    stored = 16 if entries == 65536 else 8
    pixels = made.make(path, syntax=syntax, photometric="PALETTE COLOR", stored=stored, tags=tags)
    with open_study(path) as study:
        frame = study.frame(0)
        palette = frame.meaning.palette
        assert palette is not None
        values = sample_values(frame)
    tables = (palette.red, palette.green, palette.blue)
    ours = np.stack([apply_lut(values, table) for table in tables], axis=-1)
    theirs = apply_color_lut(pixels, read_with_pydicom(path))
    np.testing.assert_array_equal(ours, theirs)


def test_sixteen_bit_palettes_follow_the_byte_order_of_the_file(path: Path) -> None:
    # pydicom 3.0.2 reads plain tables in the machine's order, so it is no judge here.
    found = []
    for syntax, order in (("explicit", "<u2"), ("big", ">u2")):
        tags = palette_tags(256, 0, 16, order)
        made.make(path, syntax=syntax, photometric="PALETTE COLOR", tags=tags)
        palette = meaning_of(path).palette
        assert palette is not None
        found.append(palette.green.values.tolist())
    assert found[0] == found[1] == np.linspace(10, 65535, 256).astype(int).tolist()


def test_eight_bit_entries_in_big_endian_words_are_put_in_order(path: Path) -> None:
    tags = palette_tags(256, 0, 8)
    for name in ("Red", "Green", "Blue"):
        keyword = f"{name}PaletteColorLookupTableData"
        tags[keyword] = np.frombuffer(tags[keyword], np.uint16).byteswap().tobytes()
    made.make(path, syntax="big", photometric="PALETTE COLOR", tags=tags)
    palette = meaning_of(path).palette
    assert palette is not None
    assert palette.red.values.tolist() == list(range(256))


SEGMENTS = {
    "discrete": [0, 4, 10, 20, 30, 40],
    "discrete-linear": [0, 1, 0, 1, 9, 90],
    "falling": [0, 1, 99, 1, 7, 1],
    "flat": [0, 2, 5, 6, 1, 4, 6],
    "indirect": [0, 2, 3, 9, 1, 4, 50, 2, 2, 0, 0],
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", SEGMENTS)
def test_segmented_palettes_expand_as_pydicom_expands_them(
    path: Path, bits: int, name: str
) -> None:
    from pydicom.pixels.processing import _expand_segmented_lut

    numbers = list(SEGMENTS[name])
    if bits == 8:
        numbers += [0, 0] if name == "indirect" else []
    code = "B" if bits == 8 else "H"
    expected = _expand_segmented_lut(tuple(numbers), f"<{len(numbers)}{code}")
    data = np.array(numbers, "<u1" if bits == 8 else "<u2").tobytes()
    data += b"\0" * (len(data) % 2)
    tags: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [len(expected), 0, bits]
        tags[f"Segmented{colour}PaletteColorLookupTableData"] = data
    made.make(path, photometric="PALETTE COLOR", tags=tags)
    palette = meaning_of(path).palette
    assert palette is not None
    assert palette.green.values.tolist() == expected


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 4, 50],  # a line from nowhere
        [0, 9, 1, 2],  # ends inside a segment
        [0, 4, 1, 2, 3, 4, 0, 1, 5],  # more than promised
        [0, 3, 1, 2, 3],  # less than promised
        [0, 0],  # an empty segment would be endless
        [3, 4, 1],  # no such type
        [0, 1, 1, 2, 1, 5, 0],  # a copy of a copy
        [0, 1, 1, 2, 9, 0, 0],  # copies beyond the end
    ],
)
def test_segments_that_do_not_add_up_are_refused(path: Path, numbers: list[int]) -> None:
    tags: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tags[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(numbers, "<u2").tobytes()
    made.make(path, photometric="PALETTE COLOR", tags=tags)
    assert refusal_of(path).rule == "lut"


def test_palettes_of_different_length_are_refused(path: Path) -> None:
    tags = palette_tags(256, 0, 8)
    tags["RedPaletteColorLookupTableDescriptor"] = [255, 0, 8]
    made.make(path, photometric="PALETTE COLOR", tags=tags)
    assert refusal_of(path).rule == "palette"
    made.make(path, photometric="PALETTE COLOR")
    assert refusal_of(path).rule == "missing-element"
