"""fp16 by casts in the graph: 16-bit layers, 32-bit inputs and outputs, fp32 where values grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medge.exporters.graph_view import GraphView, names_read
from medge.exporters.histogram import Histogram

LARGEST_SAFE = 512.0
"""Nodes that meet larger values stay fp32 (AutoCast's rule, NVIDIA Model Optimizer): fp16 ends at
65504, and sums of squares and products of such values come near it."""

SMALLEST_VARIANCE = 1e-4
"""BatchNorm with a smaller variance stays fp32: fp16 has steps of 6e-8 there, and 1/sqrt grows."""

HALF_OPERATORS = frozenset(
    {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"),
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("Erf", "Gelu", "Elu", "Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Split"),
        *("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad", "Identity"),
        *("Expand", "Gather"),
    }
)
"""Whatever adds up or raises what it reads (Softmax, LayerNormalization, means, powers, logarithms)
is not among them: half the digits are lost there first."""


@dataclass
class _Casting:
    """What is half, and the casts and constants that this needs."""

    view: GraphView
    types: Mapping[str, int]
    half: frozenset[int]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def is_float(self, name: str) -> bool:
        return self.types.get(name) == TensorProto.FLOAT

    def home_is_half(self, name: str) -> bool:
        return self.view.makers.get(name) in self.half


def half_precision(model: onnx.ModelProto, seen: Mapping[str, Histogram]) -> onnx.ModelProto:
    """Return a copy of a folded graph whose layers compute in fp16.

    Parameters
    ----------
    seen
        Extremes of the graph's tensors on the calibration pictures.
    """
    view = GraphView(model)
    types = _types(model)
    half = frozenset(
        place for place, node in enumerate(view.nodes) if _can_be_half(view, node, types, seen)
    )
    work = _Casting(view, types, half)
    for place, node in enumerate(view.nodes):
        _convert(work, place, node)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(work.nodes)
    read = names_read(work.nodes) | view.outputs
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend([*kept, *work.constants.values()])
    del made.graph.value_info[:]  # says fp32 of tensors that are fp16 now
    return made


def _types(model: onnx.ModelProto) -> dict[str, int]:
    typed = onnx.shape_inference.infer_shapes(model)
    found = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*typed.graph.input, *typed.graph.value_info, *typed.graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def _can_be_half(
    view: GraphView, node: onnx.NodeProto, types: Mapping[str, int], seen: Mapping[str, Histogram]
) -> bool:
    if node.op_type not in HALF_OPERATORS:
        return False
    floats = [name for name in (*node.input, *node.output) if types.get(name) == TensorProto.FLOAT]
    if not floats or any(seen[name].reach > LARGEST_SAFE for name in floats if name in seen):
        return False
    constants = [view.array(name) for name in node.input if types.get(name) == TensorProto.FLOAT]
    if any(c is not None and c.size and np.abs(c).max() > LARGEST_SAFE for c in constants):
        return False
    if node.op_type == "BatchNormalization":
        variance = view.array(node.input[4])
        return variance is not None and float(variance.min()) >= SMALLEST_VARIANCE
    return True


def _convert(work: _Casting, place: int, node: onnx.NodeProto) -> None:
    """Copy one node; what it reads and writes has its type, or is cast to it."""
    half = place in work.half
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if node.op_type == "Constant":
        work.nodes.append(made)
        return
    for slot, name in enumerate(node.input):
        if name and work.is_float(name):
            made.input[slot] = _read_as(work, name, half=half)
    work.nodes.append(made)
    for slot, name in enumerate(node.output):
        if half and work.is_float(name) and name in work.view.outputs:
            made.output[slot] = f"{name}.half"
            work.nodes.append(_cast(f"{name}.half", name, TensorProto.FLOAT))


def _read_as(work: _Casting, name: str, *, half: bool) -> str:
    """Return the name under which a float tensor is read in one type."""
    array = work.view.array(name)
    if array is not None:
        if half:
            narrow = numpy_helper.from_array(array.astype(np.float16), f"{name}.half")
            work.constants.setdefault(narrow.name, narrow)
        return f"{name}.half" if half else name
    if half == work.home_is_half(name):
        # A graph's output keeps its name for the fp32 value.
        return f"{name}.half" if half and name in work.view.outputs else name
    if name in work.view.outputs:
        return name  # the fp32 value is there already, cast right after it was made
    read = f"{name}.as_half" if half else f"{name}.as_float"
    if read not in work.made:
        work.made.add(read)
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        work.nodes.append(_cast(name, read, kind))
    return read


def _cast(name: str, made: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [made], f"{made}.Cast", to=kind)
