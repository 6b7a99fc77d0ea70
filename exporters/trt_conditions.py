"""Hold one node of a graph against the conditions under which TensorRT takes its operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper

from medge.exporters.graph_view import GraphView
from medge.exporters.int8_rules import DQ, Q, Violation, violations
from medge.exporters.trt_tables import Condition


class Context:
    """A graph, and what is found out about it once, when the first rule asks."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.view = GraphView(model)

    @cached_property
    def violations(self) -> tuple[Violation, ...]:
        """What is not legal about Q and DQ; empty for a graph without them."""
        narrow = any(node.op_type in (Q, DQ) for node in self.view.nodes)
        return violations(self.view.model) if narrow else ()

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Sides of every tensor whose shape ONNX can tell; None is a side that varies."""
        graph = onnx.shape_inference.infer_shapes(self.view.model, data_prop=True).graph
        found: dict[str, tuple[int | None, ...]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                sides = value.type.tensor_type.shape.dim
                found[value.name] = tuple(
                    int(side.dim_value) if side.HasField("dim_value") else None for side in sides
                )
        return found


def broken(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    """Return how a node breaks a condition, in words; empty where it does not."""
    return _KINDS[condition.kind](condition, context, node)


def _constant(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    name = _input(node, condition.what)
    maker = context.view.maker(name)
    if maker is not None and maker.op_type == DQ:  # a weight of int8 is as constant as one of fp32
        name = maker.input[0]
    known = not name or context.view.is_constant(name)
    return "" if known else f"input {condition.what} is computed, it must be a constant"


def _sides(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    kernel = _attribute(node, condition.what)
    if kernel is None:
        weight = context.view.array(_input(node, "1"))
        if weight is None:
            return ""
        found = weight.ndim - 2
    else:
        found = len(kernel)
    told = " or ".join(condition.values)
    return "" if str(found) in condition.values else f"its window has {found} sides, not {told}"


def _ones(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    found = _attribute(node, condition.what)
    return "" if found is None or set(found) <= {1} else f"{condition.what} is {list(found)}"


def _one_of(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    found = _attribute(node, condition.what)
    if found is None:
        return ""
    shown = found.decode() if isinstance(found, bytes) else f"{found:g}"
    told = ", ".join(condition.values)
    return "" if shown in condition.values else f"{condition.what} is {shown[:40]}, not {told}"


def _absent(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    found = _attribute(node, condition.what)
    return "" if found is None else f"{condition.what} is not taken"


def _lacks(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    found = _attribute(node, condition.what) or b""
    hit = next((word for word in condition.values if word.encode() in found), None)
    return "" if hit is None else f"{condition.what} holds {hit}"


def _outputs(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    found = sum(bool(name) for name in node.output)
    return "" if found <= int(condition.values[0]) else f"output {condition.values[0]} is used"


def _inputs(condition: Condition, _context: Context, node: onnx.NodeProto) -> str:
    most = int(condition.values[0])
    return f"input {most} is given" if any(node.input[most:]) else ""


def _below(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    value = context.view.array(_input(node, condition.what))
    if value is None or not np.any(value >= int(condition.values[0])):
        return ""
    return f"input {condition.what} is {int(value.max())}, it must be below {condition.values[0]}"


def _alike(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    """Hold an input against another that must have as many values."""
    value = context.view.array(_input(node, condition.what))
    other = context.view.array(_input(node, condition.values[0]))
    if value is not None and other is not None and value.size == other.size:
        return ""
    return f"input {condition.what} must be given, of the size of input {condition.values[0]}"


def _false(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    name = _input(node, condition.what)
    value = context.view.array(name)
    known = not name or (value is not None and not np.any(value))
    return "" if known else f"input {condition.what} must be a constant false"


def _rank(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    shape = context.shapes.get(_input(node, condition.what))
    if shape is None or str(len(shape)) in condition.values:
        return ""
    return f"input {condition.what} has {len(shape)} sides, not {' or '.join(condition.values)}"


def _static(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    shape = context.shapes.get(_input(node, condition.what))
    if shape is not None and None not in shape:
        return ""
    return f"the shape of input {condition.what} must be fixed"


def _wide(condition: Condition, context: Context, node: onnx.NodeProto) -> str:
    found = context.view.array(_input(node, condition.what))
    if found is None or found.dtype != np.float16:
        return ""
    return f"input {condition.what} is fp16 and is read as fp32"


def _input(node: onnx.NodeProto, slot: str) -> str:
    place = int(slot)
    return str(node.input[place]) if place < len(node.input) else ""


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    found = next((one for one in node.attribute if one.name == name), None)
    return None if found is None else helper.get_attribute_value(found)


_KINDS: Mapping[str, Callable[[Condition, Context, onnx.NodeProto], str]] = {
    "absent": _absent,
    "alike": _alike,
    "below": _below,
    "constant": _constant,
    "false": _false,
    "inputs": _inputs,
    "lacks": _lacks,
    "one-of": _one_of,
    "ones": _ones,
    "outputs": _outputs,
    "rank": _rank,
    "sides": _sides,
    "static": _static,
    "wide": _wide,
}
