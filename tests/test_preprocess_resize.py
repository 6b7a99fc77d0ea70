"""Resizing and enhancing agree with torchvision, Pillow and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from preprocess_frames import gray, prepared, rgb, spec

from medge.engine.frames.frame import Region, Window
from medge.engine.manifest import Crop, Enhance, Resize
from medge.engine.preprocess import Preprocessor

SIZES = [((1024, 768), (224, 224)), ((333, 517), (224, 224)), ((60, 50), (224, 131))]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

Bytes = npt.NDArray[np.uint8]


def speckle(height: int, width: int, channels: int = 0) -> Bytes:
    shape = (height, width, channels) if channels else (height, width)
    noise = np.random.default_rng(height * width).integers(0, 256, shape, np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (5, 5), 1.2), np.uint8)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_default_spec_agrees_with_torchvision(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Resize(antialias=True) and Normalize on float32: what networks were trained with."""
    import torch

    picture = speckle(*source)
    small = torch.nn.functional.interpolate(  # what Resize of a tensor calls
        torch.from_numpy(picture)[None, None].to(torch.float32) / 255,
        size=target,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0].numpy()
    mean, std = (np.array(IMAGENET[key], np.float32)[:, None, None] for key in ("mean", "std"))
    found = prepared(spec(*target, channels=3, **IMAGENET), gray(picture))
    span = 1 / min(IMAGENET["std"])
    np.testing.assert_allclose(found, (small - mean) / std, rtol=0, atol=1e-5 * span)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_colour_is_resized_as_pillow_does(source: tuple[int, int], target: tuple[int, int]) -> None:
    picture = speckle(*source, 3)
    how = spec(*target, channels=3, colour="rgb", layout="NHWC", dtype="uint8")
    size = (target[1], target[0])
    expected = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    # Pillow rounds to 8 bits between the two directions.
    assert np.abs(prepared(how, rgb(picture)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("source", "target"), SIZES[:2])
def test_area_agrees_with_opencv(source: tuple[int, int], target: tuple[int, int]) -> None:
    picture = speckle(*source).astype(np.float32) / 255
    expected = cv2.resize(picture, (target[1], target[0]), interpolation=cv2.INTER_AREA)
    how = spec(*target, resize=Resize(filter="area"))
    np.testing.assert_allclose(prepared(how, gray(picture))[0], expected, rtol=0, atol=1e-5)


def test_area_of_a_whole_ratio_is_the_mean_of_blocks() -> None:
    picture = speckle(60, 90)
    expected = picture.reshape(20, 3, 30, 3).mean(axis=(1, 3)) / 255
    how = spec(20, 30, resize=Resize(filter="area"))
    np.testing.assert_allclose(prepared(how, gray(picture))[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", [(300, 500), (500, 301), (90, 61), (40, 200)])
def test_cover_is_resize_of_the_shorter_side_and_center_crop(source: tuple[int, int]) -> None:
    import torch

    picture = speckle(*source)
    short = min(source)
    size = [int(100 * side / short) for side in source]
    big = torch.nn.functional.interpolate(
        torch.from_numpy(picture)[None, None] / 255, size=size, mode="bilinear", antialias=True
    )[0, 0].numpy()
    top, left = (round((side - 100) / 2.0) for side in size)
    expected = big[top : top + 100, left : left + 100]
    how = spec(100, 100, resize=Resize(fit="cover"))
    np.testing.assert_allclose(prepared(how, gray(picture))[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "box"),
    [((100, 50), (0, 16, 64, 32)), ((50, 100), (16, 0, 32, 64)), ((30, 29), (0, 1, 64, 62))],
)
def test_letterbox_keeps_the_shape_and_pads_around(
    source: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    picture = speckle(*source)
    top, left, height, width = box
    found = prepared(spec(64, 64, resize=Resize(fit="letterbox", pad=0.75)), gray(picture))[0]
    inside = found[top : top + height, left : left + width].copy()
    np.testing.assert_array_equal(inside, prepared(spec(height, width), gray(picture))[0])
    found[top : top + height, left : left + width] = 0.75
    assert (found == 0.75).all()


def test_crops_are_cut_before_the_resize() -> None:
    picture = speckle(90, 120)
    regions = (
        Region(0, 0, 120, 80, tissue=False),
        Region(5, 6, 25, 26, tissue=True),
        Region(31, 13, 98, 77, tissue=True),
    )
    found = prepared(spec(32, 32, crop=Crop(rule="region")), gray(picture, regions=regions))
    cut = np.ascontiguousarray(picture[13:77, 31:98])
    np.testing.assert_array_equal(found, prepared(spec(32, 32), gray(cut)))
    found = prepared(spec(32, 32, crop=Crop(rule="center", ratio=0.5)), gray(picture))
    cut = np.ascontiguousarray(picture[22:67, 30:90])
    np.testing.assert_array_equal(found, prepared(spec(32, 32), gray(cut)))


def test_a_frame_without_tissue_region_is_taken_whole_and_said_so() -> None:
    how = spec(32, 32, crop=Crop(rule="region"))
    frame = gray(speckle(90, 120), regions=(Region(0, 0, 9, 9, tissue=False),))
    assert "crop-region-absent" in Preprocessor(how).prepare(frame, np.zeros(how.shape, "f4"))
    np.testing.assert_array_equal(prepared(how, frame), prepared(spec(32, 32), frame))


@pytest.mark.parametrize(
    "enhance",
    [
        Enhance(median=3),
        Enhance(median=5),
        Enhance(equalize="histogram"),
        Enhance(equalize="clahe"),
        Enhance(equalize="clahe", clahe_clip=40.0, clahe_tiles=3),
        Enhance(median=3, equalize="clahe", clahe_clip=0.1, clahe_tiles=7),
    ],
)
def test_enhancement_is_opencvs(enhance: Enhance) -> None:
    picture = speckle(100, 90)
    expected = picture
    if enhance.median:
        expected = np.asarray(cv2.medianBlur(expected, enhance.median))
    if enhance.equalize == "histogram":
        expected = np.asarray(cv2.equalizeHist(expected))
    if enhance.equalize == "clahe":
        tiles = (enhance.clahe_tiles, enhance.clahe_tiles)
        expected = np.asarray(cv2.createCLAHE(enhance.clahe_clip, tiles).apply(expected))
    found = prepared(spec(100, 90, dtype="uint8", enhance=enhance), gray(picture))
    np.testing.assert_array_equal(found[0], expected)


def test_equalising_a_blank_picture_leaves_it() -> None:
    blank = np.full((40, 40), 77, np.uint8)
    how = spec(40, 40, dtype="uint8", enhance=Enhance(equalize="histogram"))
    np.testing.assert_array_equal(prepared(how, gray(blank))[0], blank)


def test_rounding_is_half_up_to_8_bits() -> None:
    # 0, 1, 2, 3 of 0..510: 0, 0.5, 1, 1.5 of 255.
    stored = np.array([[0, 1, 2, 3]] * 2, np.uint16)
    frame = gray(stored, voi=(Window(255.5, 511.0),))
    how = spec(2, 4, resize=Resize(rounding="uint8"))
    expected = np.array([0, 1, 1, 2]) / 255
    np.testing.assert_allclose(prepared(how, frame)[0, 0], expected, rtol=0, atol=1e-7)
    assert prepared(spec(2, 4, dtype="uint8"), frame)[0, 0].tolist() == [0, 1, 1, 2]


def test_layouts_hold_the_same_values() -> None:
    picture = rgb(speckle(50, 60, 3))
    first = prepared(spec(20, 30, channels=3, colour="rgb", **IMAGENET), picture)
    last = prepared(spec(20, 30, channels=3, colour="rgb", layout="NHWC", **IMAGENET), picture)
    np.testing.assert_array_equal(np.moveaxis(first, 0, -1), last)
