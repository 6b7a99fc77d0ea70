"""What rows measured on a device tell of it: the most probable deviation from the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medge.profiles.estimate.kernels import Floats
from medge.profiles.estimate.parameters import Spreads
from medge.profiles.estimate.roofline import Times


@dataclass(frozen=True, slots=True)
class Deviation:
    """By how much one row is off the model: normal, in natural logarithms."""

    mean: float
    variance: float


def covariance(
    one: Times, other: Times, same_stack: Floats, spreads: Spreads, loose: Floats
) -> Floats:
    """Return how alike rows of one device deviate from the model, shape (one, other).

    A device may be off in how fast it computes, moves and launches, each by itself; so may each
    class of kernels. What one runtime has there, another has not (``same_stack`` is 0). What no fit
    has seen may be anything that was believed: ``loose`` are the variances of those parameters, 0
    of the others.
    """
    whole = spreads.device**2 + spreads.stack**2 * same_stack
    launch = spreads.launch**2 * np.outer(one.launch, other.launch)
    kernel = spreads.kernel**2 * (one.by_kernel @ other.by_kernel.T) * same_stack
    unseen = (one.jacobian * loose) @ other.jacobian.T
    return whole + launch + kernel + unseen


def deviations(
    asked: Times,
    measured: Times,
    residuals: Floats,
    stacks: tuple[Sequence[str], Sequence[str]],
    *,
    spreads: Spreads,
    loose: Floats,
) -> list[Deviation]:
    """Return the deviation of each asked row, given those of the measured ones.

    The posterior of a normal process (empirical Bayes: its spreads were found on other devices).

    Parameters
    ----------
    residuals
        Logarithm of measured over modelled seconds, one for each measured row.
    stacks
        The runtime of each asked and of each measured row.
    loose
        See ``covariance``; shape (parameters,).
    """
    alike = [_alike(stacks[i], stacks[j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    own = covariance(asked, asked, alike[0], spreads, loose).diagonal() + spreads.noise**2
    if not len(residuals):
        return [Deviation(0.0, float(variance)) for variance in own]
    cross = covariance(asked, measured, alike[1], spreads, loose)
    seen = covariance(measured, measured, alike[2], spreads, loose)
    seen = seen + np.eye(len(residuals)) * spreads.noise**2
    gain = np.linalg.solve(seen, cross.T).T
    mean = gain @ residuals
    variance = own - np.einsum("ij,ij->i", gain, cross)
    return [Deviation(float(m), float(v)) for m, v in zip(mean, variance, strict=True)]


def _alike(one: Sequence[str], other: Sequence[str]) -> Floats:
    return np.array([[float(a == b) for b in other] for a in one])
