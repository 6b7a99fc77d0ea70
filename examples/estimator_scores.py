"""Scores of estimates: errors by row and by device, coverage, and how sure each figure is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from estimator_fit import Floats, Mask

COVER = 0.8
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """Errors in percent of what was measured; ``device`` is the median of devices' medians."""

    rows: int
    devices: int
    pooled: float
    device: float
    twice_off: float


def errors(estimated: Floats, measured: Floats) -> Floats:
    """Return the absolute error of each row in percent; both are logarithms."""
    return 100 * np.abs(np.expm1(estimated - measured))


def score(estimated: Floats, measured: Floats, device: Sequence[str], rows: Mask) -> Score:
    """Return the errors of some rows; not a number where there are none."""
    if not rows.any():
        return Score(0, 0, np.nan, np.nan, np.nan)
    wrong = errors(estimated, measured)[rows]
    names = np.array(device)[rows]
    each = [float(np.median(wrong[names == name])) for name in dict.fromkeys(names.tolist())]
    far = np.abs(estimated - measured)[rows] > np.log(2)
    return Score(
        rows=len(wrong),
        devices=len(each),
        pooled=float(np.median(wrong)),
        device=float(np.median(each)),
        twice_off=100 * float(far.mean()),
    )


def spread(
    estimated: Floats, measured: Floats, device: Sequence[str], rows: Mask
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the 80 % ranges of the pooled figure and of devices', over draws of devices."""
    random = np.random.default_rng(0)
    wrong = errors(estimated, measured)[rows]
    names = np.array(device)[rows]
    parts = [wrong[names == name] for name in dict.fromkeys(names.tolist())]
    medians = np.array([np.median(part) for part in parts])
    pooled, single = [], []
    for _ in range(DRAWS):
        drawn = random.integers(0, len(parts), len(parts))
        pooled.append(np.median(np.concatenate([parts[i] for i in drawn])))
        single.append(np.median(medians[drawn]))
    low, high = 10, 90
    return (
        (float(np.percentile(pooled, low)), float(np.percentile(pooled, high))),
        (float(np.percentile(single, low)), float(np.percentile(single, high))),
    )


def quantile(distances: Floats, device: Sequence[str], level: float = COVER) -> float:
    """Return the distance that covers ``level`` of rows, every device weighing alike."""
    names = np.array(device)
    counts = {name: int((names == name).sum()) for name in dict.fromkeys(device)}
    weights = np.array([1 / counts[name] for name in device])
    order = np.argsort(distances)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(distances[order][np.searchsorted(share, level)])


def nested_quantiles(
    distances: Floats, device: Sequence[str], group: Sequence[str]
) -> Mapping[str, float]:
    """Return for each group the quantile that all others give."""
    names = np.array(group)
    found = {}
    for name in dict.fromkeys(group):
        rest = names != name
        found[name] = quantile(distances[rest], np.array(device)[rest].tolist())
    return found


def coverage(inside: Mask, device: Sequence[str]) -> dict[str, float]:
    """Return the percentage of each device's rows that lie in their interval."""
    names = np.array(device)
    return {name: 100 * float(inside[names == name].mean()) for name in dict.fromkeys(device)}
