"""Doubts: what speaks against a measurement, each with its number, its limit and the next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medge.bench.measure import Measurement
from medge.bench.stats import interval_cases, percentile, percentile_interval, worth
from medge.bench.warm_up import rank_test, shift_ratio
from medge.profiles.sensors.trace import Trace, highest, throttled

if TYPE_CHECKING:
    from medge.bench.sections import Golden
    from medge.engine.manifest import Manifest
    from medge.engine.sealed import Candidate

MAX_SPREAD_RATIO = 0.10  # pyperf doubts a standard deviation of more than 10 % of the mean
MAX_DRIFT_RATIO = 0.05
MAX_OUTLIER_RATIO = 0.01
MIN_INDEPENDENT = 30.0  # below, the correlation itself is known too badly to allow for it
MAX_CLOCK_RATIO = 0.05
MAX_OTHER_RATIO = 0.05  # a first or last layer may stay wide; a tenth is refused by the self-test
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


def sessions_doubt(measurement: Measurement) -> Iterator[Doubt]:
    """Yield a doubt where earlier medians of the same lie far from each other or from this one."""
    if not measurement.earlier_p50_ns:
        return
    medians_ns = (*measurement.earlier_p50_ns, percentile(measurement.samples_ns, 0.5))
    apart_ratio = max(medians_ns) / max(1, min(medians_ns)) - 1.0
    if apart_ratio > MAX_DRIFT_RATIO:
        text = (
            "this machine was faster or slower at other times, by the medians of earlier results; "
            "intervals of p50 count them in. Close other programs, or compare interleaved"
        )
        yield Doubt("sessions", apart_ratio, MAX_DRIFT_RATIO, text)


def trace_doubts(trace: Trace, device: str = "cpu") -> Iterator[Doubt]:
    """Yield every reason not to trust latencies that the sensors saw while they were taken.

    What no sensor tells is no reason here: ``Trace.missing`` says it.

    Parameters
    ----------
    device
        Where the network ran, as its backend names it; the clock of that part counts.
    """
    part = "cpu" if device == "cpu" else "gpu"
    clocks = np.array([clock for clock in highest(trace, "clock", part) if clock is not None])
    if len(clocks):
        low, middle, high = np.percentile(clocks, (5, 50, 95))
        change_ratio = float((high - low) / max(1.0, middle))
        if change_ratio > MAX_CLOCK_RATIO:
            text = (
                f"the clock of the {part.upper()} moved, so that latencies are those of several "
                "clocks; fix it (`cpupower frequency-set -g performance`, `nvidia-smi -lgc`, "
                "`jetson_clocks`), or measure longer"
            )
            yield Doubt("clock", change_ratio, MAX_CLOCK_RATIO, text)
    told = [slowed for slowed in throttled(trace) if slowed is not None]
    if any(told):
        text = (
            "the device was slowed down by heat or power in this part of the readings; cool it, "
            "check its power supply, and see `medge profile --soak` for what it sustains"
        )
        yield Doubt("throttling", sum(told) / len(told), 0.0, text)


def placement_doubts(golden: Golden, meant: Mapping[str, float]) -> Iterator[Doubt]:
    """Yield what does not run where and as it was asked to.

    Parameters
    ----------
    meant
        Part of the convolutions and matrix products by the precision that they are to run in, as
        ``meant_shares`` gives it.
    """
    if golden.elsewhere:
        text = (
            "operations run elsewhere than on the device that was asked for, and what they need is "
            "copied there and back; choose another backend, or export without these operations"
        )
        yield Doubt("elsewhere", golden.elsewhere, 0.0, text)
    other_ratio = sum(
        max(0.0, share - golden.shares.get(name, 0.0)) for name, share in meant.items()
    )
    if golden.shares and other_ratio > MAX_OTHER_RATIO:
        text = (
            "layers run in another precision than they were asked to, so that this is the speed of "
            "a mixture; choose another backend, or a precision that this device computes in"
        )
        yield Doubt("precision", other_ratio, MAX_OTHER_RATIO, text)


def meant_shares(manifest: Manifest, candidate: Candidate) -> dict[str, float]:
    """Return in which precisions the layers of a candidate are to run, as parts of all."""
    variant = manifest.variant(candidate.variant)
    if variant is None or not variant.compute_layers or variant.narrow_layers is None:
        return {candidate.precision: 1.0}
    narrow = "fp16" if variant.name.startswith("fp16") else "int8"
    narrow_ratio = min(1.0, variant.narrow_layers / variant.compute_layers)
    return {candidate.precision: 1.0 - narrow_ratio, narrow: narrow_ratio}


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
