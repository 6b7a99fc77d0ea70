"""Real files become the tensors that pydicom, apply_voi and torch's resize make of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preprocess_frames import spec
from pydicom.data import get_testdata_file
from stored_values import read_with_pydicom

from medge.engine.frames.study import open_study
from medge.engine.preprocess import Preprocessor

SHARED = Path(__file__).parent.parent.parent / "shared/data/dicom"
OURS = ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "examples_palette.dcm"]
THEIRS = ["mlut_18.dcm", "vlut_04.dcm", "dx_image.dcm", "RG1_J2KI.dcm", "US1_UNCR.dcm"]


def path_of(name: str) -> Path:
    if name in OURS:
        found = get_testdata_file(name, download=False)
        if found is None:
            pytest.skip(f"pydicom does not carry {name}")
        return Path(str(found))
    if not SHARED.is_dir():
        pytest.skip("the shared real files are not beside this checkout")
    return SHARED / name


def display_of(path: Path) -> Any:
    """Display values 0..1 by pydicom, float64 (h, w) or (h, w, 3)."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_with_pydicom(path)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            from pydicom.pixels import apply_color_lut

            colours = apply_color_lut(pixel_array(dataset), dataset)
            return colours / float(np.iinfo(colours.dtype).max)
        stored = pixel_array(dataset)
        if stored.ndim == 3:
            return stored / 255
        values = apply_modality_lut(stored, dataset).astype(np.float64)
        low, high = ends_of(dataset)
        if "VOILUTSequence" in dataset:
            bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
            shown = apply_voi_lut(values.astype(int), dataset) / (2**bits - 1)
        elif "WindowWidth" in dataset:
            shown = (apply_voi_lut(values, dataset, prefer_lut=False) - low) / (high - low)
        else:
            shown = (values - low) / (high - low)
    shown = np.clip(shown, 0, 1)
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def ends_of(dataset: Any) -> tuple[float, float]:
    """What pydicom's windows span: the rescaled range of the stored bits."""
    if "ModalityLUTSequence" in dataset:
        return 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    least = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    slope = float(dataset.get("RescaleSlope", 1))
    intercept = float(dataset.get("RescaleIntercept", 0))
    return least * slope + intercept, (least + 2**dataset.BitsStored - 1) * slope + intercept


@pytest.mark.parametrize("name", OURS + THEIRS)
def test_a_real_file_becomes_the_tensor_that_pydicom_and_torch_make(name: str) -> None:
    import torch

    path = path_of(name)
    shown = display_of(path)
    planes = np.moveaxis(np.atleast_3d(shown), -1, 0)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None],
        size=(224, 224),
        mode="bilinear",
        antialias=True,
    )[0].numpy()
    how = spec(224, 224, channels=3, colour="rgb")
    found = np.zeros(how.shape, np.float32)
    with open_study(path) as study:
        Preprocessor(how).prepare(study.frame(0), found)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0, atol=3e-5)
