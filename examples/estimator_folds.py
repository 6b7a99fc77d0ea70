"""Estimates of rows by fits that never saw what judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from estimator_data import Sample
from estimator_fit import Fit, Floats, Mask, Problem

from medge.profiles.estimate.anchors import deviations
from medge.profiles.estimate.parameters import Spreads
from medge.profiles.estimate.roofline import Roofline, Times
from medge.profiles.estimate.terms import prior

SPREADS = Spreads(device=0.14, stack=0.14, launch=0.2, kernel=0.12, noise=0.1)
"""Chosen before the fit, so that their squares add up to what other studies report."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows with the estimates of a fit that did not see them.

    Parameters
    ----------
    place
        Index of each row among the samples.
    sds
        Standard deviation that the model states, before it is calibrated.
    loose
        Variance of each parameter that the fit has not seen, 0 of the others.
    """

    place: list[int]
    times: Times
    sds: Floats
    loose: Floats


def judge(fit: Fit, samples: Sequence[Sample], place: list[int]) -> Judged:
    """Estimate rows with fitted parameters; what the fit never saw widens the interval."""
    model = Roofline([samples[i].case for i in place])
    fitted = {n: v for n, v, s in zip(fit.names, fit.values, fit.seen, strict=True) if s}
    beliefs = [prior(name) for name in model.names]
    values = [fitted.get(n, p.mean) for n, p in zip(model.names, beliefs, strict=True)]
    times = model.times(np.array(values))
    loose = [0.0 if n in fitted else p.sd**2 for n, p in zip(model.names, beliefs, strict=True)]
    stacks = [samples[i].stack for i in place]
    none = rows_of(times, [])
    found = deviations(
        times, none, np.empty(0), (stacks, []), spreads=SPREADS, loose=np.array(loose)
    )
    sds = np.array([deviation.variance**0.5 for deviation in found])
    return Judged(place, times, sds, np.array(loose))


def leave_out(
    problem: Problem,
    samples: Sequence[Sample],
    parts: Sequence[Callable[[Sample], bool]],
    judged: Sequence[Callable[[Sample], bool]] | None = None,
) -> list[Judged]:
    """Return one ``Judged`` for each part: fitted without its rows, asked for them.

    ``judged`` names other rows to ask for (those of device and family
    where all of both were left out).
    """
    made = []
    for part, asked in zip(parts, judged or parts, strict=True):
        fit = problem.refit(np.array([part(sample) for sample in problem.samples]))
        place = [i for i, sample in enumerate(samples) if asked(sample)]
        made.append(judge(fit, samples, place))
    return made


def anchored(
    judged: Judged, samples: Sequence[Sample], count: int, seed: int
) -> tuple[list[int], Floats, Floats]:
    """Return rows, logarithms of seconds and deviations after ``count`` rows were measured.

    For each runtime on the board that was left out ``count`` rows are drawn, and all the others of
    the same runtime are estimated.
    """
    random = np.random.default_rng(seed)
    stacks = np.array([samples[i].stack for i in judged.place])
    measured = np.log([samples[i].row.seconds for i in judged.place])
    found: list[int] = []
    centers: list[float] = []
    sds: list[float] = []
    for stack in dict.fromkeys(stacks.tolist()):
        rows = np.flatnonzero(stacks == stack)
        if len(rows) <= count:
            continue
        anchors = random.choice(rows, count, replace=False)
        rest = np.setdiff1d(rows, anchors)
        part, known = rows_of(judged.times, rest), rows_of(judged.times, anchors)
        residual = measured[anchors] - known.log_s
        alike = ([stack] * len(rest), [stack] * count)
        shifts = deviations(part, known, residual, alike, spreads=SPREADS, loose=judged.loose)
        for row, deviation in zip(rest, shifts, strict=True):
            found.append(judged.place[row])
            centers.append(float(judged.times.log_s[row]) + deviation.mean)
            sds.append(deviation.variance**0.5)
    return found, np.array(centers), np.array(sds)


def rows_of(times: Times, rows: Mask | Floats | list[int]) -> Times:
    """Return the times of some of the cases."""
    fields = ("log_s", "jacobian", "by_kernel", "compute", "memory", "launch")
    return Times(*(getattr(times, name)[rows] for name in fields))
