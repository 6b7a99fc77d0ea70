"""What stored values mean is read as pydicom reads it: modality, VOI, palette, regions, groups."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dicom_files as made
import pytest

from medge.engine.frames.frame import Context, Meaning, Region, Rescale, Window
from medge.engine.frames.study import open_study
from medge.errors import InputError


def meaning_of(path: Path, index: int = 0) -> Meaning:
    with open_study(path) as study:
        return study.frame(index).meaning


def context_of(path: Path) -> Context:
    with open_study(path) as study:
        return study.context


def refusal_of(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        meaning_of(path)
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.dcm"


def test_a_plain_picture_has_no_transforms(path: Path) -> None:
    made.make(path)
    meaning = meaning_of(path)
    assert meaning.modality is None
    assert meaning.voi == ()
    assert meaning.padding is None
    assert meaning.palette is None
    assert not meaning.inverted


def test_rescale_and_windows_are_read_in_the_order_of_the_file(path: Path) -> None:
    tags = {"WindowCenter": [40, 300.5], "WindowWidth": [400, 1500]}
    made.make(path, stored=12, allocated=16, rescale=(0.5, -1024), tags=tags)
    meaning = meaning_of(path)
    assert meaning.modality == Rescale(0.5, -1024)
    assert meaning.voi == (Window(40, 400), Window(300.5, 1500))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_voi_function_is_kept(path: Path, function: str) -> None:
    made.make(path, window=(40, 400), tags={"VOILUTFunction": function})
    assert meaning_of(path).voi == (Window(40, 400, function),)


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({"WindowCenter": 40}, "voi-window"),
        ({"WindowCenter": [40, 50], "WindowWidth": 100}, "voi-window"),
        ({"WindowCenter": 40, "WindowWidth": 0}, "voi-window"),
        ({"WindowCenter": 40, "WindowWidth": 0.5}, "voi-window"),
        ({"WindowCenter": 40, "WindowWidth": -4, "VOILUTFunction": "SIGMOID"}, "voi-window"),
        ({"WindowCenter": 40, "WindowWidth": 4, "VOILUTFunction": "CUBIC"}, "voi-function"),
        ({"RescaleSlope": 1}, "rescale"),
        ({"RescaleIntercept": 1}, "rescale"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "rescale"),
    ],
)
def test_transforms_that_make_no_sense_are_refused(
    path: Path, tags: dict[str, Any], rule: str
) -> None:
    made.make(path, tags=tags)
    assert refusal_of(path).rule == rule


@pytest.mark.parametrize("width", [0.5, 1])
def test_a_narrow_window_is_legal_where_the_standard_allows_it(path: Path, width: float) -> None:
    function = "LINEAR" if width == 1 else "LINEAR_EXACT"
    made.make(path, window=(40, width), tags={"VOILUTFunction": function})
    assert meaning_of(path).voi == (Window(40, width, function),)


@pytest.mark.parametrize("value", [b"1e400 ", b"nan ", b"inf ", b"4O", b"1,5 ", b"0x10", b"1_0 "])
def test_a_number_that_is_none_is_refused_without_repeating_it(path: Path, value: bytes) -> None:
    slope = made.element(0x00281052, "DS", b"0 ") + made.element(0x00281053, "DS", value)
    path.write_bytes(made.meta() + made.image_pixel(more=slope) + made.pixel_data())
    error = refusal_of(path)
    assert error.rule == "bad-value"
    assert value.decode().strip() not in error.message.replace("(0028,1053)", "")


def test_monochrome1_and_the_inverse_shape_both_invert(path: Path) -> None:
    made.make(path, photometric="MONOCHROME1")
    assert meaning_of(path).inverted
    for shape, inverted in (("INVERSE", True), ("IDENTITY", False)):
        made.make(path, tags={"PresentationLUTShape": shape})
        assert meaning_of(path).inverted is inverted
    made.make(path, photometric="MONOCHROME1", tags={"PresentationLUTShape": "INVERSE"})
    assert meaning_of(path).inverted  # one inversion, said twice


@pytest.mark.parametrize(
    ("signed", "value", "limit", "expected"),
    [
        (False, 0, None, (0, 0)),
        (False, 65535, 65000, (65000, 65535)),
        (True, -2000, None, (-2000, -2000)),
        (True, -2000, -1990, (-2000, -1990)),
    ],
)
def test_padding_is_a_range_of_stored_values(
    path: Path, signed: bool, value: int, limit: int | None, expected: tuple[int, int]
) -> None:
    tags: dict[str, Any] = {"PixelPaddingValue": value}
    if limit is not None:
        tags["PixelPaddingRangeLimit"] = limit
    made.make(path, stored=16, signed=signed, tags=tags)
    assert meaning_of(path).padding == expected


def test_signed_padding_that_is_labelled_unsigned_is_signed_like_the_pixels(path: Path) -> None:
    padding = made.element(0x00280120, "US", made.words(0xF830))
    parts = {
        "allocated": made.element(0x00280100, "US", made.words(16)),
        "stored": made.element(0x00280101, "US", made.words(16)),
        "high_bit": made.element(0x00280102, "US", made.words(15)),
        "representation": made.element(0x00280103, "US", made.words(1)),
    }
    header = made.image_pixel(more=padding, **parts)
    path.write_bytes(made.meta() + header + made.pixel_data(bytes(12)))
    assert meaning_of(path).padding == (-2000, -2000)


def region(
    x0: int, y0: int, x1: int, y1: int, *, kind: int = 1, cm: float = 0.02
) -> dict[str, Any]:
    return {
        "RegionDataType": kind,
        "RegionLocationMinX0": x0,
        "RegionLocationMinY0": y0,
        "RegionLocationMaxX1": x1,
        "RegionLocationMaxY1": y1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": cm,
        "PhysicalDeltaY": cm * 2,
    }


def test_regions_are_half_open_and_inside_the_picture(path: Path) -> None:
    regions = [region(2, 3, 30, 20), region(0, 25, 35, 39, kind=3), region(30, 30, 90, 90)]
    made.make(path, rows=40, columns=36, tags={"SequenceOfUltrasoundRegions": regions})
    with open_study(path) as study:
        assert study.frame(0).meaning.regions == (
            Region(2, 3, 31, 21, tissue=True),
            Region(0, 25, 36, 40, tissue=False),
            Region(30, 30, 36, 40, tissue=True),
        )
        assert study.notes == ("region-outside-picture",)


def test_spacing_comes_from_the_patient_the_detector_or_the_largest_tissue_region(
    path: Path,
) -> None:
    regions = [region(0, 0, 9, 9, cm=0.01), region(0, 0, 30, 30), region(0, 0, 35, 35, kind=3)]
    tags: dict[str, Any] = {"SequenceOfUltrasoundRegions": regions}
    made.make(path, tags=tags)
    assert context_of(path).pixel_spacing_mm == pytest.approx((0.4, 0.2))
    made.make(path, tags={**tags, "ImagerPixelSpacing": [0.15, 0.16]})
    assert context_of(path).pixel_spacing_mm == (0.15, 0.16)
    made.make(path, tags={**tags, "ImagerPixelSpacing": [1, 1], "PixelSpacing": [0.7, 0.8]})
    assert context_of(path).pixel_spacing_mm == (0.7, 0.8)
    measures = [{"PixelMeasuresSequence": [{"PixelSpacing": [0.3, 0.3]}]}]
    made.make(path, tags={"SharedFunctionalGroupsSequence": measures})
    assert context_of(path).pixel_spacing_mm == (0.3, 0.3)


def test_context_is_read_in_code_terms_only(path: Path) -> None:
    made.make(path)
    assert context_of(path) == Context(modality="US", syntax=made.SYNTAXES["explicit"])
    tags = {"BodyPartExamined": "Breast", "ViewPosition": "MLO", "SyntheticData": "YES"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.make(path, tags=tags)
    found = context_of(path)
    assert (found.body_part, found.view, found.synthetic) == ("BREAST", "MLO", True)
    breast = {"CodeValue": "76752008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Breast"}
    view = {"CodeValue": "399162004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "cc"}
    made.make(path, tags={"AnatomicRegionSequence": [breast], "ViewCodeSequence": [view]})
    found = context_of(path)
    assert (found.body_part, found.view) == ("BREAST", "CC")
    strange = made.element(0x00180015, "CS", b"M\xfcller, Anna")
    path.write_bytes(made.meta() + strange + made.image_pixel() + made.pixel_data())
    assert context_of(path).body_part is None


def groups(*windows: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"FrameVOILUTSequence": [{"WindowCenter": center, "WindowWidth": width}]}
        for center, width in windows
    ]


def test_functional_groups_override_frame_by_frame(path: Path) -> None:
    transform = {"RescaleSlope": 2, "RescaleIntercept": -3, "RescaleType": "US"}
    shared = [{"PixelValueTransformationSequence": [transform], **groups((1, 2))[0]}]
    frames = groups((10, 20), (11, 21))
    frames.append({"PixelValueTransformationSequence": [{**transform, "RescaleSlope": 5}]})
    tags = {
        "SharedFunctionalGroupsSequence": shared,
        "PerFrameFunctionalGroupsSequence": frames,
        "WindowCenter": 77,
        "WindowWidth": 77,
    }
    made.make(path, frames=3, tags=tags)
    with open_study(path) as study:
        found = [study.frame(index).meaning for index in range(3)]
    assert [m.voi for m in found] == [(Window(10, 20),), (Window(11, 21),), (Window(1, 2),)]
    assert [m.modality for m in found] == [Rescale(2, -3), Rescale(2, -3), Rescale(5, -3)]


def test_groups_that_do_not_match_the_frames_are_refused(path: Path) -> None:
    made.make(path, frames=3, tags={"PerFrameFunctionalGroupsSequence": groups((1, 2), (3, 4))})
    error = refusal_of(path)
    assert error.rule == "functional-groups"
    assert "2 items for 3 frames" in error.message


def test_colour_is_neither_rescaled_nor_windowed(path: Path) -> None:
    made.make(path, photometric="RGB", window=(40, 400), rescale=(2, 3))
    meaning = meaning_of(path)
    assert meaning.modality is None
    assert meaning.voi == ()
