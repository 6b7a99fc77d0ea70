"""Fix a graph's batch, and compute here what then no longer depends on the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.errors import BundleError
from medge.exporters.graph_view import GraphView, attribute, names_read
from medge.exporters.network import Tensor

LARGEST_SHAPE = 64  # values of a constant that may be a shape
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

KEPT = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""They say in which numbers a layer is to be computed, also where what they read is constant."""


def fixed_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a copy that takes and gives ``batch`` rows, without the arithmetic on shapes.

    Old parsers know little of shapes that are computed. With every side fixed none is left: what
    reads only constants and shapes is a constant itself.

    Raises
    ------
    BundleError
        Rule ``fixed-batch``: the graph is made for another batch only.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]  # says what held for any batch
    for value in (*made.graph.input, *made.graph.output):
        side = value.type.tensor_type.shape.dim[0]
        if side.HasField("dim_value") and side.dim_value != batch:
            raise BundleError(
                "fixed-batch",
                f"The graph takes {side.dim_value} pictures at a time, asked for are {batch}. "
                "Leave the batch out, or export the bundle with a free batch.",
            )
        side.dim_value = batch
    while _fold_once(made):
        pass
    return made


def shapes_of(model: onnx.ModelProto) -> Shapes:
    """Return the sides of every tensor whose shape is known in full."""
    graph = typed(model).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            sides = value.type.tensor_type.shape.dim
            if all(side.HasField("dim_value") for side in sides):
                found[value.name] = tuple(side.dim_value for side in sides)
    return found


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with types and shapes as ONNX infers them; weights become inputs there.

    Inference copies the model several times over, and needs no value of a weight.
    """
    made = onnx.ModelProto()
    made.opset_import.extend(model.opset_import)
    made.ir_version = model.ir_version
    made.graph.name = "typed"
    made.graph.node.extend(model.graph.node)
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > LARGEST_SHAPE:
            made.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            made.graph.initializer.append(tensor)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def _fold_once(model: onnx.ModelProto) -> bool:
    """Replace every node that is constant by now; return whether there was one."""
    view, shapes = GraphView(model), shapes_of(model)
    constants: dict[str, Tensor] = {}
    kept: list[onnx.NodeProto] = []
    for node in view.nodes:
        values = _values(model, view, shapes, constants, node)
        if values is None:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
        else:
            constants |= values
    if not constants:
        return False
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    read = names_read(kept) | view.outputs
    named = [tensor for tensor in (*model.graph.initializer, *made) if tensor.name in read]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in named]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(copies)
    return True


def _values(
    model: onnx.ModelProto,
    view: GraphView,
    shapes: Shapes,
    constants: Mapping[str, Tensor],
    node: onnx.NodeProto,
) -> dict[str, Tensor] | None:
    """Return what a node gives, None where that depends on the picture."""
    if node.op_type in KEPT or any(name in view.outputs for name in node.output):
        return None
    if node.op_type == "Shape" and node.input[0] in shapes:
        sides = shapes[node.input[0]]
        rank = len(sides)
        start, end = attribute(node, "start", 0), attribute(node, "end", rank)
        # Both count from the end where negative, and stop at the ends (ONNX, Shape-15).
        start, end = (max(0, min(rank, x + rank if x < 0 else x)) for x in (start, end))
        return {node.output[0]: np.array(sides[start:end], dtype="i8")}
    if node.op_type == "Size" and node.input[0] in shapes:
        return {node.output[0]: np.array(np.prod(shapes[node.input[0]]), dtype="i8")}
    arrays = {}
    for name in filter(None, node.input):
        arrays[name] = constants[name] if name in constants else view.array(name)
    if any(array is None for array in arrays.values()):
        return None
    return _computed(model, node, arrays)


def _computed(
    model: onnx.ModelProto, node: onnx.NodeProto, arrays: Mapping[str, Tensor | None]
) -> dict[str, Tensor] | None:
    """Run one node on constants as ONNX's reference defines it."""
    names = [name for name in node.output if name]
    alone = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.ValueInfoProto(name=name) for name in arrays],
        [onnx.ValueInfoProto(name=name) for name in names],
    )
    single = onnx.helper.make_model(alone, opset_imports=model.opset_import)
    try:
        values = ReferenceEvaluator(single).run(names, dict(arrays))
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # the reference does not have this operator: it stays where it is
    if not all(isinstance(value, (np.ndarray, np.generic)) for value in values):
        return None  # sequences are no tensors
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
