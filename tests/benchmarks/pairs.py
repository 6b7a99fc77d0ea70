"""Interleaved timing: every round calls every candidate once, in turning order, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ratio:
    """Median of the per-round ratios with a 95 % interval (order statistics, distribution-free)."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def sample(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warm: int = 3, rest_s: float = 0.0
) -> dict[str, Samples]:
    """Return the time of every call in ns, one row a round; the order turns from round to round.

    ``rest_s`` passes before each call: a runtime whose threads spin on after a call would burden
    whoever comes next (onnxruntime's default does so for some 30 ms; medge stops its own).
    """
    names = list(calls)
    taken: dict[str, list[int]] = {name: [] for name in names}
    for round_ in range(-warm, rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(rest_s)
            start = time.perf_counter_ns()
            calls[name]()
            elapsed = time.perf_counter_ns() - start
            if round_ >= 0:
                taken[name].append(elapsed)
    return {name: np.array(values) for name, values in taken.items()}


def ratio(numerator: Samples, denominator: Samples) -> Ratio:
    """Compare two candidates round by round."""
    ratios = np.sort(numerator / denominator)
    count = len(ratios)
    # Ranks that hold the median with 95 %: normal approximation of the binomial.
    reach = int(np.ceil(0.98 * np.sqrt(count)))
    low, high = max(0, count // 2 - reach), min(count - 1, (count - 1) // 2 + reach)
    return Ratio(float(np.median(ratios)), float(ratios[low]), float(ratios[high]))


def show(samples: Mapping[str, Samples], reference: str, unit: str = "ms") -> None:
    """Print medians, and how many times longer each takes than ``reference``."""
    scale = {"ms": 1e6, "us": 1e3}[unit]
    for name, values in samples.items():
        line = f"  {name:<34}{np.median(values) / scale:9.3f} {unit}"
        if name != reference:
            line += f"   x {ratio(values, samples[reference])}"
        print(line, flush=True)


def verdict(name: str, found: float, wanted: str, passed: Sequence[bool] | bool) -> None:
    """Print one figure beside what it must be."""
    good = passed if isinstance(passed, bool) else all(passed)
    print(f"{'met ' if good else 'MISS'} {name}: {found:.4g}, must be {wanted}", flush=True)
