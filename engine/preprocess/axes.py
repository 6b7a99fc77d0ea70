"""Weights of a resized axis: area averages and the antialiased triangle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """Output ``i`` is the sum over ``k < count[i]`` of ``weights[i, k] * input[first[i] + k]``.

    ``first`` and ``count``: int32, shape (n,); ``weights``: float32, shape (n, taps).
    """

    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def end(self) -> int:
        """Index after the last input that is used."""
        return int(self.first[-1] + self.count[-1])

    def moved(self, by: int) -> Axis:
        """Return the axis on an input that has ``by`` more values at its beginning."""
        return Axis(self.first + np.int32(by), self.count, self.weights)


def make_axis(kind: str, source: int, target: int, begin: int, size: int) -> Axis:
    """Weigh outputs ``begin .. begin + size`` of ``source`` values resized to ``target``.

    ``area`` weighs each source value by how much of it lies in the output's box. ``bilinear`` is
    the triangle that torchvision (``antialias=True``) and Pillow use: as wide as two outputs when
    reducing, two source values when enlarging. Computed in float64, weights sum to 1, then float32.
    """
    at = np.arange(begin, begin + size, dtype=np.float64)[:, None]
    scale = source / target
    if kind == "area":
        low, high = at * source / target, (at + 1) * source / target
        first, end = np.floor(low), np.minimum(np.ceil(high), source)
        inputs = first + np.arange(int((end - first).max()))
        raw = np.minimum(high, inputs + 1) - np.maximum(low, inputs)
    else:
        reach = max(scale, 1.0)
        center = (at + 0.5) * scale
        first = np.maximum(np.trunc(center - reach + 0.5), 0.0)
        end = np.minimum(np.trunc(center + reach + 0.5), source)
        inputs = first + np.arange(int((end - first).max()))
        raw = 1.0 - np.abs((inputs + 0.5 - center) / reach)
    raw = np.where(inputs < end, np.maximum(raw, 0.0), 0.0)
    return Axis(
        first[:, 0].astype(np.int32), (end - first)[:, 0].astype(np.int32), _sum_to_one(raw)
    )


def _sum_to_one(raw: _Doubles) -> npt.NDArray[np.float32]:
    total = np.cumsum(raw, axis=1)[:, -1:]  # unlike sum(), in one defined order
    return np.ascontiguousarray(raw / total, dtype=np.float32)
