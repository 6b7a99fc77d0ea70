"""The preprocessing of docs/preprocessing.md, slow and plain: kernels equal it bit for bit.

Tables, coefficients and weights are made in float64 and rounded to float32 once. Pixels are
float32, every product and sum rounded on its own. medge.engine.preprocess is not used here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from stored_values import apply_lut, sample_values

from medge.engine.frames.frame import Colour, Frame, Lut, Meaning, Window
from medge.engine.manifest import Enhance, ImageInput, Resize, Voi

F = np.float32
Plane = npt.NDArray[np.float32]
Values = npt.NDArray[Any]
Range = tuple[float, float]
Axis = list[tuple[int, list[float]]]  # of each output: the first input, and the weights


def prepare(spec: ImageInput, frame: Frame) -> Values:
    """Tensor of a frame that fits the spec."""
    meaning = frame.meaning
    planes = [crop(spec, meaning, plane) for plane in display_planes(spec, frame)]
    height, width = planes[0].shape
    rows, columns, top, left = fit(spec, height, width)
    planes = [resize_down(plane, rows) for plane in planes]
    if spec.colour == "gray" and len(planes) == 3:
        planes = [luma(*planes)]
    planes = [resize_along(plane, columns) for plane in planes]
    planes = [put(spec, plane, top, left) for plane in planes]
    if spec.enhance.median or spec.enhance.equalize != "none":
        planes = [enhance(spec.enhance, plane) for plane in planes]
    elif spec.resize.rounding == "uint8":
        planes = [from_byte(to_byte(plane)) for plane in planes]
    return tensor(spec, planes)


# Stored values to display values


def display_planes(spec: ImageInput, frame: Frame) -> list[Plane]:
    """Display values 0..1: one plane (gray), or red, green and blue."""
    meaning = frame.meaning
    if frame.stored.dtype.kind == "f":
        return float_planes(spec, frame)
    samples = sample_values(frame)
    if meaning.colour is Colour.GRAY:
        return [gray_display(spec, meaning, samples)]
    if meaning.palette is not None:
        return palette_display(spec, meaning, samples)
    most = 2**meaning.bits_stored - 1
    planes = [samples[..., k].astype(F) for k in range(3)]
    if meaning.colour is Colour.RGB:
        return [on_line(plane, 0.0, 1 / most, 0.0) for plane in planes]
    if spec.colour == "gray":
        return [on_line(planes[0], 0.0, 1 / most, 0.0)]
    return ybr_display(planes, 2.0 ** (meaning.bits_stored - 1), 1 / most)


def on_line(values: Values, base: float, scale: float, offset: float) -> Plane:
    return clamp((values.astype(F) - F(base)) * F(scale) + F(offset))


def clamp(values: Values) -> Plane:
    return np.minimum(np.maximum(values, F(0)), F(1))


def gray_display(spec: ImageInput, meaning: Meaning, samples: Values) -> Plane:
    """Modality, VOI, inversion, padding."""
    target = voi_target(spec.voi, meaning, samples)
    slope, intercept = 1.0, 0.0
    if meaning.modality is not None and not isinstance(meaning.modality, Lut):
        slope, intercept = meaning.modality.slope, meaning.modality.intercept
    outside = np.zeros(samples.shape, bool)
    if meaning.padding is not None:
        outside = (samples >= meaning.padding[0]) & (samples <= meaning.padding[1])
    straight = isinstance(target, tuple) and not isinstance(meaning.modality, Lut)
    if straight and abs(slope) <= 2.0**20 * (target[1] - target[0]):
        low, span = target[0], target[1] - target[0]
        base = math.floor(min(max((low - intercept) / slope, -65536.0), 65536.0) + 0.5)
        scale, offset = slope / span, (base * slope + intercept - low) / span
        if meaning.inverted:
            scale, offset = -scale, 1.0 - offset
        shown = on_line(samples, base, scale, offset)
    else:
        exact = voi(target, modality(meaning, samples))
        shown = ((1.0 - exact) if meaning.inverted else exact).astype(F)
    return np.where(outside, F(0), shown)


def modality(meaning: Meaning, samples: Values) -> Values:
    """PS3.3 C.11.1, float64."""
    if meaning.modality is None:
        return samples.astype(np.float64)
    if isinstance(meaning.modality, Lut):
        return apply_lut(samples, meaning.modality).astype(np.float64)
    return samples.astype(np.float64) * meaning.modality.slope + meaning.modality.intercept


def voi_target(rule: Voi, meaning: Meaning, samples: Values) -> Range | Window | Lut:
    """What becomes black and white, or the table or sigmoid that says so."""
    if rule.rule == "window":
        return linear(rule.center, rule.width)
    if rule.rule in ("minmax", "percentile"):
        return spread(rule, modality(meaning, samples)[~padded(meaning, samples)])
    if rule.rule == "full" or not meaning.voi:
        return full_range(meaning)
    chosen = meaning.voi[rule.index]
    if isinstance(chosen, Lut) or chosen.shape == "SIGMOID":
        return chosen
    if chosen.shape == "LINEAR":
        return linear(chosen.center, chosen.width)
    return chosen.center - chosen.width / 2, chosen.center + chosen.width / 2


def padded(meaning: Meaning, samples: Values) -> Values:
    if meaning.padding is None:
        return np.zeros(samples.shape, bool)
    return (samples >= meaning.padding[0]) & (samples <= meaning.padding[1])


def linear(center: float, width: float) -> Range:
    """PS3.3 C.11.2.1.2.1."""
    span = max(width - 1.0, 0.0)
    low = center - 0.5 - span / 2
    return low, low + span


def spread(rule: Voi, values: Values) -> Range:
    """Extremes or percentiles, those between two ranks on a line between them."""
    ordered = np.sort(values.reshape(-1))
    if rule.rule == "minmax":
        return float(ordered[0]), float(ordered[-1])
    ends = []
    for percent in (rule.low, rule.high):
        rank = percent / 100.0 * (len(ordered) - 1)
        below, above = float(ordered[math.floor(rank)]), float(ordered[math.ceil(rank)])
        ends.append(below + (above - below) * (rank - math.floor(rank)))
    return ends[0], ends[1]


def full_range(meaning: Meaning) -> Range:
    if isinstance(meaning.modality, Lut):
        return 0.0, 2.0**meaning.modality.bits - 1
    low = -(2 ** (meaning.bits_stored - 1)) if meaning.signed else 0
    ends = modality(meaning, np.array([low, low + 2**meaning.bits_stored - 1]))
    return float(ends.min()), float(ends.max())


def voi(target: Range | Window | Lut, values: Values) -> Values:
    """PS3.3 C.11.2, float64."""
    if isinstance(target, Lut):
        return apply_lut(np.floor(values + 0.5).astype(int), target) / (2.0**target.bits - 1)
    if isinstance(target, Window):
        with np.errstate(over="ignore"):  # far below a narrow sigmoid: 1 / inf is 0
            return 1 / (1 + np.exp(-4 * (values - target.center) / target.width))
    low, high = target
    if low == high:
        return (values > low).astype(float)
    return np.clip((values - low) / (high - low), 0, 1)


def float_planes(spec: ImageInput, frame: Frame) -> list[Plane]:
    """Float samples are display values; only contrast stretching acts on them."""
    values = frame.stored.astype(F)
    if values.ndim == 3:
        return [on_line(values[..., k], 0.0, 1.0, 0.0) for k in range(3)]
    low, high = 0.0, 1.0
    if spec.voi.rule == "minmax":
        low, high = float(values.min()), float(values.max())
    elif spec.voi.rule == "percentile":
        ends = np.percentile(values, (spec.voi.low, spec.voi.high))
        low, high = (float(F(end)) for end in ends)
    scale = 1 / (high - low)
    if frame.meaning.inverted:
        return [on_line(values, low, -scale, 1.0)]
    return [on_line(values, low, scale, 0.0)]


def palette_display(spec: ImageInput, meaning: Meaning, samples: Values) -> list[Plane]:
    """PS3.3 C.7.6.3.1.5; gray is made of each colour, in float64."""
    tables = (meaning.palette.red, meaning.palette.green, meaning.palette.blue)
    red, green, blue = (apply_lut(samples, lut) / (2.0**lut.bits - 1) for lut in tables)
    if spec.colour == "gray":
        return [(0.299 * red + 0.587 * green + 0.114 * blue).astype(F)]
    return [red.astype(F), green.astype(F), blue.astype(F)]


def ybr_display(planes: list[Plane], middle: float, scale: float) -> list[Plane]:
    """PS3.3 C.7.6.3.1.2, inverted."""
    y = planes[0] * F(scale)
    cb, cr = ((plane - F(middle)) * F(scale) for plane in planes[1:])
    return [
        clamp(y + F(1.402) * cr),
        clamp((y - F(0.344136) * cb) - F(0.714136) * cr),
        clamp(y + F(1.772) * cb),
    ]


def luma(red: Plane, green: Plane, blue: Plane) -> Plane:
    """ITU-R BT.601."""
    return (F(0.299) * red + F(0.587) * green) + F(0.114) * blue


# Crop and resize


def crop(spec: ImageInput, meaning: Meaning, plane: Plane) -> Plane:
    if spec.crop.rule == "region":
        tissue = [r for r in meaning.regions if r.tissue]
        areas = [(r.x1 - r.x0) * (r.y1 - r.y0) for r in tissue]
        if tissue:
            r = tissue[areas.index(max(areas))]
            return plane[r.y0 : r.y1, r.x0 : r.x1]
    if spec.crop.rule == "center":
        height, width = (max(1, round(side * spec.crop.ratio)) for side in plane.shape)
        top, left = (plane.shape[0] - height) // 2, (plane.shape[1] - width) // 2
        return plane[top : top + height, left : left + width]
    return plane


def fit(spec: ImageInput, height: int, width: int) -> tuple[Axis, Axis, int, int]:
    """Axes of the resized picture as far as it is in the tensor, and its place there."""
    new_height, new_width = resized(spec.resize, height, width, spec.height, spec.width)
    rows = axis(spec.resize.filter, height, new_height)
    columns = axis(spec.resize.filter, width, new_width)
    if spec.resize.fit == "cover":  # round() takes even halves, as torchvision's CenterCrop
        top = round((new_height - spec.height) / 2)
        left = round((new_width - spec.width) / 2)
        return rows[top : top + spec.height], columns[left : left + spec.width], 0, 0
    return rows, columns, (spec.height - new_height) // 2, (spec.width - new_width) // 2


def resized(how: Resize, height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    narrow, wide = height * columns > width * rows, height * columns < width * rows
    if how.fit == "letterbox" and narrow:
        return rows, max(1, int(width * rows / height + 0.5))
    if how.fit == "letterbox" and wide:
        return max(1, int(height * columns / width + 0.5)), columns
    if how.fit == "cover" and narrow:
        return max(rows, height * columns // width), columns
    if how.fit == "cover" and wide:
        return rows, max(columns, width * rows // height)
    return rows, columns


def axis(kind: str, source: int, target: int) -> Axis:
    return [(area if kind == "area" else triangle)(source, target, i) for i in range(target)]


def area(source: int, target: int, i: int) -> tuple[int, list[float]]:
    """How much of each source value lies in the box of output i."""
    low, high = i * source / target, (i + 1) * source / target
    first, end = math.floor(low), min(math.ceil(high), source)
    return first, normed([min(high, k + 1) - max(low, k) for k in range(first, end)])


def triangle(source: int, target: int, i: int) -> tuple[int, list[float]]:
    """Falls to 0 at one output's distance, or at one source value's when enlarging."""
    reach = max(source / target, 1.0)
    center = (i + 0.5) * (source / target)
    first = max(int(center - reach + 0.5), 0)
    end = min(int(center + reach + 0.5), source)
    weights = [max(1.0 - abs((k + 0.5 - center) / reach), 0.0) for k in range(first, end)]
    return first, normed(weights)


def normed(weights: list[float]) -> list[float]:
    total = 0.0
    for weight in weights:  # sum() of Python 3.12 rounds otherwise
        total += weight
    return [weight / total for weight in weights]


def resize_down(plane: Plane, rows: Axis) -> Plane:
    """Rows are added in ascending order."""
    out = np.zeros((len(rows), plane.shape[1]), F)
    for i, (first, weights) in enumerate(rows):
        for k, weight in enumerate(weights):
            out[i] = out[i] + F(weight) * plane[first + k]
    return out


def resize_along(plane: Plane, columns: Axis) -> Plane:
    """Column k of a window is added in lane k mod 8; lanes are joined by one tree."""
    out = np.zeros((plane.shape[0], len(columns)), F)
    for i, (first, weights) in enumerate(columns):
        lanes = [np.zeros(plane.shape[0], F) for _ in range(8)]
        for k, weight in enumerate(weights):
            lanes[k % 8] = lanes[k % 8] + F(weight) * plane[:, first + k]
        even = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6])
        odd = (lanes[1] + lanes[5]) + (lanes[3] + lanes[7])
        out[:, i] = even + odd
    return out


def put(spec: ImageInput, plane: Plane, top: int, left: int) -> Plane:
    out = np.full((spec.height, spec.width), F(spec.resize.pad), F)
    out[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return out


# Display values to the tensor


def to_byte(plane: Plane) -> npt.NDArray[np.uint8]:
    """Times 255, rounded half up."""
    return (clamp(plane) * F(255) + F(0.5)).astype(np.uint8)


def from_byte(picture: npt.NDArray[np.uint8]) -> Plane:
    return picture.astype(F) * F(1 / 255)


def enhance(how: Enhance, plane: Plane) -> Plane:
    """OpenCV is the definition."""
    import cv2

    picture = to_byte(plane)
    if how.median:
        picture = np.asarray(cv2.medianBlur(picture, how.median), np.uint8)
    if how.equalize == "histogram":
        picture = np.asarray(cv2.equalizeHist(picture), np.uint8)
    elif how.equalize == "clahe":
        tiles = (how.clahe_tiles, how.clahe_tiles)
        picture = np.asarray(cv2.createCLAHE(how.clahe_clip, tiles).apply(picture), np.uint8)
    return from_byte(picture)


def tensor(spec: ImageInput, planes: list[Plane]) -> Values:
    planes = [planes[min(k, len(planes) - 1)] for k in range(spec.channels)]
    if spec.dtype == "uint8":
        stack = np.stack([to_byte(plane) for plane in planes])
    else:
        stack = np.stack(
            [
                (plane - F(mean)) * F(1 / std)
                for plane, mean, std in zip(planes, spec.mean, spec.std, strict=True)
            ]
        )
    return stack if spec.layout == "NCHW" else np.moveaxis(stack, 0, -1)
