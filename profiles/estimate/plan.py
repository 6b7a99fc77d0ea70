"""What a network would do on planned devices: time, memory, energy, and the software for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medge.profiles.estimate.latency import (
    Abstention,
    LatencyEstimate,
    Measured,
    estimate_latencies,
    estimate_latency,
)
from medge.profiles.estimate.memory import Footprint, MemoryEstimate, estimate_memory, footprint
from medge.profiles.estimate.runtimes import RUNTIMES, Runtime, can_run, find_runtime
from medge.profiles.here import HERE
from medge.profiles.layers import Layers
from medge.profiles.support import Host, host_of
from medge.profiles.target import Target
from medge.profiles.toolchain import Route, ladder

ROUTES = {  # a class of runtimes, and the ways of the toolchain's tables that end in it
    ("tensorrt", "gpu"): ("tensorrt", "jetpack"),
    ("onnxruntime", "gpu"): ("onnxruntime-cuda",),
    ("onnxruntime", "cpu"): ("onnxruntime",),
    ("openvino", "gpu"): ("openvino-gpu",),
    ("openvino", "cpu"): ("openvino",),
    ("pytorch", "gpu"): ("torch",),
    ("torch-compile", "gpu"): ("torch",),
}
PREFERRED = {"gpu": ("tensorrt", "openvino", "onnxruntime"), "cpu": ("openvino", "onnxruntime")}
"""What medge would run by, the fastest first; the first that still supports the device is taken."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One network on one device: an estimate, or the reason why there is none.

    Parameters
    ----------
    runtime
        What it was estimated for; None where no runtime is left for the device.
    route
        The set of software by which that runtime works there; None where the tables of the
        toolchain do not cover the runtime.
    energy_j
        Upper bound for one picture: the device's whole TDP for the slow end of the interval.
    """

    network: str
    target: Target
    runtime: str | None
    precision: str
    batch: int
    latency: LatencyEstimate | None
    memory: MemoryEstimate | None
    route: Route | None
    energy_j: float | None
    reason: str | None

    def holds(self, pictures_s: float) -> bool | None:
        """Return whether that rate is held over the whole interval; None where it may be."""
        if self.latency is None or (self.memory is not None and self.memory.fits is False):
            return False
        slow, fast = (self.batch / ms * 1e3 for ms in (self.latency.high_ms, self.latency.low_ms))
        if slow >= pictures_s:
            return True
        return None if fast >= pictures_s else False


def plan(
    network: str,
    layers: Layers,
    targets: Sequence[Target],
    *,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str | None = None,
    measured: Sequence[Measured] = (),
) -> list[Plan]:
    """Estimate a network on each device, in their order.

    Parameters
    ----------
    network
        Its name, for the result.
    runtime
        None chooses for each device the first of ``PREFERRED`` that still supports it.
    measured
        Rows measured on the device; only for one device.

    Raises
    ------
    UsageError
        As ``estimate_latencies`` and ``estimate_latency``.
    """
    if runtime is not None:
        find_runtime(runtime)
    ways = [_way(target, runtime) for target in targets]
    found: dict[int, LatencyEstimate | Abstention] = {}
    for name in dict.fromkeys(name for name, _, _ in ways if name is not None):
        places = [i for i, (chosen, _, why) in enumerate(ways) if chosen == name and why is None]
        some = [targets[i] for i in places]
        if measured:
            made = [
                estimate_latency(
                    layers,
                    target,
                    batch=batch,
                    precision=precision,
                    runtime=name,
                    measured=measured,
                )
                for target in some
            ]
        else:
            made = estimate_latencies(layers, some, batch=batch, precision=precision, runtime=name)
        found |= dict(zip(places, made, strict=True))
    needed = footprint(layers)
    return [
        _plan(network, needed, target, way, found.get(i), batch=batch, precision=precision)
        for i, (target, way) in enumerate(zip(targets, ways, strict=True))
    ]


Way = tuple[str | None, Route | None, str | None]
"""A runtime, the route that leads to it, and the reason why it cannot run there."""


def _way(target: Target, asked: str | None) -> Way:
    """Choose the runtime of a device."""
    if asked is not None:
        return _checked(target, asked)
    here = [name for name in PREFERRED[target.kind] if can_run(_runtime(name), target)]
    ways = [_checked(target, name) for name in here]
    for way in ways:
        if way[2] is None:
            return way
    reasons = dict.fromkeys(way[2] for way in ways if way[2])
    return None, None, "; ".join(reasons) or "no runtime of medge runs on this kind of device"


def _checked(target: Target, asked: str) -> Way:
    """Return the route to a runtime that was named, or why there is none any more."""
    setting = find_runtime(asked)
    # What this machine has, `medge doctor` found; the tables say what others could have.
    wanted = ROUTES.get((setting.runtime.id, target.kind))
    if wanted is None or target.id == HERE or not can_run(setting.runtime, target):
        return asked, None, None
    routes = [route for route in _routes(target) if route.id in wanted]
    possible = next((route for route in routes if route.possible), None)
    if possible is not None or not routes:
        return asked, possible, None
    return asked, None, "; ".join(dict.fromkeys(route.reason for route in routes))


_routes_of: dict[Host, tuple[Route, ...]] = {}


def _routes(target: Target) -> tuple[Route, ...]:
    """Return the ladder's routes; devices that the tables cannot tell apart share them."""
    host = host_of(target)
    if host not in _routes_of:
        _routes_of[host] = ladder(target).routes
    return _routes_of[host]


def _runtime(name: str) -> Runtime:
    return next(runtime for runtime in RUNTIMES if runtime.id == name)


def _plan(
    network: str,
    needed: Footprint,
    target: Target,
    way: Way,
    found: LatencyEstimate | Abstention | None,
    *,
    batch: int,
    precision: str,
) -> Plan:
    runtime, route, reason = way
    latency = found if isinstance(found, LatencyEstimate) else None
    memory = energy_j = None
    if isinstance(found, Abstention):
        reason = found.reason
    if latency is not None:
        memory = estimate_memory(
            needed, target, batch=batch, precision=precision, runtime=latency.runtime
        )
        if target.tdp_w is not None:
            energy_j = target.tdp_w * latency.high_ms / 1e3 / batch
    return Plan(
        network=network,
        target=target,
        runtime=latency.runtime if latency else runtime,
        precision=precision,
        batch=batch,
        latency=latency,
        memory=memory,
        route=route,
        energy_j=energy_j,
        reason=reason,
    )


def by_latency(plans: Sequence[Plan]) -> Iterator[Plan]:
    """Yield those with an estimate, the fastest first, then the others as they came."""
    timed = [(each.latency.latency_ms, i) for i, each in enumerate(plans) if each.latency]
    yield from (plans[i] for _, i in sorted(timed))
    yield from (each for each in plans if each.latency is None)
