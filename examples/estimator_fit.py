"""Fit of the latency model: the most probable parameters given measurements and beliefs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medge.profiles.estimate.roofline import Roofline
from medge.profiles.estimate.terms import prior

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effects:
    """Standard deviations of what rows share beyond the model, and of what each has alone."""

    device: float = 0.18
    stack: float = 0.18
    campaign: float = 0.12
    noise: float = 0.13


@dataclass(frozen=True, slots=True)
class Fit:
    """Values and covariance of the parameters, in the order of ``names``."""

    names: tuple[str, ...]
    values: Floats
    covariance: Floats
    effects: Mapping[str, float]


def fit(
    model: Roofline,
    log_s: Floats,
    groups: Sequence[Mapping[str, str]],
    weights: Floats,
    *,
    effects: Effects = Effects(),
    steps: int = 12,
    keep: NDArray[np.bool_] | None = None,
    start: Floats | None = None,
) -> Fit:
    """Return the most probable parameters (Gauss-Newton with Student's t noise of 4 degrees).

    ``groups`` names the group of each row for each kind of random effect (``device``, ``stack``,
    ``campaign``); effects are fitted beside the parameters and are zero for what is new.
    """
    keep = np.ones(len(log_s), bool) if keep is None else keep
    n_theta = len(model.names)
    priors = [prior(name) for name in model.names]
    labels, sds = _labels(groups, effects, keep)
    place = {label: n_theta + i for i, label in enumerate(labels)}
    mean = np.concatenate([[p.mean for p in priors], np.zeros(len(labels))])
    sd = np.concatenate([[p.sd for p in priors], sds])
    design = np.zeros((len(log_s), len(labels)))
    for row, group in enumerate(groups):
        if keep[row]:
            for kind, name in group.items():
                design[row, place[f"{kind}:{name}"] - n_theta] = 1.0
    state = mean.copy()
    if start is not None:
        state[:n_theta] = start
    matrix = np.diag(sd**-2.0)
    for step in range(steps):
        times = model.times(state[:n_theta])
        jacobian = np.hstack([times.jacobian, design])[keep]
        residual = (log_s - times.log_s - design @ state[n_theta:])[keep]
        scaled = residual / effects.noise
        robust = 5.0 / (4.0 + scaled**2) if step or start is not None else np.full_like(scaled, 0.3)
        w = weights[keep] * robust / effects.noise**2
        matrix = jacobian.T @ (jacobian * w[:, None]) + np.diag(sd**-2.0)
        gradient = jacobian.T @ (w * residual) - (state - mean) / sd**2
        move = np.linalg.solve(matrix, gradient)
        longest = np.abs(move / np.maximum(sd, 0.1)).max()
        state = state + move * min(1.0, 2.0 / longest)
        if longest < 0.02 and step > 2:
            break
    covariance = np.linalg.inv(matrix)[:n_theta, :n_theta]
    found = dict(zip(labels, state[n_theta:].tolist(), strict=True))
    return Fit(tuple(model.names), state[:n_theta], covariance, found)


def _labels(
    groups: Sequence[Mapping[str, str]], effects: Effects, keep: NDArray[np.bool_]
) -> tuple[list[str], Floats]:
    seen: dict[str, float] = {}
    for row, group in enumerate(groups):
        if keep[row]:
            for kind, name in group.items():
                seen.setdefault(f"{kind}:{name}", getattr(effects, kind))
    return list(seen), np.array(list(seen.values()))
