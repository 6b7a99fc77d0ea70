"""Fit of the latency model: the most probable parameters given measurements and beliefs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from estimator_data import Sample
from numpy.typing import NDArray

from medge.profiles.estimate.roofline import Roofline
from medge.profiles.estimate.terms import prior

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DEVICE, STACK, CAMPAIGN = 0.2, 0.18, 0.03
"""Standard deviations of what rows of a device, of a runtime on it, and of a source share."""
NOISE = 0.13
FREEDOM = 4.0  # degrees of freedom of Student's t: a row that is far off counts little
WEIGHT = 0.3  # of a row, on average: rows of one table repeat each other
POWER = 0.5  # of the number of rows of a runtime on a device: its weight
THINNED = 24  # rows of one runtime on one device that are fitted, taken evenly
STEPS = 12
DONE = 0.1  # a step that moves no parameter by more standard deviations of its belief is the last


@dataclass(frozen=True, slots=True)
class Fit:
    """Values and standard deviations of the parameters, in the order of ``names``.

    ``seen`` tells which of them the rows bear on at all; ``effects`` are those of devices, of
    runtimes on them and of sources.
    """

    names: tuple[str, ...]
    values: Floats
    sds: Floats
    seen: Mask
    effects: Floats


@dataclass(frozen=True, slots=True)
class _Slopes:
    """The objective around one state: residuals with their slopes and weights, row by row."""

    jacobian: Floats
    residual: Floats
    weight: Floats
    seen: Mask

    def normal(self, rows: Mask | slice) -> tuple[Floats, Floats]:
        """Return what some rows add to the normal equations: matrix and right-hand side."""
        jacobian, weight = self.jacobian[rows], self.weight[rows]
        scaled = (jacobian * np.sqrt(weight)[:, None]).astype(np.float32)
        matrix = (scaled.T @ scaled).astype(np.float64)
        return matrix, jacobian.T @ (weight * self.residual[rows])


class Problem:
    """Everything of the fit that leaving rows out does not change."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        chosen, weights = thinned(samples)
        self.samples = [samples[i] for i in chosen]
        self.model = Roofline([s.case for s in self.samples])
        self.log_s = np.log([s.row.seconds for s in self.samples])
        self.weights = weights * WEIGHT / weights.mean()
        priors = [prior(name) for name in self.model.names]
        self.effects, effect_sds = _effects(self.samples)
        self.mean = np.array([p.mean for p in priors] + [0.0] * len(effect_sds))
        self.sd = np.array([p.sd for p in priors] + effect_sds)
        self._around: tuple[Floats, _Slopes, Floats, Floats] | None = None

    def fit(self) -> Fit:
        """Return the most probable parameters given all rows.

        Gauss-Newton with weights of Student's t. Effects of devices, runtimes on them and sources
        are fitted beside the parameters and forgotten: they are zero for what is new.
        """
        state, matrix = self.mean.copy(), np.empty(0)
        for step in range(STEPS):
            # The first steps start from beliefs alone, where nearly every row is far off.
            slopes = self._slopes(state, robust=step > 1)
            matrix, right = slopes.normal(slice(None))
            state, longest = self._moved(state, matrix, right)
            if longest < DONE and step > 1:
                break
        slopes = self._slopes(state, robust=True)
        matrix, right = slopes.normal(slice(None))
        self._around = (state, slopes, matrix, right)
        sds = np.sqrt(np.linalg.inv(matrix + np.diag(self.sd**-2.0)).diagonal())
        return self._fit(state, sds, slopes.seen)

    def refit(self, out: Mask) -> Fit:
        """Return the most probable parameters given all rows but some.

        The search starts at the fit of all rows to save time, and ends at the optimum of what is
        left. Its first step takes what the rows added away from the normal equations.
        """
        if self._around is None:
            self.fit()
        assert self._around is not None
        state, slopes, matrix, right = self._around
        gone, right_gone = slopes.normal(out)
        state, longest = self._moved(state, matrix - gone, right - right_gone)
        for _ in range(STEPS):
            slopes = self._slopes(state, robust=True)
            matrix, right = slopes.normal(~out)
            state, longest = self._moved(state, matrix, right)
            if longest < DONE:
                break
        seen = np.abs(slopes.jacobian[~out][:, : len(self.model.names)]).max(0) > 0
        return self._fit(state, self.sd, seen)

    def _fit(self, state: Floats, sds: Floats, seen: Mask) -> Fit:
        n = len(self.model.names)
        return Fit(tuple(self.model.names), state[:n], sds[:n], seen[:n], state[n:])

    def _slopes(self, state: Floats, robust: bool) -> _Slopes:
        n = len(self.model.names)
        times = self.model.times(state[:n])
        jacobian = np.hstack([times.jacobian, self.effects])
        residual = self.log_s - times.log_s - self.effects @ state[n:]
        far = (residual / NOISE) ** 2
        tail = (FREEDOM + 1) / (FREEDOM + far) if robust else 1 / (1 + far / 4)
        return _Slopes(
            jacobian, residual, self.weights * tail / NOISE**2, np.abs(jacobian).max(0) > 0
        )

    def _moved(self, state: Floats, matrix: Floats, right: Floats) -> tuple[Floats, float]:
        """Take one step, and tell its length in standard deviations of what was believed."""
        slope = right - (state - self.mean) / self.sd**2
        move = np.linalg.solve(matrix + np.diag(self.sd**-2.0), slope)
        longest = float(np.abs(move / self.sd)[: len(self.model.names)].max())
        return state + move * min(1.0, 4.0 / max(longest, 1e-9)), longest


def thinned(samples: Sequence[Sample]) -> tuple[list[int], Floats]:
    """Return which rows are fitted and their weights.

    A runtime on a device weighs as the root of its rows, of which at most ``THINNED`` are taken.
    """
    sizes = Counter(s.stack for s in samples)
    places: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        places[sample.stack].append(i)
    weights = {}
    for stack, all_rows in places.items():
        taken = all_rows
        if len(all_rows) > THINNED:
            taken = [all_rows[int(j)] for j in np.linspace(0, len(all_rows) - 1, THINNED)]
        weights |= {i: sizes[stack] ** POWER / len(taken) for i in taken}
    chosen = sorted(weights)
    return chosen, np.array([weights[i] for i in chosen])


def _effects(samples: Sequence[Sample]) -> tuple[Floats, list[float]]:
    """Return one column for each device, each runtime on it and each source, and their spreads."""
    labels: dict[str, float] = {}
    for s in samples:
        labels |= {f"d {s.group}": DEVICE, f"s {s.stack}": STACK, f"c {s.row.campaign}": CAMPAIGN}
    place = {label: i for i, label in enumerate(labels)}
    design = np.zeros((len(samples), len(labels)))
    for row, s in enumerate(samples):
        for label in (f"d {s.group}", f"s {s.stack}", f"c {s.row.campaign}"):
            design[row, place[label]] = 1.0
    return design, list(labels.values())
