"""Numbers that TensorRT 8.2 takes for fp32 whatever they are: bounds of Clip, the value of Pad."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medge.exporters.graph_view import GraphView, names_read

LITERALS = {"Clip": (1, 2), "Pad": (2,)}
"""Inputs that onnx-tensorrt 8.2 reads as fp32 without a look at their type
(builtin_op_importers.cpp of its branch 8.2-GA, Clip and Pad); 8.5 looks."""


def with_wide_literals(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of equal values in which none of these numbers is fp16."""
    view = GraphView(model)
    constants: list[onnx.TensorProto] = []
    nodes = [made for node in view.nodes for made in _written(view, node, constants)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(copies)
    read = names_read(copies) | view.outputs
    kept = [t for t in (*model.graph.initializer, *constants) if t.name in read]
    made.graph.initializer.extend(kept)
    return made


def _written(
    view: GraphView, node: onnx.NodeProto, constants: list[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Yield what stands in a node's place: itself, where it reads no such number."""
    slots = LITERALS.get(node.op_type, ())
    if not any(_is_half(view, name) for slot in slots for name in node.input[slot : slot + 1]):
        yield node
    elif node.op_type == "Clip":
        yield from _clip(node)
    else:
        yield from _pad(view, node, constants)


def _clip(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Write min(max(x, low), high)."""
    bounds = [
        (operator, name)
        for operator, names in (("Max", node.input[1:2]), ("Min", node.input[2:3]))
        for name in names
        if name
    ]
    x = node.input[0]
    for place, (operator, bound) in enumerate(bounds):
        last = place == len(bounds) - 1
        y = node.output[0] if last else f"{node.output[0]}.{place}"
        yield helper.make_node(operator, [x, bound], [y], f"{node.name}.{operator}")
        x = y


def _pad(
    view: GraphView, node: onnx.NodeProto, constants: list[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Leave a 0 out; else pad in fp32, which holds every fp16."""
    value = np.asarray(view.array(node.input[2]))
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if not value.any():
        del made.input[2:]
        yield made
        return
    base = node.output[0]
    constants.append(numpy_helper.from_array(value.astype("f4"), f"{base}.value"))
    made.input[0], made.input[2], made.output[0] = f"{base}.in", f"{base}.value", f"{base}.out"
    kinds = {"in": TensorProto.FLOAT, "out": TensorProto.FLOAT16}
    yield helper.make_node(
        "Cast", [node.input[0]], [f"{base}.in"], f"{node.name}.in", to=kinds["in"]
    )
    yield made
    yield helper.make_node("Cast", [f"{base}.out"], [base], f"{node.name}.out", to=kinds["out"])


def _is_half(view: GraphView, name: str) -> bool:
    found = view.array(name) if name else None
    return found is not None and found.dtype == np.float16
