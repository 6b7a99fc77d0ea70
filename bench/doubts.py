"""Doubts: what speaks against a measurement, each with its number, its limit and the next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medge.bench.measure import Measurement
from medge.bench.stats import interval_cases, percentile_interval, worth
from medge.bench.warm_up import rank_test, shift_ratio

MAX_SPREAD_RATIO = 0.10  # pyperf doubts a standard deviation of more than 10 % of the mean
MAX_DRIFT_RATIO = 0.05
MAX_OUTLIER_RATIO = 0.01
MIN_INDEPENDENT = 30.0  # below, the correlation itself is known too badly to allow for it
FAR_OUT = 3.0  # interquartile ranges above the third quartile (Tukey 1977)
PERCENTILES = (0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A figure of a measurement that is beyond its limit, with its meaning and the next step."""

    name: str
    value: float
    limit: float
    text: str


def doubts(
    measurement: Measurement,
    percentiles: Sequence[float] = PERCENTILES,
    confidence: float = 0.95,
) -> Iterator[Doubt]:
    """Yield every reason not to trust a measurement.

    Parameters
    ----------
    percentiles
        Those that will be reported with an interval at ``confidence``.
    """
    samples_ns = np.asarray(measurement.samples_ns)
    yield from _warm_up(measurement)
    yield from _too_few(samples_ns, percentiles, confidence)
    yield from _spread(samples_ns)
    yield from _outliers(samples_ns)
    yield from _drift(samples_ns)
    yield from _correlated(samples_ns)


def _warm_up(measurement: Measurement) -> Iterator[Doubt]:
    rule = measurement.procedure.warm_up
    taken_ns = measurement.warm_up_ns
    if measurement.settled is not False:
        return
    if len(taken_ns) < 2 * rule.window:
        text = "the time for warming up was over before it could settle; allow it more time"
        yield Doubt("warm-up-calls", len(taken_ns), 2 * rule.window, text)
        return
    text = (
        "latency still changed from one warm-up window to the next; close other programs, check "
        "clocks and temperature, or allow more warm-up calls"
    )
    yield Doubt("warm-up", shift_ratio(taken_ns, rule), rule.tolerance_ratio, text)


def _too_few(
    samples_ns: npt.NDArray[np.int64], percentiles: Sequence[float], confidence: float
) -> Iterator[Doubt]:
    for p in percentiles:
        if percentile_interval(samples_ns, p, confidence) is None:
            text = f"too few independent samples to bound p{p * 100:g}; take more, or leave it out"
            found, needed = worth(samples_ns, p), interval_cases(p, confidence)
            yield Doubt("samples", found, needed, text)


def _spread(samples_ns: npt.NDArray[np.int64]) -> Iterator[Doubt]:
    low, middle, high = np.percentile(samples_ns, (25, 50, 75))
    spread_ratio = float((high - low) / max(1.0, middle))
    if spread_ratio > MAX_SPREAD_RATIO:
        text = (
            "the middle half of the latencies lies too far apart to tell small differences; close "
            "other programs, or compare interleaved"
        )
        yield Doubt("spread", spread_ratio, MAX_SPREAD_RATIO, text)


def _outliers(samples_ns: npt.NDArray[np.int64]) -> Iterator[Doubt]:
    low, high = np.percentile(samples_ns, (25, 75))
    outlier_ratio = float(np.mean(samples_ns > high + FAR_OUT * (high - low)))
    if outlier_ratio > MAX_OUTLIER_RATIO:
        text = (
            "calls were far later than the rest; something interrupts: look for other programs, "
            "clock changes or throttling before p99 is believed"
        )
        yield Doubt("outliers", outlier_ratio, MAX_OUTLIER_RATIO, text)


def _drift(samples_ns: npt.NDArray[np.int64]) -> Iterator[Doubt]:
    """Doubt a median that moved beyond the limit, and by more than chance among the samples."""
    third = len(samples_ns) // 3
    first, last = samples_ns[:third], samples_ns[-third:]
    if third < 5 or rank_test(first, last) >= 0.01:
        return
    drift_ratio = float(np.median(last) / max(1.0, float(np.median(first))) - 1.0)
    if abs(drift_ratio) > MAX_DRIFT_RATIO:
        text = (
            "the last third of the calls took another time than the first; the device heats up, "
            "changes its clock or is not warm: measure longer"
        )
        yield Doubt("drift", drift_ratio, MAX_DRIFT_RATIO, text)


def _correlated(samples_ns: npt.NDArray[np.int64]) -> Iterator[Doubt]:
    found = worth(samples_ns, 0.5)
    if found < MIN_INDEPENDENT <= len(samples_ns):
        text = (
            "latency moves in long waves, so that these samples are worth only so many independent "
            "ones and intervals may be too narrow; measure longer"
        )
        yield Doubt("correlation", found, MIN_INDEPENDENT, text)
