"""The pipelines that people write by hand today: what medge is measured against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

Tensor = npt.NDArray[np.float32]
Values = npt.NDArray[Any]


def frames_of(path: Path) -> list[tuple[pydicom.Dataset, Values]]:
    """Decode a file with pydicom, its Pillow plugin for JPEG, and return its frames."""
    dataset = pydicom.dcmread(path)
    dataset.pixel_array_options(**_plugin(dataset))
    values = dataset.pixel_array
    if int(dataset.get("NumberOfFrames", 1) or 1) == 1:
        values = values[None]
    return [(dataset, frame) for frame in values]


def _plugin(dataset: pydicom.Dataset) -> dict[str, str]:
    jpeg = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
    return {"decoding_plugin": "pillow"} if dataset.file_meta.TransferSyntaxUID in jpeg else {}


def display(dataset: pydicom.Dataset, frame: Values) -> Values:
    """Return display values 0..1: (h, w) float64 or (h, w, 3) uint8."""
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colour = apply_color_lut(frame, dataset)
        return (colour >> (8 * (colour.itemsize - 1))).astype(np.uint8)
    if frame.ndim == 3:
        return (frame >> (8 * (frame.itemsize - 1))).astype(np.uint8)
    shown = apply_voi_lut(apply_modality_lut(frame, dataset), dataset).astype(np.float64)
    low, high = float(shown.min()), float(shown.max())
    shown = (shown - low) / max(high - low, 1e-9)
    return 1 - shown if photometric == "MONOCHROME1" else shown


def pillow_tensor(dataset: pydicom.Dataset, frame: Values, side: int = 224) -> Tensor:
    """VOI on the whole picture, Pillow's antialiased bilinear resize, NumPy normalisation."""
    shown = display(dataset, frame)
    eight = shown if shown.dtype == np.uint8 else np.round(shown * 255).astype(np.uint8)
    small = Image.fromarray(eight).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values = (np.asarray(small, np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def opencv_tensor(dataset: pydicom.Dataset, frame: Values, side: int = 224) -> Tensor:
    """The fast way by hand: OpenCV's area resize on stored values first, the rest on few pixels."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        frame = display(dataset, frame)
    small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.ndim == 2:
        small = small * float(dataset.get("RescaleSlope", 1)) + float(
            dataset.get("RescaleIntercept", 0)
        )
        low, high = _window(dataset, small)
        small = np.clip((small - low) / (high - low), 0, 1)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            small = 1 - small
        small = np.repeat(small[..., None], 3, axis=2)
    else:
        small /= float(np.iinfo(frame.dtype).max)
    values = (small - MEAN) / STD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def _window(dataset: pydicom.Dataset, small: Values) -> tuple[float, float]:
    center, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if center is None or width is None:
        return float(small.min()), float(small.max()) + 1e-6
    center = float(center[0] if isinstance(center, pydicom.multival.MultiValue) else center)
    width = float(width[0] if isinstance(width, pydicom.multival.MultiValue) else width)
    return center - width / 2, center + max(width, 1) / 2
