"""Fitted parameters of the latency model: read from the file that the fit wrote, strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from medge.profiles.estimate.kernels import Floats
from medge.profiles.estimate.terms import prior

PATH = Path(__file__).parent.parent / "data" / "estimator.json"


class Spreads(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Standard deviations, in logarithms, of what no specification tells.

    Parameters
    ----------
    device, stack
        Of one device, and of one runtime on it, against what the model gives them.
    launch
        Of the time that launches and the host take there.
    kernel
        Of one class of kernels there.
    noise
        Of one network there.
    """

    device: float
    stack: float
    launch: float
    kernel: float
    noise: float


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured, as far as it bounds what is estimated."""

    batch: tuple[int, int]
    flops: tuple[float, float]
    runtimes: Mapping[str, int]


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an estimate needs beside the network and the target.

    Parameters
    ----------
    values
        Name of each fitted parameter (see ``terms``) to its value and standard deviation.
    quantiles
        Within how many standard deviations 80 % of devices' rows stay: with no row measured on
        the device, with one or two, with three or more.
    data_digest
        SHA-256 of the measurements that were fitted.
    rows
        How many rows were fitted.
    errors
        What fits that left out one board after the other made of its rows (docs/estimation.md).
    """

    schema_: Literal["medge.estimator/1"] = msgspec.field(name="schema")
    date: str
    data_digest: str
    rows: int
    quantiles: tuple[float, float, float]
    spreads: Spreads
    limits: Limits
    errors: Mapping[str, float] = {}
    values: Mapping[str, tuple[float, float]]

    def vector(self, names: Sequence[str]) -> tuple[Floats, Floats]:
        """Return value and standard deviation of each; what was never fitted has its prior's."""
        found = [self.values.get(name) or prior(name) for name in names]
        table = np.array(found, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def quantile(self, measured: int) -> float:
        """Return the half-width of the interval in standard deviations."""
        return self.quantiles[0 if measured == 0 else 1 if measured < 3 else 2]


def encode(parameters: Parameters) -> bytes:
    """Write parameters so that equal ones have equal bytes, one a line."""
    raw = msgspec.json.encode(parameters, order="sorted")
    return msgspec.json.format(raw, indent=1) + b"\n"


@cache
def parameters(path: Path = PATH) -> Parameters:
    """Read the parameters of the installation.

    Raises
    ------
    ValueError
        The file is damaged; names the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Parameters)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
