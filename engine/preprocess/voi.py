"""Which values become black and white: the bundle's VOI rule applied to what the file says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medge.engine.frames.frame import Lut, Meaning, Rescale, Window
from medge.engine.manifest import Voi
from medge.errors import InputError

STATISTICS = frozenset(("minmax", "percentile"))  # rules that look at the pixels first


@dataclass(frozen=True, slots=True)
class Range:
    """Modality values that become display 0 and 1, with a straight line between them.

    When both are equal, the values above them become 1 and all others 0.
    """

    low: float
    high: float


Target = Range | Window | Lut


def choose_voi(rule: Voi, meaning: Meaning) -> tuple[Target, str]:
    """Return what a gray frame is shown with, and the name of the step.

    The rules that look at the pixels are not for here. Only SIGMOID stays a Window.
    """
    if rule.rule == "window":
        return _linear(rule.center or 0.0, rule.width or 1.0), "voi-bundle-window"
    if rule.rule == "full" or (rule.rule == "file" and not meaning.voi):
        return full_range(meaning), "voi-full"
    if rule.index >= len(meaning.voi):
        raise InputError(
            "voi-absent",
            f"the file has {len(meaning.voi)} VOI windows and tables; the bundle asks for number "
            f"{rule.index} (0-based). Export it with its window, or choose another bundle.",
        )
    chosen = meaning.voi[rule.index]
    if isinstance(chosen, Lut):
        return chosen, "voi-lut"
    if chosen.shape == "LINEAR":
        return _linear(chosen.center, chosen.width), "voi-linear"
    if chosen.shape == "LINEAR_EXACT":
        half = chosen.width / 2
        return Range(chosen.center - half, chosen.center + half), "voi-linear-exact"
    return chosen, "voi-sigmoid"


def _linear(center: float, width: float) -> Range:
    """LINEAR sits half a step low: c = 40, w = 400 maps -160 to 0 and 239 to 1 (C.11.2.1.2.1)."""
    span = max(width - 1.0, 0.0)  # widths below 1, which the standard forbids, are steps
    low = center - 0.5 - span / 2
    return Range(low, low + span)


def full_range(meaning: Meaning) -> Range:
    """Range of the modality values that the stored bits can hold."""
    if isinstance(meaning.modality, Lut):
        return Range(0.0, float(2**meaning.modality.bits - 1))
    least = -(2 ** (meaning.bits_stored - 1)) if meaning.signed else 0
    ends = [float(least), float(least + 2**meaning.bits_stored - 1)]
    if isinstance(meaning.modality, Rescale):
        ends = sorted(end * meaning.modality.slope + meaning.modality.intercept for end in ends)
    if not np.isfinite(ends).all():
        raise InputError(
            "rescale", "the rescaled values are beyond all numbers. Export the file again."
        )
    return Range(ends[0], ends[1])
