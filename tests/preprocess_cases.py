"""Seeded frames and specs of every kind, small enough for the slow reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medge.engine.frames.frame import (
    Colour,
    Frame,
    Lut,
    Meaning,
    Packing,
    Palette,
    Region,
    Rescale,
    Window,
)
from medge.engine.manifest import Crop, Enhance, ImageInput, Resize, Voi

Random = np.random.Generator


def case(seed: int) -> tuple[ImageInput, Frame]:
    """Return a spec and a frame that fits it."""
    random = np.random.default_rng(seed)
    frame = some_frame(random)
    return some_spec(random, frame), frame


def pick(random: Random, *choices: Any) -> Any:
    return choices[random.integers(len(choices))]


def some_frame(random: Random) -> Frame:
    kind = pick(random, "gray", "gray", "gray", "rgb", "ybr", "palette", "float")
    rows, columns = (int(side) for side in random.integers(8, 70, 2))
    if kind == "gray":
        return gray_frame(random, rows, columns)
    if kind == "palette":
        return palette_frame(random, rows, columns)
    if kind == "float":
        return float_frame(random, rows, columns)
    return colour_frame(random, rows, columns, kind)


def words(random: Random, shape: tuple[int, ...], bits: int) -> npt.NDArray[Any]:
    """Words of 8 or 16 bits: noise in half of them, few values in the others."""
    dtype = np.uint8 if bits == 8 else np.uint16
    stored = random.integers(0, 2**bits, shape, dtype)
    return stored if random.random() < 0.5 else (stored & dtype(7 << random.integers(0, bits - 2)))


def gray_frame(random: Random, rows: int, columns: int) -> Frame:
    allocated = pick(random, 8, 16)
    bits = int(random.integers(4, allocated + 1))
    high = int(random.integers(bits - 1, allocated))
    signed = bool(random.random() < 0.4)
    stored = words(random, (rows, columns), allocated)
    low = -(2 ** (bits - 1)) if signed else 0
    padding = None
    if random.random() < 0.3:
        ends = sorted(int(end) for end in random.integers(low, low + 2**bits, 2))
        padding = pick(random, (ends[0], ends[0]), (ends[0], min(ends[1], ends[0] + 5)))
    modality = some_modality(random, bits, low)
    meaning = Meaning(
        rows=rows,
        columns=columns,
        photometric="MONOCHROME2",
        colour=Colour.GRAY,
        packing=Packing.MONO,
        bits_stored=bits,
        high_bit=high,
        signed=signed,
        swapped=allocated == 16 and bool(random.random() < 0.3),
        modality=modality,
        voi=some_voi(random, bits, low, modality),
        inverted=bool(random.random() < 0.4),
        padding=padding,
        regions=some_regions(random, rows, columns),
    )
    return Frame(0, stored.view(f"i{allocated // 8}") if signed else stored, meaning)


def some_modality(random: Random, bits: int, low: int) -> Rescale | Lut | None:
    slope = pick(random, 1.0, 0.5, -1.0, 2.75, 1 / 3)
    return pick(
        random,
        None,
        Rescale(slope, float(random.integers(-1100, 100))),
        some_lut(random, low + int(random.integers(-3, 3)), int(random.integers(2, 2**bits))),
    )


def some_lut(random: Random, first: int, count: int) -> Lut:
    bits = int(random.integers(8, 17))
    return Lut(first, random.integers(0, 2**bits, count).astype(np.uint16), bits)


def some_voi(random: Random, bits: int, low: int, modality: Any) -> tuple[Window | Lut, ...]:
    if isinstance(modality, Lut):
        low, span = 0, 2.0**modality.bits
    else:
        span = 2.0**bits
    if isinstance(modality, Rescale):
        low = int(low * modality.slope + modality.intercept)
    center = float(low + span * random.random())
    width = float(max(span * random.random(), 1.0))
    shape = pick(random, "LINEAR", "LINEAR_EXACT", "SIGMOID")
    return pick(
        random,
        (),
        (Window(center, width, shape),),
        (Window(float(round(center)), float(round(width)), "LINEAR"),),
        (Window(float(round(center)), 1.0, shape),),
        (some_lut(random, low, int(random.integers(2, 300))),),
    )


def some_regions(random: Random, rows: int, columns: int) -> tuple[Region, ...]:
    regions = []
    for _ in range(int(random.integers(0, 4))):
        y0, x0 = int(random.integers(0, rows - 4)), int(random.integers(0, columns - 4))
        y1, x1 = int(random.integers(y0 + 3, rows + 1)), int(random.integers(x0 + 3, columns + 1))
        regions.append(Region(x0, y0, x1, y1, bool(random.random() < 0.7)))
    return tuple(regions)


def palette_frame(random: Random, rows: int, columns: int) -> Frame:
    allocated = pick(random, 8, 16)
    first, count = int(random.integers(0, 9)), int(random.integers(2, 300))
    depth = pick(random, 8, 16)
    tables = [
        Lut(first, random.integers(0, 2**depth, count).astype(np.uint16), depth) for _ in range(3)
    ]
    meaning = Meaning(
        rows=rows,
        columns=columns,
        photometric="PALETTE COLOR",
        colour=Colour.PALETTE,
        packing=Packing.MONO,
        bits_stored=allocated,
        high_bit=allocated - 1,
        palette=Palette(*tables),
        regions=some_regions(random, rows, columns),
    )
    return Frame(0, words(random, (rows, columns), allocated), meaning)


def float_frame(random: Random, rows: int, columns: int) -> Frame:
    rgb = bool(random.random() < 0.4)
    stored = random.random((rows, columns, 3) if rgb else (rows, columns), np.float32)
    meaning = Meaning(
        rows=rows,
        columns=columns,
        photometric="RGB" if rgb else "MONOCHROME2",
        colour=Colour.RGB if rgb else Colour.GRAY,
        packing=Packing.INTERLEAVED if rgb else Packing.MONO,
        bits_stored=32,
        high_bit=31,
        inverted=not rgb and bool(random.random() < 0.4),
    )
    return Frame(0, stored, meaning)


def colour_frame(random: Random, rows: int, columns: int, kind: str) -> Frame:
    allocated = pick(random, 8, 8, 16)
    bits = pick(random, allocated, allocated, allocated - 2)
    packing = pick(random, Packing.INTERLEAVED, Packing.PLANAR, Packing.YBR_422)
    if packing is Packing.YBR_422:
        kind, columns = "ybr", columns + columns % 2
    shape = {
        Packing.INTERLEAVED: (rows, columns, 3),
        Packing.PLANAR: (3, rows, columns),
        Packing.YBR_422: (rows, columns // 2, 4),
    }[packing]
    meaning = Meaning(
        rows=rows,
        columns=columns,
        photometric="RGB" if kind == "rgb" else "YBR_FULL",
        colour=Colour.RGB if kind == "rgb" else Colour.YBR_FULL,
        packing=packing,
        bits_stored=bits,
        high_bit=bits - 1,
        swapped=allocated == 16 and bool(random.random() < 0.3),
        regions=some_regions(random, rows, columns),
    )
    return Frame(0, words(random, shape, allocated), meaning)


def some_spec(random: Random, frame: Frame) -> ImageInput:
    height, width = (int(side) for side in random.integers(1, 60, 2))
    colour = pick(random, "gray", "rgb")
    channels = 3 if colour == "rgb" else pick(random, 1, 3)
    dtype = pick(random, "float32", "float32", "uint8")
    count = 0 if dtype == "uint8" else channels
    return ImageInput(
        name="x",
        height=height,
        width=width,
        channels=channels,
        layout=pick(random, "NCHW", "NHWC"),
        dtype=dtype,
        colour=colour,
        voi=some_rule(random, frame),
        crop=pick(
            random,
            Crop(),
            Crop(rule="region"),
            Crop(rule="center", ratio=float(random.uniform(0.3, 1.0))),
        ),
        resize=Resize(
            filter=pick(random, "area", "bilinear"),
            fit=pick(random, "stretch", "letterbox", "cover"),
            pad=pick(random, 0.0, 0.25, 1.0),
            rounding=pick(random, "none", "uint8"),
        ),
        enhance=some_enhance(random) if colour == "gray" else Enhance(),
        mean=tuple(float(x) for x in random.uniform(0, 1, count)),
        std=tuple(float(x) for x in random.uniform(0.1, 1, count)),
        min_side=1,
    )


def some_rule(random: Random, frame: Frame) -> Voi:
    rules = [Voi(), Voi(rule="full")]
    if frame.meaning.voi:
        rules.append(Voi(rule="required"))
    spread = frame.stored.min() != frame.stored.max() and frame.meaning.padding is None
    if spread and frame.meaning.bits_stored == 8 * frame.stored.dtype.itemsize:
        rules += [Voi(rule="minmax"), Voi(rule="percentile", low=1.0, high=99.5)]
    if frame.stored.dtype.kind != "f":
        center, width = float(random.uniform(-50, 3000)), float(random.uniform(1, 4000))
        rules.append(Voi(rule="window", center=center, width=width))
    return pick(random, *rules)


def some_enhance(random: Random) -> Enhance:
    return Enhance(
        median=pick(random, 0, 0, 3, 5),
        equalize=pick(random, "none", "none", "histogram", "clahe"),
        clahe_clip=float(random.uniform(0.5, 10)),
        clahe_tiles=int(random.integers(1, 9)),
    )
