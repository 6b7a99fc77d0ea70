"""Placement: what a runtime really computes in, layer by layer, against what was asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from medge.errors import GateError

PRECISIONS = {  # as runtimes name an element type, and as medge names a precision
    "f64": "fp64",
    "double": "fp64",
    "f32": "fp32",
    "float": "fp32",
    "f16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "i8": "int8",
    "u8": "int8",
    "uint8": "int8",
    "i4": "int4",
    "u4": "int4",
}

WIDE_RATIO = 0.1
"""Part of the layers asked for in fewer bits that may run wider: runtimes keep a first or a last
layer wide where that is faster, and count fused layers otherwise than the graph does."""


class Node(NamedTuple):
    """One operation as its runtime tells it.

    ``layers`` is how many convolutions and matrix products are in it: attention that was fused has
    two, an activation none. ``time_ns`` is what it took in the run that was watched.
    """

    kind: str
    precision: str
    layers: int
    here: bool = True  # on the device that was asked for
    time_ns: int = 0


class TimedNode(NamedTuple):
    """One operation, and what it took in each call that was watched; 0 where it did not run."""

    name: str
    kind: str
    precision: str
    times_ns: tuple[int, ...]


class Placement(Struct, frozen=True, kw_only=True):
    """What runs in which precision.

    ``compute`` counts convolutions and matrix products by precision, and ``compute_time_ratio`` is
    the part of their time that each precision took in one run, the first: absent where the runtime
    does not tell. ``nodes`` counts all operations by type and precision, and ``elsewhere`` those
    that are not on the device that was asked for.
    """

    compute: dict[str, int] = {}
    compute_time_ratio: dict[str, float] | None = None
    nodes: dict[str, dict[str, int]] = {}
    elsewhere: int = 0

    @property
    def compute_layers(self) -> int:
        """How many convolutions and matrix products the runtime executes."""
        return sum(self.compute.values())

    @property
    def total_nodes(self) -> int:
        """How many operations the runtime executes."""
        return sum(sum(counts.values()) for counts in self.nodes.values())

    @property
    def shares(self) -> dict[str, float]:
        """Return the part of the compute layers in each precision, 0..1, the largest first."""
        total = self.compute_layers
        return {name: count / total for name, count in _ranked(self.compute)}


def tally(nodes: Iterable[Node]) -> Placement:
    """Count what a runtime told of its nodes."""
    compute: Counter[str] = Counter()
    times: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    elsewhere = 0
    for node in nodes:
        precision = PRECISIONS.get(node.precision, node.precision)
        kinds.setdefault(node.kind, Counter())[precision] += 1
        elsewhere += not node.here
        if node.layers:
            compute[precision] += node.layers
            times[precision] += node.time_ns
    total_ns = sum(times.values())
    return Placement(
        compute=dict(_ranked(compute)),
        compute_time_ratio={name: ns / total_ns for name, ns in _ranked(times)}
        if total_ns
        else None,
        nodes={kind: dict(sorted(counts.items())) for kind, counts in sorted(kinds.items())},
        elsewhere=elsewhere,
    )


def check_placement(
    placement: Placement, backend: str, precision: str, layers: int, narrow_layers: int
) -> None:
    """Refuse a runtime that computes wider than it was asked to.

    Parameters
    ----------
    precision
        What was asked for: ``int8``, ``fp16`` or ``bf16``.
    layers, narrow_layers
        How many compute layers the graph has, and how many of them are to run in ``precision``.

    Raises
    ------
    GateError
        Rule ``precision-read-back``: more than a tenth of those layers run in something else, or
        none can be seen to run as asked.
    """
    found = placement.compute.get(precision, 0)
    other = placement.compute_layers - found
    too_wide = other - (layers - narrow_layers)
    if narrow_layers == 0 or (found > 0 and too_wide <= WIDE_RATIO * narrow_layers):
        return
    counts = [f"{name.upper()} in {count}" for name, count in placement.compute.items()]
    runs = f"runs {' and '.join(counts)}" if counts else "does not tell what it runs"
    raise GateError(
        "precision-read-back",
        f"Asked {precision.upper()} for {narrow_layers} of {layers} layers, {backend} {runs}. "
        "Choose another backend, or a precision that this device computes in.",
    )


def _ranked(counts: Counter[str] | dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
