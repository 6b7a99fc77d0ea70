"""The rules under which a Q/DQ graph is legal for TensorRT, and so for every runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from medge.exporters.graph_view import COMPUTE, GraphView, attribute
from medge.exporters.network import Tensor
from medge.exporters.qdq import channel_axis

FEWEST_OPSET = 13  # the first with a scale for each channel
FOREIGN = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
FUSED_BEHIND = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "BatchNormalization"})
Q, DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a graph breaks, at one node."""

    rule: str
    node: str
    found: str


def violations(model: onnx.ModelProto) -> tuple[Violation, ...]:
    """Return every breach, in the order of the nodes; none means legal.

    The rules are those of TensorRT's ONNX parser and its explicit quantisation (TensorRT developer
    guide, "Working with Quantized Types"; onnx-tensorrt, docs/operators.md), seen to be enforced by
    TensorRT-RTX 1.7: ``opset``, ``operator`` (only QuantizeLinear and DequantizeLinear), ``type``
    (int8), ``zero-point`` (0), ``scale`` (a positive constant), ``pair`` (Q feeds only DQ, DQ reads
    Q or a constant), ``bias`` (not quantised), ``axis`` (a scale for each output channel of a
    weight; one scale for anything else), ``operands`` (both of a layer or none), ``placement`` (no
    Q between a layer and the activation or BatchNorm that is fused with it).
    """
    view = GraphView(model)
    return tuple(_opset(model)) + tuple(
        breach for node in view.nodes for rule in _RULES for breach in rule(view, node)
    )


def _opset(model: onnx.ModelProto) -> Iterator[Violation]:
    opset = max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < FEWEST_OPSET:
        yield Violation("opset", "", f"opset {opset}, needed is {FEWEST_OPSET}")


def _operator(_view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type.startswith(FOREIGN):
        yield Violation("operator", node.name, node.op_type)


def _type(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    """Without a zero point Q makes uint8; DQ reads the type of its input."""
    if node.op_type == Q:
        zero = _zero(view, node)
        if zero is None or zero.dtype != np.int8:
            yield Violation("type", node.name, "uint8" if zero is None else str(zero.dtype))
    elif node.op_type == DQ:
        read = view.initializers.get(node.input[0])
        if read is not None and read.data_type != TensorProto.INT8:
            yield Violation("type", node.name, TensorProto.DataType.Name(read.data_type).lower())


def _zero_point(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type not in (Q, DQ) or len(node.input) < 3 or not node.input[2]:
        return
    zero = view.array(node.input[2])
    if zero is None:
        yield Violation("zero-point", node.name, "is computed")
    elif np.any(zero):
        yield Violation("zero-point", node.name, f"is {int(zero.ravel()[np.argmax(zero != 0)])}")


def _scale(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type not in (Q, DQ):
        return
    scale = view.array(node.input[1])
    if scale is None:
        yield Violation("scale", node.name, "is computed")
    elif not np.all(np.isfinite(scale) & (scale > 0)):
        yield Violation("scale", node.name, "is not a positive number")


def _pair(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type == Q:
        readers = [view.nodes[edge.node].op_type for edge in view.readers[node.output[0]]]
        if not readers or any(kind != DQ for kind in readers):
            yield Violation("pair", node.name, "its integers are read by something else than DQ")
    elif node.op_type == DQ:
        maker = view.maker(node.input[0])
        if not view.is_constant(node.input[0]) and (maker is None or maker.op_type != Q):
            yield Violation("pair", node.name, "it reads neither Q nor a constant")


def _bias(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type in COMPUTE and len(node.input) > 2:
        maker = view.maker(node.input[2])
        if maker is not None and maker.op_type in (Q, DQ):
            yield Violation("bias", node.name, "its bias is quantised")


def _axis(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type not in (Q, DQ):
        return
    scale = view.array(node.input[1])
    if scale is None or scale.size == 1:
        return
    weight = _weight(view, node)
    if weight is None:
        yield Violation("axis", node.name, f"{scale.size} scales for what is no weight")
        return
    axis = attribute(node, "axis", 1)
    for edge in view.readers[node.output[0]]:
        reader = view.nodes[edge.node]
        if reader.op_type in COMPUTE and edge.slot > 1:
            continue  # a bias, which has a rule of its own
        if node.op_type == Q and reader.op_type == DQ:
            continue  # DQ is looked at itself, and reads with the same scales or is no pair
        if reader.op_type not in COMPUTE or edge.slot != 1:
            yield Violation("axis", node.name, f"{scale.size} scales for what is no weight")
        elif axis % weight.ndim != channel_axis(reader, weight.ndim):
            yield Violation("axis", node.name, f"scales along axis {axis} of {reader.op_type}")
        elif scale.size != weight.shape[axis]:
            yield Violation(
                "axis", node.name, f"{scale.size} scales, {weight.shape[axis]} channels"
            )


def _weight(view: GraphView, node: onnx.NodeProto) -> Tensor | None:
    """Return the constant that Q or DQ reads, a DQ also through the Q of its pair.

    TensorRT 8 wants weights stored as floats with both behind them.
    """
    maker = view.maker(node.input[0])
    if node.op_type == DQ and maker is not None and maker.op_type == Q:
        return view.array(maker.input[0])
    return view.array(node.input[0])


def _operands(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    if node.op_type not in COMPUTE:
        return
    integer = [_is_dequantized(view, name) for name in node.input[:2]]
    if integer[0] != integer[1]:
        yield Violation("operands", node.name, "one operand is quantised and the other is not")


def _placement(view: GraphView, node: onnx.NodeProto) -> Iterator[Violation]:
    """Find a Q that parts a layer from what would be fused with it."""
    if node.op_type not in FUSED_BEHIND or not _is_dequantized(view, node.input[0]):
        return
    dequantize = view.maker(node.input[0])
    quantize = None if dequantize is None else view.maker(dequantize.input[0])
    layer = None if quantize is None else view.maker(quantize.input[0])
    if layer is not None and layer.op_type in COMPUTE:
        yield Violation("placement", node.name, f"Q between {layer.op_type} and {node.op_type}")


def _zero(view: GraphView, node: onnx.NodeProto) -> Tensor | None:
    return view.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None


def _is_dequantized(view: GraphView, name: str) -> bool:
    maker = view.maker(name)
    return maker is not None and maker.op_type == DQ


_RULES: tuple[Callable[[GraphView, onnx.NodeProto], Iterator[Violation]], ...] = (
    _operator,
    _type,
    _zero_point,
    _scale,
    _pair,
    _bias,
    _axis,
    _operands,
    _placement,
)
