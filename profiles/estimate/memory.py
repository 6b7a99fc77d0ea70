"""Memory that running a network takes: weights, tensors, what the runtime adds, and itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.profiles.estimate.kernels import SMALL
from medge.profiles.estimate.liveness import Crowd, crowd
from medge.profiles.layers import Layers
from medge.profiles.rows import read_rows
from medge.profiles.target import Target
from medge.profiles.terms import Text

DATA = Path(__file__).parents[1] / "data" / "runtime_memory.csv"
WIDTH = {"fp32": 1.0, "amp": 1.0, "fp16": 0.5, "int8": 0.25}
"""Bytes of a weight against fp32's; under autocast weights stay fp32."""

Ratio = Annotated[float, Meta(ge=0.0)]


class RuntimeMemory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one runtime takes on a CPU, fitted to measured processes.

    Parameters
    ----------
    base_mb
        The process with medge and the runtime imported, before a network is loaded.
    load_convolutions, load_products, load_layers_kb
        At the highest moment of loading: bytes for each byte of weights of convolutions, which are
        reordered, and of all other layers; KB for each layer.
    run_convolutions, run_products, run_tensors, run_layers_kb
        The same while running; bytes for each byte of the tensors' crowd.
    networks, error_ratio
        How many networks they were fitted to, and the largest error on those.
    """

    runtime: Text
    version: Text
    base_mb: Ratio
    load_fixed_mb: Ratio
    load_convolutions: Ratio
    load_products: Ratio
    load_layers_kb: Ratio
    run_fixed_mb: Ratio
    run_convolutions: Ratio
    run_products: Ratio
    run_tensors: Ratio
    run_layers_kb: Ratio
    networks: int
    error_ratio: Ratio
    source: Text


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a process takes for one network at one batch.

    Parameters
    ----------
    weights_bytes, tensors_bytes
        Of the network itself: its weights in their precision, and the most that its tensors take at
        once.
    workspace_bytes
        What the runtime adds to them while running: copies in its own order, gaps, code; None where
        it was never measured.
    base_bytes
        Python, medge and the runtime before a network is loaded; None where never measured.
    peak_bytes
        The highest moment; where workspace and base are None it is only what is known of it.
    moment
        When that is.
    complete
        Whether all parts are known; otherwise ``peak_bytes`` is a lower bound.
    exact
        False where the bundle's table names no tensors and ``tensors_bytes`` is an upper bound.
    has_bytes
        What the device has; None for a processor whose memory is the computer's.
    """

    weights_bytes: int
    tensors_bytes: int
    workspace_bytes: int | None
    base_bytes: int | None
    peak_bytes: int
    moment: Literal["loading", "running"]
    complete: bool
    exact: bool
    has_bytes: int | None

    @property
    def fits(self) -> bool | None:
        """Return whether the device has that much; None where that is not known."""
        if self.has_bytes is None:
            return None
        if self.peak_bytes > self.has_bytes:
            return False
        return True if self.complete else None


@cache
def runtime_memory() -> Mapping[str, RuntimeMemory]:
    """Return what was measured of each runtime, by its name."""
    rows = read_rows(DATA, RuntimeMemory, ())
    return MappingProxyType({row.runtime: row for _, row in rows})


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a network needs at fp32 and batch 1 wherever it runs.

    Parameters
    ----------
    convolution_bytes
        The part of ``weights_bytes`` that belongs to convolutions.
    layers
        Those that work on pictures; arithmetic on shapes is left out.
    """

    convolution_bytes: int
    weights_bytes: int
    crowd: Crowd
    layers: int


def footprint(layers: Layers) -> Footprint:
    """Return the bytes of a network's weights and of its tensors at their most crowded."""
    rows = layers.layers
    return Footprint(
        convolution_bytes=sum(row.weight_bytes for row in rows if row.op.startswith("Conv")),
        weights_bytes=sum(row.weight_bytes for row in rows),
        crowd=crowd(layers),
        layers=sum(any(math.prod(shape) > SMALL for shape in row.output_shapes) for row in rows),
    )


def estimate_memory(
    network: Footprint, target: Target, *, batch: int, precision: str, runtime: str
) -> MemoryEstimate:
    """Estimate the memory of a process that runs a network on a device.

    Parameters
    ----------
    precision
        ``fp32``, ``fp16``, ``amp`` or ``int8``.
    runtime
        As in ``runtimes.RUNTIMES``; those that were never measured get a lower bound.
    """
    weights = int(network.weights_bytes * WIDTH[precision])
    narrow = WIDTH["fp16"] if precision == "amp" else WIDTH[precision]
    tensors = int(network.crowd.peak_bytes * batch * narrow)
    exact = network.crowd.exact
    has = None if target.memory_gb is None else int(target.memory_gb * 2**30)
    known = runtime_memory().get(runtime) if target.kind == "cpu" else None
    if known is None:
        return MemoryEstimate(
            weights, tensors, None, None, weights + tensors, "running", False, exact, has
        )
    convolutions = int(network.convolution_bytes * WIDTH[precision])
    loading, running = process_bytes(known, convolutions, weights, tensors, network.layers)
    base = int(known.base_mb * 1e6)
    return MemoryEstimate(
        weights_bytes=weights,
        tensors_bytes=tensors,
        workspace_bytes=max(0, max(loading, running) - base - weights - tensors),
        base_bytes=base,
        peak_bytes=max(loading, running),
        moment="loading" if loading > running else "running",
        complete=True,
        exact=exact,
        has_bytes=has,
    )


def process_bytes(
    known: RuntimeMemory,
    convolution_bytes: int,
    weights_bytes: int,
    tensors_bytes: int,
    layers: int,
) -> tuple[int, int]:
    """Return the highest moment of loading and of running; terms as in ``Footprint``."""
    products_bytes = weights_bytes - convolution_bytes
    loading = (
        (known.base_mb + known.load_fixed_mb) * 1e6
        + known.load_convolutions * convolution_bytes
        + known.load_products * products_bytes
        + known.load_layers_kb * 1e3 * layers
    )
    running = (
        (known.base_mb + known.run_fixed_mb) * 1e6
        + known.run_convolutions * convolution_bytes
        + known.run_products * products_bytes
        + known.run_tensors * tensors_bytes
        + known.run_layers_kb * 1e3 * layers
    )
    return int(loading), int(running)
