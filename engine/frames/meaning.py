"""What stored values mean: modality, VOI, padding, palette and regions of each DICOM frame."""

from __future__ import annotations

from dataclasses import replace

from medge.engine.frames import tags
from medge.engine.frames.frame import (
    Colour,
    Lut,
    Meaning,
    Region,
    Rescale,
    Window,
)
from medge.engine.frames.header import Fields, Items
from medge.engine.frames.image_pixel import ImagePixel
from medge.engine.frames.lut import read_lut, read_palette
from medge.errors import InputError

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_TISSUE = 1  # Region Data Type (0018,6014)


class Meanings:
    """The meaning of each frame; built once where all frames share it."""

    def __init__(self, top: Fields, pixel: ImagePixel, swapped: bool) -> None:
        self.notes: tuple[str, ...] = ()
        self._signed = pixel.signed
        self._gray = pixel.colour is Colour.GRAY
        self._groups = top.items(tags.FRAME_GROUPS) if self._gray else None
        shared = top.items(tags.SHARED_GROUPS)
        self._base = self._describe(top, pixel, swapped)
        if self._gray:
            transforms = _Transforms(top, self._signed)
            for group in shared:
                transforms = transforms.overridden(group, self._signed)
            self._transforms = transforms
            self._base = transforms.applied_to(self._base)
        if self._groups is not None and len(self._groups) not in (0, pixel.frames):
            raise InputError(
                "functional-groups",
                f"{tags.FRAME_GROUPS} has {len(self._groups)} items for {pixel.frames} frames.",
            )

    def of(self, index: int) -> Meaning:
        """Return the meaning of frame ``index``."""
        if not self._groups:
            return self._base
        group = self._groups[index]
        if not (group.items(tags.FRAME_VOI) or group.items(tags.PIXEL_TRANSFORM)):
            return self._base
        return self._transforms.overridden(group, self._signed).applied_to(self._base)

    def _describe(self, top: Fields, pixel: ImagePixel, swapped: bool) -> Meaning:
        shape = top.text(tags.PRESENTATION_SHAPE) if self._gray else None
        inverse = shape == "INVERSE" or pixel.photometric == "MONOCHROME1"
        palette = pixel.colour is Colour.PALETTE
        if top.text(tags.PIXEL_PRESENTATION) in ("COLOR", "MIXED") and self._gray:
            self.notes += ("supplemental-palette-ignored",)
        regions, outside = read_regions(top, pixel.rows, pixel.columns)
        if outside:
            self.notes += ("region-outside-picture",)
        return Meaning(
            rows=pixel.rows,
            columns=pixel.columns,
            photometric=pixel.photometric,
            colour=pixel.colour,
            packing=pixel.packing,
            bits_stored=pixel.bits_stored,
            high_bit=pixel.high_bit,
            signed=pixel.signed,
            swapped=swapped,
            inverted=inverse and self._gray,
            padding=_padding(top, pixel) if self._gray else None,
            palette=read_palette(top, pixel.signed) if palette else None,
            regions=regions,
        )


class _Transforms:
    """Modality and VOI of a data set, and what functional groups replace of them."""

    def __init__(self, top: Fields, signed: bool) -> None:
        self.modality = _modality(top, signed)
        self.voi = _voi(top, signed)

    def overridden(self, group: Fields, signed: bool) -> _Transforms:
        """Return the transforms with those of one functional group (PS3.3 C.7.6.16.2.9, .10)."""
        result = _Transforms.__new__(_Transforms)
        result.modality, result.voi = self.modality, self.voi
        for item in group.items(tags.PIXEL_TRANSFORM):
            result.modality = _rescale(item) or result.modality
        windows: tuple[Window | Lut, ...] = ()
        for item in group.items(tags.FRAME_VOI):
            windows += _voi(item, signed)
        result.voi = windows or result.voi
        return result

    def applied_to(self, meaning: Meaning) -> Meaning:
        return replace(meaning, modality=self.modality, voi=self.voi)


def _modality(fields: Fields, signed: bool) -> Rescale | Lut | None:
    """Read the modality LUT sequence if there is one, else rescale (PS3.3 C.11.1)."""
    items = fields.items(tags.MODALITY_LUTS)
    if len(items) > 1:
        raise InputError("lut", f"{tags.MODALITY_LUTS} has {len(items)} items; expected 1.")
    return read_lut(items[0], signed) if items else _rescale(fields)


def _rescale(fields: Fields) -> Rescale | None:
    slope = fields.decimal(tags.RESCALE_SLOPE)
    intercept = fields.decimal(tags.RESCALE_INTERCEPT)
    if slope is None and intercept is None:
        return None
    if slope is None or intercept is None:
        absent = tags.RESCALE_SLOPE if slope is None else tags.RESCALE_INTERCEPT
        raise InputError("rescale", f"{absent} is absent although its partner is there.")
    if slope == 0:
        raise InputError("rescale", f"{tags.RESCALE_SLOPE} is 0, which erases the picture.")
    return Rescale(slope, intercept)


def _voi(fields: Fields, signed: bool) -> tuple[Window | Lut, ...]:
    """VOI LUTs, then windows; the file lets the viewer choose (PS3.3 C.11.2)."""
    luts = tuple(read_lut(item, signed) for item in fields.items(tags.VOI_LUTS))
    centers = fields.decimals(tags.WINDOW_CENTER)
    widths = fields.decimals(tags.WINDOW_WIDTH)
    if len(centers) != len(widths):
        raise InputError(
            "voi-window",
            f"{tags.WINDOW_CENTER} has {len(centers)} values, {tags.WINDOW_WIDTH} {len(widths)}.",
        )
    if not centers:
        return luts
    function = fields.text(tags.VOI_FUNCTION) or "LINEAR"
    if function not in _FUNCTIONS:
        raise InputError(
            "voi-function", f"{tags.VOI_FUNCTION} is not one of {', '.join(_FUNCTIONS)}."
        )
    least = 1.0 if function == "LINEAR" else 0.0
    for width in widths:
        if width < least or width == 0:
            raise InputError(
                "voi-window",
                f"{tags.WINDOW_WIDTH} is {width:g}; {function} needs "
                f"{'1 or more' if least else 'more than 0'}. Export the file again.",
            )
    windows = zip(centers, widths, strict=True)
    return luts + tuple(Window(center, width, function) for center, width in windows)


def _padding(top: Fields, pixel: ImagePixel) -> tuple[int, int] | None:
    """Inclusive range of stored values outside the picture (PS3.3 C.7.5.1.1.2)."""
    value = _stored(top, tags.PADDING_VALUE, pixel)
    if value is None:
        return None
    limit = _stored(top, tags.PADDING_LIMIT, pixel)
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _stored(top: Fields, tag: tags.Tag, pixel: ImagePixel) -> int | None:
    """Read a stored value; writers label it US or SS at will, the pixels decide its sign."""
    value = top.integer(tag)
    if value is None:
        return None
    word = value & 0xFFFF
    return word - 0x10000 if pixel.signed and word & 0x8000 else word


def read_regions(top: Fields, rows: int, columns: int) -> tuple[tuple[Region, ...], bool]:
    """Ultrasound regions cut to the frame (PS3.3 C.8.5.5), and whether any reached beyond it."""
    regions = []
    outside = False
    for item in top.items(tags.US_REGIONS):
        box = _box(item)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        inside = (max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows))
        # Real scanners name the first column outside as the last: one too many is no news.
        outside = outside or x0 < 0 or y0 < 0 or x1 > columns + 1 or y1 > rows + 1
        if inside[0] < inside[2] and inside[1] < inside[3]:
            regions.append(Region(*inside, item.integer(tags.REGION_DATA_TYPE) == _TISSUE))
    return tuple(regions), outside


def _box(item: Fields) -> tuple[int, int, int, int] | None:
    corners = (tags.REGION_X0, tags.REGION_Y0, tags.REGION_X1, tags.REGION_Y1)
    values = [item.integer(tag) for tag in corners]
    x0, y0, x1, y1 = values
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return None
    return x0, y0, x1 + 1, y1 + 1  # the file names the last column and row inside


def region_spacing_mm(items: Items) -> tuple[float, float] | None:
    """Spacing (row, column) of the largest tissue region that is measured in centimetres."""
    best: tuple[int, tuple[float, float]] | None = None
    for item in items:
        box = _box(item)
        units = (item.integer(tags.UNITS_X), item.integer(tags.UNITS_Y))
        x, y = item.decimal(tags.DELTA_X), item.decimal(tags.DELTA_Y)
        if box is None or units != (3, 3) or not x or not y:  # 3: cm (C.8.5.5.1.15)
            continue
        if item.integer(tags.REGION_DATA_TYPE) != _TISSUE:
            continue
        area = (box[2] - box[0]) * (box[3] - box[1])
        if best is None or area > best[0]:
            best = (area, (abs(y) * 10, abs(x) * 10))
    return best[1] if best else None
