"""Stored values become display values as PS3.3 C.11 says and as pydicom computes it."""

from __future__ import annotations

import numpy as np
import pytest
from preprocess_frames import displayed, gray, prepared, rgb, spec
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, convert_color_space
from pydicom.sequence import Sequence

from medge.engine.frames.frame import (
    Colour,
    Lut,
    Packing,
    Palette,
    Rescale,
    Window,
)
from medge.engine.manifest import Voi
from medge.engine.preprocess import Preprocessor
from medge.errors import InputError

CLOSE = {"rtol": 0, "atol": 2e-6}  # float32 against float64


def noise(seed: int, dtype: type, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape, dtype)


def window_set(center: float, width: float, shape: str = "LINEAR") -> Dataset:
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, shape
    ds.BitsStored, ds.BitsAllocated, ds.PixelRepresentation = 16, 16, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    return ds


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40.0, 400.0), (1000.5, 2.0), (-300.0, 1e5)])
@pytest.mark.parametrize("slope", [1.0, 0.25, -2.0])
def test_windows_agree_with_pydicom(shape: str, center: float, width: float, slope: float) -> None:
    stored = noise(1, np.int16) // 16
    rescale = Rescale(slope, -100.0)
    found = displayed(gray(stored, modality=rescale, voi=(Window(center, width, shape),)))
    ds = window_set(center, width, shape)
    ds.RescaleSlope, ds.RescaleIntercept = slope, -100.0
    with np.errstate(over="ignore"):
        expected = apply_windowing(apply_modality_lut(stored, ds), ds)
    # pydicom's output goes from the rescaled 0 to the rescaled 65535.
    expected = (expected + 100.0) / (65535 * slope)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_linear_follows_the_worked_example_of_the_standard() -> None:
    # C.11.2.1.2.1, note: c = 2048, w = 4096 on 0..4095 becomes 0..1 with both ends reached.
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    found = displayed(gray(stored, voi=(Window(2048.0, 4096.0),)))
    np.testing.assert_allclose(found, stored / 4095, **CLOSE)
    assert found.min() == 0.0
    assert found.max() == 1.0


def test_a_linear_window_of_width_1_is_a_step() -> None:
    # C.11.2.1.2.1, note: c = 2048, w = 1 becomes 0 where x <= 2047, 1 where x > 2047.
    stored = np.arange(2040, 2056, dtype=np.uint16).reshape(4, 4)
    found = displayed(gray(stored, voi=(Window(2048.0, 1.0),)))
    np.testing.assert_array_equal(found, stored > 2047)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_modality_and_voi_tables_agree_with_pydicom(signed: bool, bits: int) -> None:
    random = np.random.default_rng(bits)
    stored = noise(2, np.int16 if signed else np.uint16) % 500
    first_in, first_out = (-20 if signed else 30), 25
    # Inputs beyond 255 + 25 would meet a fault of pydicom, which indexes 8-bit tables with uint8.
    modality = random.integers(0, 280, 200).astype(np.uint16)
    voi = random.integers(0, 2**bits, 150).astype(np.uint16)
    frame = gray(stored, modality=Lut(first_in, modality, 16), voi=(Lut(first_out, voi, bits),))
    ds = Dataset()
    ds.BitsStored, ds.BitsAllocated, ds.PixelRepresentation = 16, 16, int(signed)
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [200, first_in, 16])
    item.add_new(0x00283006, "US", modality.tolist())
    ds.ModalityLUTSequence = Sequence([item])
    item = Dataset()
    item.add_new(0x00283002, "US", [150, first_out, bits])
    item.add_new(0x00283006, "US", voi.tolist())
    ds.VOILUTSequence = Sequence([item])
    expected = apply_voi(apply_modality_lut(stored, ds), ds) / (2**bits - 1)
    np.testing.assert_allclose(displayed(frame), expected, **CLOSE)


def test_the_full_range_of_the_stored_bits_is_shown_when_the_file_has_no_voi() -> None:
    stored = np.array([[-2048, 0, 2047, -1024]] * 2, np.int16)
    frame = gray(stored, bits_stored=12, high_bit=11, modality=Rescale(2.0, 7.0))
    np.testing.assert_allclose(displayed(frame), (stored + 2048) / 4095, **CLOSE)
    frame = gray(stored, bits_stored=12, high_bit=11, modality=Rescale(-2.0, 7.0))
    np.testing.assert_allclose(displayed(frame), (2047 - stored) / 4095, **CLOSE)


def test_inversion_comes_after_the_window_and_padding_after_both() -> None:
    stored = np.array([[0, 10, 20, 30, 40, 50]] * 2, np.uint8)
    frame = gray(stored, voi=(Window(20.5, 21.0),), inverted=True, padding=(0, 10))
    np.testing.assert_allclose(displayed(frame)[0], [0, 0, 0.5, 0, 0, 0], **CLOSE)


def test_bits_beside_the_sample_are_ignored() -> None:
    # 10 bits stored at high bit 13: two overlay bits above, four below.
    samples = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    dirt = np.random.default_rng(3).integers(0, 4, samples.shape, np.uint16)
    words = (samples << 4) | (dirt << 14) | dirt
    clean = displayed(gray(samples, bits_stored=10, high_bit=9))
    np.testing.assert_array_equal(displayed(gray(words, bits_stored=10, high_bit=13)), clean)


def test_words_of_the_other_byte_order_are_swapped_as_stored_or_as_the_dtype_says() -> None:
    stored = noise(4, np.uint16)
    plain = displayed(gray(stored))
    np.testing.assert_array_equal(displayed(gray(stored.byteswap(), swapped=True)), plain)
    other = stored.astype(stored.dtype.newbyteorder())
    np.testing.assert_array_equal(displayed(gray(other, swapped=True)), plain)
    values = np.random.default_rng(4).random((9, 9), np.float32)
    other = values.astype(values.dtype.newbyteorder())
    np.testing.assert_array_equal(displayed(gray(other, swapped=True)), values)


def test_minmax_and_percentiles_leave_padding_out_and_agree_with_numpy() -> None:
    stored = noise(5, np.int16) // 8
    stored[:5] = -4096
    stored[0, 0] = 4095
    inside = stored[stored != -4096] * -0.5 + 3
    frame = gray(stored, modality=Rescale(-0.5, 3.0), padding=(-4096, -4096))
    for voi, low, high in (
        (Voi(rule="minmax"), inside.min(), inside.max()),
        (Voi(rule="percentile", low=2.5, high=99.0), *np.percentile(inside, (2.5, 99.0))),
    ):
        expected = np.clip((stored * -0.5 + 3 - low) / (high - low), 0, 1)
        expected[stored == -4096] = 0
        np.testing.assert_allclose(displayed(frame, voi=voi), expected, **CLOSE)


def test_the_bundles_own_window_wins_over_the_files() -> None:
    stored = noise(6, np.uint16)
    frame = gray(stored, modality=Rescale(1.0, -1024.0), voi=(Window(1.0, 2.0),))
    found = displayed(frame, voi=Voi(rule="window", center=30000.0, width=20001.0))
    expected = np.clip((stored - 1024.0 - 19999.5) / 20000, 0, 1)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_the_asked_window_of_several_is_taken() -> None:
    stored = noise(7, np.uint8)
    windows = (Window(50.0, 20.0), Window(100.0, 80.0))
    second = displayed(gray(stored, voi=windows[1:]))
    np.testing.assert_array_equal(displayed(gray(stored, voi=windows), voi=Voi(index=1)), second)


@pytest.mark.parametrize("packing", [Packing.INTERLEAVED, Packing.PLANAR])
def test_full_range_ybr_agrees_with_pydicom(packing: Packing) -> None:
    stored = noise(8, np.uint8, (30, 40, 3))
    expected = convert_color_space(stored, "YBR_FULL", "RGB")  # rounds to 8 bits
    if packing is Packing.PLANAR:
        stored = np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    frame = rgb(
        stored, rows=30, columns=40, colour=Colour.YBR_FULL, packing=packing, photometric="YBR_FULL"
    )
    found = prepared(spec(30, 40, channels=3, colour="rgb", layout="NHWC"), frame)
    np.testing.assert_allclose(found, expected / 255, rtol=0, atol=1.001 / 255)


def test_chroma_of_422_belongs_to_both_pixels_of_a_pair() -> None:
    pairs = noise(9, np.uint8, (20, 15, 4))
    full = np.concatenate(
        [pairs[..., :2].reshape(20, 30, 1), np.repeat(pairs[..., 2:], 2, axis=1)], axis=-1
    )
    shared = {"rows": 20, "columns": 30, "colour": Colour.YBR_FULL, "photometric": "YBR_FULL"}
    how = spec(20, 30, channels=3, colour="rgb")
    found = prepared(how, rgb(pairs, **shared, packing=Packing.YBR_422))
    np.testing.assert_array_equal(found, prepared(how, rgb(full, **shared)))


def test_gray_of_ybr_is_its_luma() -> None:
    stored = noise(10, np.uint8, (20, 30, 3))
    frame = rgb(stored, colour=Colour.YBR_FULL, photometric="YBR_FULL")
    np.testing.assert_allclose(prepared(spec(20, 30), frame)[0], stored[..., 0] / 255, **CLOSE)


def test_gray_of_rgb_agrees_with_pillow_and_opencv() -> None:
    import cv2
    from PIL import Image

    stored = noise(11, np.uint8, (20, 30, 3))
    found = prepared(spec(20, 30), rgb(stored))[0] * 255
    for expected in (
        np.asarray(Image.fromarray(stored).convert("L")),
        cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY),
    ):
        assert np.abs(found - expected).max() <= 1.0  # they round or cut to 8 bits


def test_palettes_are_looked_up_and_grayed() -> None:
    random = np.random.default_rng(12)
    tables = [random.integers(0, 65536, 200).astype(np.uint16) for _ in range(3)]
    stored = noise(12, np.uint8)
    entries = np.stack([t[np.clip(stored.astype(int) - 10, 0, 199)] for t in tables])
    frame = gray(
        stored,
        colour=Colour.PALETTE,
        photometric="PALETTE COLOR",
        palette=Palette(*(Lut(10, table, 16) for table in tables)),
    )
    found = prepared(spec(40, 50, channels=3, colour="rgb"), frame)
    np.testing.assert_allclose(found, entries / 65535, **CLOSE)
    luma = np.tensordot([0.299, 0.587, 0.114], entries / 65535, axes=1)
    np.testing.assert_allclose(prepared(spec(40, 50), frame)[0], luma, **CLOSE)


def refused(how: object, frame: object) -> str:
    with pytest.raises(InputError) as caught:
        prepared(how, frame)
    return caught.value.rule


def test_what_does_not_fit_the_bundle_is_refused() -> None:
    picture = gray(noise(13, np.uint8))
    assert refused(spec(8, 8, accepts=("RGB",)), picture) == "photometric-not-accepted"
    assert refused(spec(8, 8, min_side=41), picture) == "too-small"
    assert refused(spec(8, 8, voi=Voi(rule="required")), picture) == "voi-absent"
    one = gray(picture.stored, voi=(Window(40.0, 80.0),))
    assert refused(spec(8, 8, voi=Voi(index=1)), one) == "voi-absent"
    assert refused(spec(8, 8), gray(picture.stored, modality=Rescale(1e306, 0.0))) == "rescale"
    floats = gray(np.ones((9, 9), np.float32))
    window = Voi(rule="window", center=0.5, width=1.0)
    assert refused(spec(8, 8, voi=window), floats) == "array-dtype"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_blank_pictures_are_refused_beyond_the_bundles_limit(dtype: type) -> None:
    stored = np.zeros((20, 50), dtype)
    stored[:5] = (np.arange(250).reshape(5, 50) + 1) / (251 if dtype is np.float32 else 1)
    for picture in (gray(stored), rgb(np.repeat(stored[..., None], 3, axis=2))):
        assert refused(spec(8, 8, max_constant_ratio=0.7499), picture) == "constant"
        prepared(spec(8, 8, max_constant_ratio=0.75), picture)
    blank = gray(np.full((20, 50), 1, dtype))
    assert refused(spec(8, 8, voi=Voi(rule="minmax")), blank) == "constant"
    percentile = Voi(rule="percentile", low=5.0, high=20.0)
    assert refused(spec(8, 8, voi=percentile), gray(stored)) == "constant"


def test_a_refused_picture_leaves_nothing_behind_for_the_next() -> None:
    preprocessor = Preprocessor(spec(8, 8, min_side=20))
    out = np.zeros((1, 8, 8), np.float32)
    small, large = gray(noise(14, np.uint8, (10, 10))), gray(noise(14, np.uint8))
    for _ in range(2):
        preprocessor.prepare(large, out)
        with pytest.raises(InputError):
            preprocessor.prepare(small, out)
        with pytest.raises(InputError):
            preprocessor.prepare(small, out)


def test_the_steps_are_named_in_the_order_they_act() -> None:
    frame = gray(
        noise(15, np.int16),
        modality=Rescale(1.0, 0.0),
        voi=(Window(0.0, 100.0, "SIGMOID"),),
        inverted=True,
        padding=(-5, -5),
    )
    out = np.zeros((1, 8, 8), np.float32)
    steps = Preprocessor(spec(8, 8)).prepare(frame, out)
    assert steps == ("rescale", "voi-sigmoid", "invert", "padding")
