"""How often each stored value occurs: for VOI rules and refusals that look at the pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medge._native import Plan
from medge.engine.frames.frame import Meaning, Stored
from medge.engine.manifest import Voi
from medge.engine.preprocess.display import modality_values, sample_values
from medge.engine.preprocess.voi import Range
from medge.errors import InputError

_Counts = npt.NDArray[np.uint32]


class Census:
    """Counts over frames of one meaning; whole frames, what is cropped away too."""

    def __init__(self, meaning: Meaning, planes: int) -> None:
        values = modality_values(meaning)
        self._counts: _Counts = np.zeros((planes, len(values)), np.uint32)
        self._inside = np.ones(len(values), np.uint32)
        if meaning.padding is not None:
            samples = sample_values(meaning)
            low, high = meaning.padding
            self._inside[(samples >= low) & (samples <= high)] = 0
        self._order = np.argsort(values, kind="stable")
        self._values = values[self._order]

    def take(self, plan: Plan, stored: Stored) -> None:
        """Count the samples of one frame."""
        for plane, counts in enumerate(self._counts):
            plan.histogram(stored, plane, counts)

    def constant_ratio(self) -> float:
        """Share of pixels with the commonest value, in the plane where it is smallest."""
        # Chroma of 4:2:2 has half as many samples as there are pixels.
        return float((self._counts.max(axis=1) / self._counts.sum(axis=1)).min())

    def range(self, voi: Voi) -> Range:
        """Modality values that the rule makes black and white, without the padding."""
        counts = (self._counts[0] * self._inside)[self._order]
        upto = np.cumsum(counts, dtype=np.int64)  # values of ascending size
        if upto[-1] == 0:
            raise InputError("constant", "the frame is padding only; nothing can be shown.")
        if voi.rule == "minmax":
            return checked(self._at(upto, 0), self._at(upto, int(upto[-1]) - 1))
        low, high = (self._percentile(upto, share or 0.0) for share in (voi.low, voi.high))
        return checked(low, high)

    def _at(self, upto: npt.NDArray[np.int64], rank: int) -> float:
        return float(self._values[np.searchsorted(upto, rank, side="right")])

    def _percentile(self, upto: npt.NDArray[np.int64], percent: float) -> float:
        """Between the two nearest ranks, as numpy.percentile's default method."""
        rank = percent / 100.0 * (int(upto[-1]) - 1)
        below = self._at(upto, math.floor(rank))
        above = self._at(upto, math.ceil(rank))
        return below + (above - below) * (rank - math.floor(rank))


def float_range(stored: Stored, voi: Voi) -> Range:
    """Return the same of a float frame, whose values are display values."""
    if voi.rule == "minmax":
        return checked(float(stored.min()), float(stored.max()))
    low, high = np.percentile(stored, (voi.low or 0.0, voi.high or 0.0))
    return checked(float(np.float32(low)), float(np.float32(high)))


def float_constant_ratio(stored: Stored, planes: int) -> float:
    """Share of pixels with the commonest value of a float frame, as Census.constant_ratio."""
    flat = stored.reshape(-1, planes)
    commonest = [int(np.unique(flat[:, k], return_counts=True)[1].max()) for k in range(planes)]
    return min(commonest) / len(flat)


def checked(low: float, high: float) -> Range:
    """Return the range, or raise InputError when nothing lies between its ends."""
    if not high > low:
        raise InputError(
            "constant",
            f"the bundle stretches the frame's contrast, and it has none: black and white would "
            f"both be {low:g}. Check the picture.",
        )
    return Range(low, high)


def check_ratio(found: float, most: float) -> None:
    """Raise InputError when too much of a picture has one value."""
    if found > most:
        raise InputError(
            "constant",
            f"{found:.4f} of the pixels have one value; the bundle accepts {most:g} at most. "
            "Check whether the picture is blank or saturated.",
        )
