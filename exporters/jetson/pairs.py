"""Weights of INT8 layers as TensorRT 8 reads them: float, with Q and DQ behind, of equal values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from medge.exporters.graph_view import GraphView, attribute, names_read
from medge.exporters.network import Tensor
from medge.exporters.qdq import dequantized


def with_pairs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose stored integers are the float numbers that they stand for.

    Q gives the integers back: a multiple of the scale, divided by it, is less than half a step
    from where it was.
    """
    view = GraphView(model)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Tensor] = {}
    for node in view.nodes:
        stored = view.initializers.get(node.input[0])
        scales = view.array(node.input[1]) if node.op_type == "DequantizeLinear" else None
        if stored is None or scales is None:
            nodes.append(node)
        else:
            nodes += _pair(node, stored, scales, constants)
    return _with(model, nodes, constants)


def _pair(
    node: onnx.NodeProto, stored: onnx.TensorProto, scales: Tensor, constants: dict[str, Tensor]
) -> Iterator[onnx.NodeProto]:
    """Yield Q and DQ in the place of DQ alone."""
    integers = numpy_helper.to_array(stored)
    axis = attribute(node, "axis", 1) % integers.ndim if scales.size > 1 else None
    name = f"{node.output[0]}.wide"
    constants[name] = dequantized(integers, scales.ravel(), axis or 0)
    zero = _zero(node, scales, constants)
    kept: dict[str, Any] = {} if axis is None else {"axis": axis}
    made = f"{node.output[0]}.q"
    for operator, reads, writes in (
        ("QuantizeLinear", name, made),
        ("DequantizeLinear", made, node.output[0]),
    ):
        called = f"{node.name}.Q" if operator == "QuantizeLinear" else node.name
        given = [reads, node.input[1], zero]
        yield helper.make_node(operator, given, [writes], called, **kept)


def _zero(node: onnx.NodeProto, scales: Tensor, constants: dict[str, Tensor]) -> str:
    """Return the zero point's name; TensorRT 8.2 wants one to be named."""
    if len(node.input) > 2 and node.input[2]:
        return str(node.input[2])
    name = f"{node.output[0]}.zero"
    constants[name] = np.zeros(scales.shape, "i1")
    return name


def _with(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: dict[str, Tensor]
) -> onnx.ModelProto:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    read = names_read(copies) | {value.name for value in model.graph.output}
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(copies)
    made.graph.initializer.extend(t for t in model.graph.initializer if t.name in read)
    made.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants.items())
    return made
