"""Histogram: what values a tensor takes over all pictures, and which range integers cover."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medge.exporters.network import Tensor

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")

HALF = 4096  # bins on each side of 0
KEPT_RATIO = 0.9999  # of the values that the percentile range covers, as NVIDIA's toolkit has it
NOTHING = 1e-30  # a tensor whose largest magnitude is below this is 0 as far as float32 can tell
LEVELS = 128  # of magnitude in 8 bits with a sign
ENTROPY_BINS = 2048
ENTROPY_STEP = 16  # bins from one candidate to the next


@dataclass
class Histogram:
    """Grows with what it meets: bins are merged in pairs when a value lies beyond them.

    ``low`` and ``high`` are exact; ``counts`` has 2 HALF bins around 0 that reach to ``limit``;
    ``sums`` are those of the pictures' channel means, where they are wanted.
    """

    low: float = np.inf
    high: float = -np.inf
    limit: float = 0.0
    pictures: int = 0
    sums: Tensor | None = None
    counts: Tensor = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))

    def add(self, low: float, high: float, sample: Tensor, means: Tensor | None = None) -> None:
        """Count one picture's values.

        Parameters
        ----------
        low, high
            Extremes of all values, finite.
        sample
            Some, all or none of the values, one-dimensional.
        means
            The mean of each channel.
        """
        self.pictures += 1
        if means is not None:
            self.sums = means.astype("f8") if self.sums is None else self.sums + means
        self.low, self.high = min(self.low, low), max(self.high, high)
        if not sample.size:
            return
        reach = max(abs(low), abs(high))
        if reach < NOTHING:
            self.counts[HALF] += sample.size
            return
        self._make_room(reach)
        places = np.floor(sample * (HALF / self.limit)).astype(np.int64) + HALF
        # The largest value lies on the last bin's upper edge.
        np.clip(places, 0, 2 * HALF - 1, out=places)
        self.counts += np.bincount(places, minlength=2 * HALF)

    def _make_room(self, reach: float) -> None:
        if self.limit == 0.0:
            self.limit = reach
        while self.limit < reach:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(2 * HALF, np.int64)
            self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
            self.limit *= 2

    @property
    def means(self) -> Tensor | None:
        """The mean of each channel over all pictures, None where it was not wanted."""
        return None if self.sums is None else self.sums / self.pictures

    @property
    def reach(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def range(self, method: Method) -> tuple[float, float]:
        """Return the range that integers should cover.

        ``minmax``: all of it. ``percentile``: 99.99 % of the values, half of the rest cut off at
        each end. ``entropy``: up to the magnitude at which 128 levels lose the least information
        (Kullback-Leibler; Migacz, 8-bit Inference with TensorRT, GTC 2017).
        """
        if method == "minmax" or self.limit == 0.0:
            return self.low, self.high
        if method == "percentile":
            return self._percentile()
        cut = self._entropy_reach()
        return max(self.low, -cut), min(self.high, cut)

    def _percentile(self) -> tuple[float, float]:
        cumulated = np.cumsum(self.counts) / self.counts.sum()
        tail = (1 - KEPT_RATIO) / 2
        width = self.limit / HALF
        # A value of a cut-off tail lies in the bin, so the bin's outer edge is kept.
        low = (int(np.searchsorted(cumulated, tail, "right")) - HALF) * width
        high = (int(np.searchsorted(cumulated, 1 - tail, "left")) + 1 - HALF) * width
        return max(self.low, low), min(self.high, high)

    def _entropy_reach(self) -> float:
        magnitudes = self.counts[HALF:] + self.counts[HALF - 1 :: -1]
        filled = int(np.flatnonzero(magnitudes)[-1]) + 1
        # Bins are merged to what the tensor fills, so that a grown histogram is no coarser judge.
        each = max(1, -(-filled // ENTROPY_BINS))
        padded = np.zeros(-(-filled // each) * each)
        padded[:filled] = magnitudes[:filled]
        bins = padded.reshape(-1, each).sum(axis=1)
        best = _least_divergent(bins)
        return float(best * each * self.limit / HALF)


def _least_divergent(bins: Tensor) -> int:
    """Return how many bins to keep so that LEVELS levels stay closest to them."""
    if len(bins) <= LEVELS:
        return len(bins)
    # Exact zeros (padding, ReLU) are on every grid and would drown the rest.
    bins = bins.copy()
    bins[0] = bins[1]
    candidates: list[int] = [*range(LEVELS, len(bins), ENTROPY_STEP), len(bins)]
    losses = [_divergence(bins, kept) for kept in candidates]
    best = int(np.argmin(losses))
    return candidates[best]


def _divergence(bins: Tensor, kept: int) -> float:
    """Return the divergence of ``kept`` bins from their picture in LEVELS levels."""
    wanted = bins[:kept].copy()
    wanted[-1] += bins[kept:].sum()
    level = np.arange(kept) * LEVELS // kept
    filled = bins[:kept] > 0
    sums = np.bincount(level, weights=bins[:kept], minlength=LEVELS)
    widths = np.bincount(level, weights=filled, minlength=LEVELS)
    shared = np.divide(sums, widths, out=np.zeros(LEVELS), where=widths > 0)
    given = np.where(filled, shared[level], 0.0)
    if given.sum() == 0 or wanted.sum() == 0:
        return float("inf")
    p, q = wanted / wanted.sum(), given / given.sum()
    # A bin that the levels leave empty costs much, but not infinitely much.
    floor = 1e-4 / kept
    used = p > 0
    return float((p[used] * np.log(p[used] / np.maximum(q[used], floor))).sum())
