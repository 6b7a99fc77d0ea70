"""Which parameters a latency depends on, with what is believed of each before any measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from medge.profiles.estimate.hardware import Hardware
from medge.profiles.estimate.kernels import CLASSES, MATRIX
from medge.profiles.estimate.runtimes import Runtime


class Term(NamedTuple):
    """``factor`` times one parameter."""

    name: str
    factor: float = 1.0


class Prior(NamedTuple):
    """Normal belief in a parameter."""

    mean: float
    sd: float


SCALARS = ("launch", "host", "fixed", "copy", "saturation", "depth", "width", "scale")
"""Slots that are one number a row; ``compute`` and ``memory`` are one for each class."""

_EFFICIENCY = {"gpu": 0.5, "x86": 0.5, "arm": 0.5}
_GAINS = {  # power of the unit's peak over fp32's that products see
    "tensor": 0.4, "accumulate": 0.2, "tf32": 0.4, "half": 0.6, "int8": 0.6, "dot": 0.6,
    "madd": 0.8, "amx": 0.4,
}  # fmt: skip
_LAUNCH_S = {"gpu": 3e-6, "jetson": 8e-6, "igpu": 1e-5, "x86": 3e-6, "arm": 5e-6}
_HOST_S = {"eager": 8e-6, "graph": 8e-6, "compiled": 2e-6, "ncnn": 4e-6}
_SPREADS = {  # of what only shifts a belief, by the start of its name
    "c/kind": 0.2, "c/rt": 0.45, "c/rtk": 0.25, "c/arch": 0.15, "c/archp": 0.15, "c/pk": 0.3,
    "m/kind": 0.2, "m/rt": 0.35, "m/rtk": 0.25, "m/arch": 0.15, "gain/rt": 0.1,
    "launch/rt": 0.4, "host/rt": 0.5, "fixed/rt": 0.5,
    "scale/rt": 0.3,
}  # fmt: skip


def prior(name: str) -> Prior:
    """Return what is believed of a parameter: physics and public micro-benchmarks, no fit."""
    words = name.split("/")
    start = "/".join(words[:2])
    if start in _SPREADS:
        return Prior(0.0, _SPREADS[start])
    slot, rest = words[0], words[1:]
    return _PRIORS[slot](rest)


_PRIORS: dict[str, Callable[[list[str]], Prior]] = {
    "c": lambda rest: Prior(math.log(_EFFICIENCY[rest[0]]), 0.5),
    "m": lambda rest: Prior(math.log(0.6), 0.4),
    "gain": lambda rest: Prior(_GAINS[rest[1]], 0.2),
    "clock": lambda rest: Prior(0.4 if rest[0] == "gpu" else 0.6, 0.25),
    "boost": lambda rest: Prior(-0.2, 0.2),  # cards run above a low stated boost, below a high one
    "cores": lambda rest: Prior(-0.1, 0.1),
    "threads": lambda rest: Prior(0.5, 0.2),
    "launch": lambda rest: (
        Prior(0.1, 0.1) if rest[0] == "cores" else Prior(math.log(_LAUNCH_S[rest[0]]), 0.5)
    ),
    "host": lambda rest: (
        Prior(math.log(3.0), 0.4) if rest[0] == "jetson" else Prior(math.log(_HOST_S[rest[0]]), 0.7)
    ),
    "fixed": lambda rest: Prior(math.log(4e-5), 0.7),
    "copy": lambda rest: Prior(-math.log(6e9), 0.4),
    "saturation": lambda rest: Prior(math.log(8.0), 1.0),
    "depth": lambda rest: Prior(math.log(64.0 if rest[1] == "tensor" else 16.0), 0.7),
    "width": lambda rest: Prior(math.log(32.0 if rest[1] == "tensor" else 8.0), 0.7),
}


def device_class(hardware: Hardware) -> str:
    """Return ``gpu``, ``x86`` or ``arm``."""
    return hardware.kind if hardware.kind in ("x86", "arm") else "gpu"


def compute_terms(
    hardware: Hardware, runtime: Runtime, precision: str
) -> tuple[list[Term], list[list[Term]]]:
    """Return the terms of the logarithm of efficiency: of all products, and of each class."""
    dev = device_class(hardware)
    shared = [
        Term(f"c/kind/{hardware.kind}"),
        Term(f"c/rt/{runtime.id}-{dev}"),
        Term(f"c/arch/{hardware.architecture}"),
        Term(f"c/archp/{hardware.architecture}/{precision}"),
        Term(f"clock/{dev}", hardware.base_ratio),
        Term(f"boost/{dev}", hardware.clock_ratio),
        Term(f"cores/{dev}", math.log(hardware.units / (40 if dev == "gpu" else 1))),
    ]
    for unit, gain in hardware.gains.items():
        shared += [Term(f"gain/{dev}/{unit}", gain), Term(f"gain/rt/{unit}/{runtime.id}", gain)]
    each = []
    for kind in CLASSES[:MATRIX]:
        terms = [Term(f"c/{dev}/{kind}"), Term(f"c/rtk/{runtime.id}-{dev}/{kind}")]
        if precision != "fp32":
            terms.append(Term(f"c/pk/{dev}/{precision}/{kind}"))
        each.append(terms)
    return shared, each


def memory_terms(hardware: Hardware, runtime: Runtime) -> tuple[list[Term], list[list[Term]]]:
    """Return the terms of the logarithm of the share of bandwidth that is reached."""
    dev = device_class(hardware)
    shared = [
        Term(f"m/kind/{hardware.kind}"),
        Term(f"m/rt/{runtime.id}-{dev}"),
        Term(f"m/arch/{hardware.architecture}"),
    ]
    if dev != "gpu":
        shared.append(Term(f"threads/{dev}", math.log(hardware.share)))
    each = [[Term(f"m/{dev}/{kind}"), Term(f"m/rtk/{runtime.id}-{dev}/{kind}")] for kind in CLASSES]
    return shared, each


def scalar_terms(hardware: Hardware, runtime: Runtime) -> Iterator[tuple[str, list[Term]]]:
    """Yield each scalar slot with its terms, all logarithms: seconds, or sizes."""
    dev = device_class(hardware)
    matrix = "tensor" if hardware.gains else "plain"
    launch = [Term(f"launch/{hardware.kind}"), Term(f"launch/rt/{runtime.id}-{dev}")]
    if dev != "gpu":
        launch.append(Term(f"launch/cores/{dev}", math.log(hardware.units)))
    host = [Term(f"host/{runtime.family}"), Term(f"host/rt/{runtime.id}")]
    if hardware.kind == "jetson":
        host.append(Term("host/jetson"))
    yield "launch", launch
    yield "host", host
    yield "fixed", [Term(f"fixed/{dev}"), Term(f"fixed/rt/{runtime.id}-{dev}")]
    yield "copy", [Term("copy/pcie")]
    yield "saturation", [Term(f"saturation/{dev}")]
    yield "depth", [Term(f"depth/{dev}/{matrix}")]
    yield "width", [Term(f"width/{dev}/{matrix}")]
    yield "scale", [Term(f"scale/rt/{runtime.id}-{dev}")]
