"""A variant's graph as a JetPack takes it, proven to answer as the bundle's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

from medge.errors import GateError
from medge.exporters.graph import cleaned
from medge.exporters.graph_view import COMPUTE
from medge.exporters.jetson.jetpack import JetPack
from medge.exporters.jetson.literals import with_wide_literals
from medge.exporters.jetson.lowering import lowered
from medge.exporters.jetson.pairs import with_pairs
from medge.exporters.jetson.static import fixed_batch, typed
from medge.exporters.network import Tensor
from medge.exporters.plain_session import defined_outputs
from medge.exporters.rounded import rounded_as_half
from medge.exporters.trt_rules import check_graph_for

if TYPE_CHECKING:
    from medge.engine.manifest import Manifest

CONVERTED_RATIO = 1e-5
"""Part of the largest output by which a converted fp32 graph may differ from its source: what is
written otherwise adds up in another order, and means the same."""

UNTYPED = frozenset({"Cast", "Constant", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph for one JetPack, and by how much it differs from what it was made from."""

    raw: bytes
    model: onnx.ModelProto
    max_abs: float


def converted(
    graph: bytes,
    pack: JetPack,
    batch: int,
    *,
    inputs: Tensor,
    manifest: Manifest,
    allowed: float | None,
) -> Converted:
    """Write a graph for a JetPack and run both.

    Parameters
    ----------
    inputs
        The golden inputs, shape (cases, ...).
    allowed
        The difference that a narrow graph may show where a value falls on the other side of a step;
        None for fp32, which is held to ``CONVERTED_RATIO``.

    Raises
    ------
    BundleError
        Rules ``fixed-batch``, ``lowering``, and ``tensorrt-graph``: it cannot be written so.
    GateError
        Rule ``conversion``: it was, and answers otherwise.
    """
    model = lowered(fixed_batch(onnx.load_from_string(graph), batch), pack.opset, pack.without)
    if pack.wide_literals:
        model = with_wide_literals(model)
    for release in pack.releases:
        check_graph_for(release, f"JetPack {pack.version}", model)
    if pack.int8_weights == "pairs":
        model = with_pairs(model)
    _name_all(model)
    raw = cleaned(model)
    max_abs, limit = _difference(graph, raw, batch, inputs, manifest)
    if allowed is not None:
        limit = allowed
    if not max_abs <= limit:
        raise GateError(
            "conversion",
            f"The graph for JetPack {pack.version} differs from the bundle's by {max_abs:.3g}; "
            f"{limit:.3g} are allowed. This is a fault of medge: report it.",
        )
    return Converted(raw, model, max_abs)


def compute_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of convolutions and matrix products."""
    return tuple(node.name for node in model.graph.node if node.op_type in COMPUTE)


def wide_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the operators that compute in fp32."""
    graph = typed(model).graph
    kinds: Mapping[str, int] = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type not in UNTYPED and kinds.get(node.output[0]) == TensorProto.FLOAT
    )


def _difference(
    graph: bytes, raw: bytes, batch: int, inputs: Tensor, manifest: Manifest
) -> tuple[float, float]:
    """Return the largest difference, and what fp32 may show of it."""
    pictures = [inputs[i : i + 1] for i in range(len(inputs))]
    before = defined_outputs(rounded_as_half(graph), pictures, manifest)
    full = (np.repeat(picture, batch, axis=0) for picture in pictures)
    after = defined_outputs(rounded_as_half(raw), full, manifest)
    apart = max(
        float(np.abs(after[name] - np.repeat(before[name], batch, axis=0)).max()) for name in before
    )
    largest = max(float(np.abs(array).max()) for array in before.values())
    return apart, CONVERTED_RATIO * largest


def _name_all(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: TensorRT calls its layers so, and build.json too."""
    taken = {node.name for node in model.graph.node}
    seen: set[str] = set()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = next(
                name
                for name in (f"{node.op_type}_{place}", f"{node.op_type}_{place}_{len(taken)}")
                if name not in taken
            )
        seen.add(node.name)
