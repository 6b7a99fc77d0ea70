"""What the latency model has to beat: peak rate alone, and a log-linear regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from estimator_data import Sample
from estimator_fit import Floats, Mask

RIDGE = 1.0
WORDS = ("flops", "moved", "launches", "batch", "peak", "bandwidth")


def peak_seconds(samples: Sequence[Sample]) -> Floats:
    """Return the logarithm of operations over the peak rate of the precision."""
    work = [float(s.case.kernels.flops @ s.case.kernels.count) * s.row.batch for s in samples]
    peak = [log_peak(s) for s in samples]
    return np.log(work) - np.array(peak)


def log_peak(sample: Sample) -> float:
    """Return the logarithm of the highest rate that the target has for the precision."""
    hardware = sample.case.hardware
    return float(np.log(hardware.flops_per_s)) + sum(hardware.gains.values())


def by_peak(samples: Sequence[Sample], log_s: Floats, group: Sequence[str]) -> Floats:
    """Estimate each group from the median efficiency of all others."""
    seconds = peak_seconds(samples)
    names = np.array(group)
    made = np.empty(len(samples))
    for name in dict.fromkeys(group):
        out = names == name
        made[out] = seconds[out] + np.median((log_s - seconds)[~out])
    return made


def by_regression(samples: Sequence[Sample], log_s: Floats, group: Sequence[str]) -> Floats:
    """Estimate each group by ridge regression on the others, with slopes for each runtime."""
    design = _design(samples)
    names = np.array(group)
    made = np.empty(len(samples))
    for name in dict.fromkeys(group):
        out = names == name
        made[out] = design[out] @ _ridge(design[~out], log_s[~out])
    return made


def _ridge(design: Floats, log_s: Floats) -> Floats:
    penalty = np.eye(design.shape[1]) * RIDGE
    penalty[0, 0] = 1e-6
    return np.linalg.solve(design.T @ design + penalty, design.T @ log_s)


def _design(samples: Sequence[Sample]) -> Floats:
    plain = np.array([_features(s) for s in samples])
    plain = (plain - plain.mean(0)) / plain.std(0)
    columns = [np.ones(len(samples)), *plain.T]
    for values in ([s.kind for s in samples], [s.row.precision for s in samples]):
        for value in dict.fromkeys(values):
            is_it: Mask = np.array([v == value for v in values])
            columns.append(is_it.astype(float))
            if values[0] == samples[0].kind:
                columns += [column * is_it for column in plain.T]
    return np.stack(columns, 1)


def _features(sample: Sample) -> list[float]:
    kernels, hardware = sample.case.kernels, sample.case.hardware
    flops = float(kernels.flops @ kernels.count)
    moved = float(kernels.moved @ kernels.count)
    values = (flops, moved, kernels.launches, sample.row.batch)
    peak = log_peak(sample)
    return [*np.log(values).tolist(), peak, float(np.log(hardware.bytes_per_s))]
