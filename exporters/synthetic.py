"""Synthetic pictures: seeded, never a patient's, and alive enough to make a network answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medge.engine.manifest import ImageInput

Display = npt.NDArray[np.float64]  # (n, h, w, channels), display values 0..1

PARITY_SEED = 20_261
GOLDEN_SEED = 20_262
GOLDEN_LEVELS = 16  # few gray levels: golden.npz is a quarter of the size, and no worse a test


def parity_batch(spec: ImageInput) -> npt.NDArray[np.float32 | np.uint8]:
    """Return 8 cases: black, white, black and white noise, uniform noise, 4 smooth pictures."""
    random = np.random.default_rng(PARITY_SEED)
    size = (spec.height, spec.width, _planes(spec))
    pictures = [
        np.zeros(size),
        np.ones(size),
        random.integers(0, 2, size).astype("f8"),
        random.uniform(size=size),
        *(_smooth(random, size, cells) for cells in (2, 5, 11, 23)),
    ]
    return as_input(np.stack(pictures), spec)


def golden_candidates(spec: ImageInput, count: int) -> Display:
    """Return ``count`` smooth pictures that differ in brightness, contrast, grain and a disc."""
    random = np.random.default_rng(GOLDEN_SEED)
    size = (spec.height, spec.width, _planes(spec))
    return np.stack([_candidate(random, size) for _ in range(count)])


def bred(parents: Display, count: int, random: np.random.Generator) -> Display:
    """Return ``count`` mixtures of two parents (n, h, w, planes) and something new each.

    Contrast and brightness vary too: a mixture alone is always flatter than its parents.
    """
    children = []
    for _ in range(count):
        one, other = parents[random.integers(0, len(parents), 2)]
        parts = random.dirichlet((2.0, 1.0, 0.7))
        mixed = parts[0] * one + parts[1] * other + parts[2] * _candidate(random, one.shape)
        middle = float(mixed.mean())
        stretched = middle + (mixed - middle) * random.uniform(0.7, 2.5) + random.normal(0, 0.1)
        children.append(_levelled(np.clip(stretched, 0, 1)))
    return np.stack(children)


def as_input(display: Display, spec: ImageInput) -> npt.NDArray[np.float32 | np.uint8]:
    """Make display values 0..1 what the network takes, as ImageInput defines it."""
    channels = np.broadcast_to(display, (*display.shape[:3], spec.channels))
    if spec.dtype == "uint8":
        values = np.floor(channels * 255 + 0.5).astype("u1")
    else:
        values = ((channels - np.array(spec.mean)) / np.array(spec.std)).astype("f4")
    if spec.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def _candidate(random: np.random.Generator, size: tuple[int, ...]) -> Display:
    low, high = np.sort(random.uniform(size=2))
    cells = int(random.integers(2, 17))
    picture = low + (high - low) * _smooth(random, size, cells)
    return _levelled(np.where(_disc(random, size), random.uniform(), picture))


def _levelled(picture: Display) -> Display:
    return np.asarray(np.round(picture * (GOLDEN_LEVELS - 1)) / (GOLDEN_LEVELS - 1))


def _planes(spec: ImageInput) -> int:
    return 3 if spec.colour == "rgb" else 1


def _smooth(random: np.random.Generator, size: tuple[int, ...], cells: int) -> Display:
    """Interpolate a coarse random grid over the picture; 0 and 1 are both reached."""
    height, width, planes = size
    grid = random.uniform(size=(cells + 1, cells + 1, planes))
    rows, columns = _weights(height, cells), _weights(width, cells)
    picture: Display = np.einsum("hi,ijp,wj->hwp", rows, grid, columns)
    low, high = float(picture.min()), float(picture.max())
    return np.asarray((picture - low) / (high - low or 1.0))


def _weights(length: int, cells: int) -> npt.NDArray[np.float64]:
    """Return the matrix (length, cells + 1) of linear interpolation."""
    places = np.linspace(0.0, cells, length)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(cells + 1)))


def _disc(random: np.random.Generator, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return where a disc lies: somewhere, of any size up to a third of the picture."""
    height, width, _ = size
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    cy, cx = random.uniform(size=2)
    inside = (y - cy) ** 2 + (x - cx) ** 2 < (random.uniform() / 3) ** 2
    return np.asarray(inside[..., None])
