"""Latency of a network on a target that is not at hand: an estimate with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medge.errors import UsageError
from medge.profiles.estimate.anchors import deviations
from medge.profiles.estimate.hardware import PRECISIONS, NotRunnableError, hardware_of
from medge.profiles.estimate.kernels import Kernels, UnknownOperatorError, kernels_of
from medge.profiles.estimate.parameters import Parameters, parameters
from medge.profiles.estimate.roofline import Case, Roofline, Times
from medge.profiles.estimate.runtimes import Setting, can_run, find_runtime
from medge.profiles.layers import Layers
from medge.profiles.target import Target

MOST_BEYOND = 4.0
"""How far a batch or a network may be beyond what was fitted, as a factor."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A latency that was measured on the device: one plain row for calibration.

    Parameters
    ----------
    layers
        The network that was timed.
    latency_ms
        Of one batch, without copies from the host.
    """

    layers: Layers
    latency_ms: float
    batch: int = 1
    precision: str = "fp32"
    runtime: str = "onnxruntime"


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """What one batch takes, with an interval that holds 80 % of devices' rows.

    Parameters
    ----------
    bound
        What explains most of the time: arithmetic, memory, or launching kernels.
    shares
        The part of the time that each explains; they sum to 1.
    measured
        How many rows measured on the device shifted and narrowed the estimate.
    notes
        Sentences on what widens the interval.
    """

    target: str
    runtime: str
    precision: str
    batch: int
    latency_ms: float
    low_ms: float
    high_ms: float
    bound: Literal["compute", "memory", "launch"]
    shares: Mapping[str, float]
    measured: int
    notes: tuple[str, ...]

    @property
    def throughput(self) -> float:
        """Return pictures a second, one batch after the other."""
        return self.batch / self.latency_ms * 1e3


@dataclass(frozen=True, slots=True)
class Abstention:
    """Why there is no estimate for this target."""

    target: str
    runtime: str
    precision: str
    batch: int
    reason: str


def estimate_latency(
    layers: Layers,
    target: Target,
    *,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = "onnxruntime",
    measured: Sequence[Measured] = (),
) -> LatencyEstimate | Abstention:
    """Estimate the latency of a network on one target.

    Parameters
    ----------
    measured
        Rows measured on this target; each shifts and narrows the estimate.

    Raises
    ------
    UsageError
        As ``estimate_latencies``; and rule ``estimate-measured``: a measured row is no latency, or
        its network or runtime cannot be modelled on this target.
    """
    return _estimate(
        layers, (target,), batch=batch, precision=precision, runtime=runtime, measured=measured
    )[0]


def estimate_latencies(
    layers: Layers,
    targets: Sequence[Target],
    *,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = "onnxruntime",
) -> list[LatencyEstimate | Abstention]:
    """Estimate the latency of a network on each target, in their order.

    Parameters
    ----------
    layers
        The network, for one picture (layers.json).
    precision
        ``fp32``, ``fp16``, ``amp`` (fp16 products under autocast) or ``int8``.
    runtime
        An id of ``runtimes.RUNTIMES``, or what a measurement prints: ``ncnn CPU 4 threads``.

    Raises
    ------
    UsageError
        Rule ``estimate-runtime``: no such runtime; ``estimate-precision``: no such precision;
        ``estimate-batch``: the batch is below 1.
    """
    return _estimate(
        layers, targets, batch=batch, precision=precision, runtime=runtime, measured=()
    )


def _estimate(
    layers: Layers,
    targets: Sequence[Target],
    *,
    batch: int,
    precision: str,
    runtime: str,
    measured: Sequence[Measured],
) -> list[LatencyEstimate | Abstention]:
    setting = find_runtime(runtime)
    _check(batch, precision)
    kernels = _kernels(layers, setting)
    cases = [_case(kernels, target, setting, precision, batch) for target in targets]
    anchors = [_anchor(row, target) for target in targets for row in measured]
    ready = [case for case in cases if isinstance(case, Case)]
    found = iter(_intervals(ready, anchors, measured) if ready else ())
    made: list[LatencyEstimate | Abstention] = []
    for target, case in zip(targets, cases, strict=True):
        if isinstance(case, Case):
            made.append(_told(target, setting, case, next(found), len(measured)))
        else:
            made.append(Abstention(target.id, setting.runtime.id, precision, batch, case))
    return made


def _check(batch: int, precision: str) -> None:
    if precision not in PRECISIONS:
        raise UsageError(
            "estimate-precision",
            f"{precision[:40]!r} is no precision that latency is estimated for. Known are "
            f"{', '.join(PRECISIONS)}.",
        )
    if batch < 1:
        raise UsageError("estimate-batch", f"A batch holds at least one picture, not {batch}.")


def _kernels(layers: Layers, setting: Setting) -> Kernels | str:
    try:
        return kernels_of(layers, setting.runtime.fuses)
    except UnknownOperatorError as error:
        return str(error)


def _case(
    kernels: Kernels | str, target: Target, setting: Setting, precision: str, batch: int
) -> Case | str:
    """Return what is to be timed, or why it is not."""
    if isinstance(kernels, str):
        return kernels
    limits = parameters().limits
    if not can_run(setting.runtime, target):
        return f"{setting.runtime.id} does not run on a {target.vendor} {target.kind}"
    if batch > limits.batch[1] * MOST_BEYOND:
        return f"a batch of {batch} is far beyond the {limits.batch[1]} that were measured"
    flops = float(kernels.flops @ kernels.count)
    if not limits.flops[0] / MOST_BEYOND <= flops <= limits.flops[1] * MOST_BEYOND:
        return f"{flops / 1e9:.3g} GFLOP a picture are far beyond the networks that were measured"
    try:
        hardware = hardware_of(target, precision, setting)
    except NotRunnableError as error:
        return str(error)
    return Case(kernels, hardware, setting.runtime, precision, batch)


def _anchor(row: Measured, target: Target) -> Case:
    setting = find_runtime(row.runtime)
    _check(row.batch, row.precision)
    case = _case(_kernels(row.layers, setting), target, setting, row.precision, row.batch)
    if isinstance(case, str) or not 0 < row.latency_ms < math.inf:
        reason = case if isinstance(case, str) else f"{row.latency_ms} ms is no latency"
        raise UsageError(
            "estimate-measured",
            f"A row measured with {setting.runtime.id} cannot calibrate {target.id}: {reason}. "
            "Leave it out or measure another network.",
        )
    return case


@dataclass(frozen=True, slots=True)
class _Interval:
    log_s: float
    low: float
    high: float
    shares: Mapping[str, float]
    unseen: tuple[str, ...]


def _intervals(
    cases: Sequence[Case], anchors: Sequence[Case], measured: Sequence[Measured]
) -> Iterator[_Interval]:
    """Yield the estimate of each case, shifted and narrowed by what was measured."""
    known = parameters()
    model = Roofline([*cases, *anchors])
    values, sds = known.vector(model.names)
    times = model.times(values)
    fresh = np.array([name not in known.values for name in model.names])
    loose = np.where(fresh, sds**2, 0.0)
    n = len(cases)
    residuals = np.log([row.latency_ms / 1e3 for row in measured]) - times.log_s[n:]
    stacks = ([c.runtime.id for c in cases], [c.runtime.id for c in anchors])
    found = deviations(
        _part(times, 0, n),
        _part(times, n, None),
        residuals,
        stacks,
        spreads=known.spreads,
        loose=loose,
    )
    for i, deviation in enumerate(found):
        spread = known.quantile(len(measured)) * math.sqrt(deviation.variance)
        center = float(times.log_s[i]) + deviation.mean
        yield _Interval(
            log_s=center,
            low=center - spread,
            high=center + spread,
            shares=_shares(times, i),
            unseen=_unseen(cases[i], known),
        )


def _part(times: Times, start: int, stop: int | None) -> Times:
    rows = slice(start, stop)
    return Times(
        times.log_s[rows],
        times.jacobian[rows],
        times.by_kernel[rows],
        times.compute[rows],
        times.memory[rows],
        times.launch[rows],
    )


def _shares(times: Times, row: int) -> dict[str, float]:
    parts = {
        "compute": float(times.compute[row]),
        "memory": float(times.memory[row]),
        "launch": float(times.launch[row]),
    }
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def _unseen(case: Case, known: Parameters) -> tuple[str, ...]:
    runtime, architecture = case.runtime.id, case.hardware.architecture
    notes = []
    devices = known.limits.runtimes.get(f"{runtime}-{case.hardware.kind}", 0)
    if devices == 0:
        notes.append(f"No published row has {runtime} on such hardware; others' stand in.")
    elif devices == 1:
        notes.append(f"{runtime} was measured on one such device only.")
    if f"c/arch/{architecture}" not in known.values:
        notes.append(f"No device of the architecture {architecture} was measured.")
    return tuple(notes)


def _told(
    target: Target, setting: Setting, case: Case, found: _Interval, measured: int
) -> LatencyEstimate:
    names: tuple[Literal["compute", "memory", "launch"], ...] = ("compute", "memory", "launch")
    return LatencyEstimate(
        target=target.id,
        runtime=setting.runtime.id,
        precision=case.precision,
        batch=case.batch,
        latency_ms=math.exp(found.log_s) * 1e3,
        low_ms=math.exp(found.low) * 1e3,
        high_ms=math.exp(found.high) * 1e3,
        bound=max(names, key=lambda name: found.shares[name]),
        shares=found.shares,
        measured=measured,
        notes=found.unseen,
    )
