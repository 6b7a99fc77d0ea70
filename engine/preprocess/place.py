"""Where the picture's crop goes in the tensor, and the axes that bring it there."""

from __future__ import annotations

from dataclasses import dataclass

from medge.engine.frames.frame import Meaning
from medge.engine.manifest import Crop, ImageInput
from medge.engine.preprocess.axes import Axis, make_axis
from medge.errors import InputError


@dataclass(frozen=True, slots=True)
class Box:
    """Rows [y0, y0 + height) and columns [x0, x0 + width) of a frame."""

    y0: int
    x0: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Place:
    """Axes over the whole frame, and where the resized picture begins in the tensor."""

    rows: Axis
    columns: Axis
    top: int
    left: int


def crop_box(crop: Crop, meaning: Meaning) -> tuple[Box, tuple[str, ...]]:
    """Return what part of the frame counts, and the name of the step."""
    rows, columns = meaning.rows, meaning.columns
    whole = Box(0, 0, rows, columns)
    if crop.rule == "region":
        tissue = [region for region in meaning.regions if region.tissue]
        if not tissue:
            return whole, ("crop-region-absent",)
        best = max(tissue, key=lambda r: (r.y1 - r.y0) * (r.x1 - r.x0))  # the first of equals
        return Box(best.y0, best.x0, best.y1 - best.y0, best.x1 - best.x0), ("crop-region",)
    if crop.rule == "center":
        height = max(1, round(rows * crop.ratio))
        width = max(1, round(columns * crop.ratio))
        return Box((rows - height) // 2, (columns - width) // 2, height, width), ("crop-center",)
    return whole, ()


def check_size(box: Box, least: int) -> None:
    """Raise InputError when the picture's shorter side is below ``least`` pixels."""
    if min(box.height, box.width) < least:
        raise InputError(
            "too-small",
            f"the picture is {box.height} x {box.width} pixels after cropping; the bundle needs "
            f"{least} or more on each side. Choose a larger picture.",
        )


def place(spec: ImageInput, box: Box) -> Place:
    """Fit a box of the frame into the tensor as the spec's resize says.

    ``letterbox`` rounds the shorter side half up and centres it, a spare row or column going
    below or to the right. ``cover`` cuts the longer side off at a whole number and takes the
    centre, halves rounded to even, as torchvision's Resize(int) and CenterCrop do.
    """
    height, width, top, left = _resized(spec, box)
    kind = spec.resize.filter
    rows = make_axis(kind, box.height, height, max(0, -top), min(height, spec.height))
    columns = make_axis(kind, box.width, width, max(0, -left), min(width, spec.width))
    return Place(rows.moved(box.y0), columns.moved(box.x0), max(0, top), max(0, left))


def _resized(spec: ImageInput, box: Box) -> tuple[int, int, int, int]:
    """Height and width of the resized box, and its place in the tensor, negative when cut."""
    height, width = spec.height, spec.width
    across = box.height * width  # > along: the picture is narrower than the tensor
    along = box.width * height
    if spec.resize.fit == "letterbox":
        if across > along:
            width = max(1, (2 * along + box.height) // (2 * box.height))
        elif along > across:
            height = max(1, (2 * across + box.width) // (2 * box.width))
        return height, width, (spec.height - height) // 2, (spec.width - width) // 2
    if spec.resize.fit == "cover":
        if across > along:
            height = max(height, across // box.width)
        elif along > across:
            width = max(width, along // box.height)
        return height, width, -round((height - spec.height) / 2), -round((width - spec.width) / 2)
    return height, width, 0, 0
