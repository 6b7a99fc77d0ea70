"""Real files: every native one that pydicom reads gives the same samples, or a stated refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_values import pydicom_pixels, sample_values

from medge.engine.frames.asked import Asked
from medge.engine.frames.study import open_study
from medge.errors import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dicom"

# What the contract refuses although pydicom returns pixels or a data set, and the rule.
REFUSED_BUNDLED = {
    "MR_small_padded.dcm": "pixel-length",  # 128 bytes too many
    "MR_truncated.dcm": "truncated",
    "badVR.dcm": "frame-count",  # NumberOfFrames is "1A"
    "ExplVR_BigEndNoMeta.dcm": "no-meta",
    "ExplVR_LitEndNoMeta.dcm": "no-meta",
    "no_meta.dcm": "not-an-image",  # shifted by one byte
    "meta_missing_tsyntax.dcm": "no-transfer-syntax",
    "rtstruct.dcm": "no-meta",
    "rtplan_truncated.dcm": "element-length",
    "nested_priv_SQ.dcm": "missing-element",  # a data set without Rows
    "liver_1frame.dcm": "bits-allocated",  # 1 bit
    "liver_expb_1frame.dcm": "bits-allocated",
    "rtdose.dcm": "bits-allocated",  # 32 bit
    "rtdose_1frame.dcm": "bits-allocated",
    "rtdose_expb.dcm": "bits-allocated",
    "rtdose_expb_1frame.dcm": "bits-allocated",
    **dict.fromkeys(
        (
            "empty_charset_LEI.dcm",
            "no_meta_group_length.dcm",
            "priv_SQ.dcm",
            "reportsi.dcm",
            "reportsi_with_empty_number_tags.dcm",
            "rtplan.dcm",
            "test-SR.dcm",
            "waveform_ecg.dcm",
        ),
        "no-pixel-data",
    ),
}
READ_BUNDLED = (
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "image_dfl.dcm",
)
REFUSED_SHARED = {
    "CR-MONO1-10-chest.dcm": "no-meta",
    "JLSL_RGB_ILV0.dcm": "no-meta",
    "liver_deflate.dcm": "syntax-unsupported",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
    "malformed/claims_big_endian.dcm": "vr-invalid",
    "malformed/empty.dcm": "empty",
    "malformed/no_pixel_data.dcm": "no-pixel-data",
    "malformed/truncated_in_pixels.dcm": "truncated",
    "malformed/wrong_vr_rows.dcm": "vr-mismatch",
    "malformed/zero_frames.dcm": "frame-count",
}
READ_SHARED = (
    "Deflated.dcm",
    "OBXXXX1A.dcm",
    "OBXXXX1A_expb.dcm",
    "SC_rgb_16bit.dcm",
    "SC_rgb_expb_16bit_2frame.dcm",
    "SC_ybr_full_uncompressed.dcm",
    "US1_UNCR.dcm",
    "color-pl.dcm",
    "dx_image.dcm",
    "emri_small.dcm",
    "emri_small_big_endian.dcm",
    "gdcm-US-ALOKA-16.dcm",
    "mlut_18.dcm",
    "vlut_04.dcm",
)


def bundled(name: str) -> Path:
    from pydicom import data

    return Path(data.__file__).parent / "test_files" / name


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is real data that this checkout does not have")
    return path


def check_samples(path: Path) -> None:
    theirs = pydicom_pixels(path)
    with open_study(path) as study:
        assert study.frame_count == len(theirs)
        for index in range(study.frame_count):
            np.testing.assert_array_equal(sample_values(study.frame(index)), theirs[index])


def check_refusal(path: Path, rule: str) -> None:
    with pytest.raises(InputError) as caught, open_study(path) as study:
        study.frame(0)
    assert caught.value.rule == rule


@pytest.mark.parametrize("name", READ_BUNDLED)
def test_bundled_native_files_have_the_samples_that_pydicom_reads(name: str) -> None:
    check_samples(bundled(name))


@pytest.mark.parametrize("name", READ_SHARED)
def test_shared_native_files_have_the_samples_that_pydicom_reads(name: str) -> None:
    check_samples(shared(name))


@pytest.mark.parametrize(("name", "rule"), REFUSED_BUNDLED.items())
def test_bundled_files_that_break_the_contract_are_refused_by_rule(name: str, rule: str) -> None:
    check_refusal(bundled(name), rule)


@pytest.mark.parametrize(("name", "rule"), REFUSED_SHARED.items())
def test_shared_files_that_break_the_contract_are_refused_by_rule(name: str, rule: str) -> None:
    check_refusal(shared(name), rule)


def test_no_native_file_that_pydicom_carries_is_left_out() -> None:
    """A file is in one of the lists above, or it is compressed."""
    from medge.engine.frames.meta import NATIVE, read_meta
    from medge.engine.frames.source import Source

    unknown = []
    for path in bundled("").glob("*.dcm"):
        source = Source(path)
        try:
            syntax = read_meta(source, source.read(0, min(4096, source.size)), Asked()).syntax
        except InputError:
            syntax = ""
        source.close()
        if (syntax in NATIVE or not syntax) and path.name not in {*READ_BUNDLED, *REFUSED_BUNDLED}:
            unknown.append(path.name)
    assert unknown == []


def test_the_chest_picture_without_meta_is_read_when_its_syntax_is_named() -> None:
    path = shared("CR-MONO1-10-chest.dcm")
    with open_study(path, Asked(assume_syntax="1.2.840.10008.1.2")) as study:
        frame = study.frame(0)
        stored = frame.stored
    raw = np.frombuffer(path.read_bytes()[-2 * 440 * 440 :], "<u2").reshape(440, 440)
    np.testing.assert_array_equal(stored, raw)
    assert frame.meaning.inverted
    assert frame.meaning.bits_stored == 10
    assert study.context.modality == "CR"


def test_a_picture_with_meta_but_no_preamble_names_its_own_syntax() -> None:
    path = shared("JLSL_RGB_ILV0.dcm")
    with open_study(path, Asked(assume_syntax="1.2.840.10008.1.2")) as study:
        assert study.context.syntax == "1.2.840.10008.1.2.4.80"
        assert study.frame(0).stored.size == 256 * 256 * 3


def test_a_whole_frame_before_a_missing_end_is_read_when_partial_is_asked_for() -> None:
    path = shared("malformed/truncated_in_pixels.dcm")
    check_refusal(path, "truncated")
    with pytest.raises(InputError):  # one frame, and it is the one that is cut
        open_study(path, Asked(partial=True))


@pytest.mark.parametrize(
    ("name", "boxes", "spacing_mm"),
    [
        ("examples_ybr_color.dcm", [(84, 31, 320, 240)], 0.5104970559477806),
        ("examples_palette.dcm", [(120, 60, 800, 350)], 0.26228787661969977),
    ],
)
def test_ultrasound_regions_and_spacing_of_real_files_are_read(
    name: str, boxes: list[tuple[int, ...]], spacing_mm: float
) -> None:
    from stored_values import read_with_pydicom

    path = bundled(name)
    theirs = read_with_pydicom(path).SequenceOfUltrasoundRegions
    with open_study(path) as study:
        meaning = study.frame(0).meaning
        found = [(r.x0, r.y0, r.x1, r.y1) for r in meaning.regions]
        assert found == boxes
        for item, box in zip(theirs, boxes, strict=False):
            assert (item.RegionLocationMinX0, item.RegionLocationMinY0) == box[:2]
        assert study.context.pixel_spacing_mm == (spacing_mm, spacing_mm)
        # Both were cropped after their regions were written, which reach beyond them now.
        assert study.notes == ("region-outside-picture",)


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_tables_of_real_files_map_as_pydicom_maps(name: str) -> None:
    from pydicom.pixels import apply_modality_lut, apply_voi
    from stored_values import apply_lut, read_with_pydicom

    from medge.engine.frames.frame import Lut

    path = shared(name)
    dataset = read_with_pydicom(path)
    with open_study(path) as study:
        frame = study.frame(0)
        values = sample_values(frame)
    table = frame.meaning.modality if name.startswith("m") else frame.meaning.voi[0]
    assert isinstance(table, Lut)
    apply = apply_modality_lut if name.startswith("m") else apply_voi
    theirs = apply(pydicom_pixels(path)[0], dataset)
    np.testing.assert_array_equal(apply_lut(values, table), theirs)
