"""Graphs of one or two operators, legal and illegal for TensorRT, for tests of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
IMAGE = ("x", FLOAT, (2, 3, 8, 8))

Port = tuple[str, int, Sequence[int | str]]


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Port] = (IMAGE,),
    outputs: Sequence[tuple[str, int]] = (("y", FLOAT),),
    *,
    opset: int = 20,
    **constants: Any,
) -> onnx.ModelProto:
    """Return a model; names of ``constants`` are those of its initializers."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def one(operator: str, *inputs: str, outputs: Sequence[str] = ("y",), **attributes: Any):
    """Return one node that reads ``inputs``, else x, and is named as its operator."""
    return helper.make_node(
        operator, list(inputs) or ["x"], list(outputs), name=operator.lower(), **attributes
    )


def pool(operator: str, sides: int, *, indices: bool = False, **attributes: Any):
    outputs = ("y", "i") if indices else ("y",)
    return graph_of(
        [one(operator, outputs=outputs, kernel_shape=[2] * sides, **attributes)],
        [("x", FLOAT, (1, 3, *[6] * sides))],
        [("y", FLOAT), ("i", TensorProto.INT64)][: len(outputs)],
    )


def reduction(operator: str, axes: str, *, opset: int = 18) -> onnx.ModelProto:
    """Return a graph whose axes are ``constant``, ``computed`` or ``absent``."""
    if axes == "absent":
        return graph_of([one(operator, "x")], opset=opset)
    if axes == "constant":
        return graph_of([one(operator, "x", "a")], opset=opset, a=np.array([1]))
    return graph_of([one(operator, "x", "a")], [IMAGE, ("a", TensorProto.INT64, (1,))], opset=opset)


def squeezing(operator: str, *, computed: bool) -> onnx.ModelProto:
    x = ("x", FLOAT, (2, 1, 8, 8))
    if computed:
        return graph_of([one(operator, "x", "a")], [x, ("a", TensorProto.INT64, (1,))])
    return graph_of([one(operator, "x", "a")], [x], a=np.array([1]))


def resize(*, computed: bool = False, **attributes: Any) -> onnx.ModelProto:
    scales = np.array([1, 1, 2, 2], "f4")
    if computed:
        return graph_of([one("Resize", "x", "", "s", **attributes)], [IMAGE, ("s", FLOAT, (4,))])
    return graph_of([one("Resize", "x", "", "s", **attributes)], s=scales)


def layer_norm(*, opset: int = 17, mean: bool = False) -> onnx.ModelProto:
    outputs = ("y", "m") if mean else ("y",)
    return graph_of(
        [one("LayerNormalization", "x", "s", outputs=outputs)],
        outputs=[(name, FLOAT) for name in outputs],
        opset=opset,
        s=np.ones(8, "f4"),
    )


def scatter(operator: str, **attributes: Any) -> onnx.ModelProto:
    index = np.array([[1], [2]]) if operator == "ScatterND" else np.array([1, 2])
    return graph_of(
        [one(operator, "x", "i", "u", **attributes)],
        [("x", FLOAT, (8,))],
        i=index,
        u=np.array([1, 2], "f4"),
    )


def lstm(*, sequences: int = 1, **attributes: Any) -> onnx.ModelProto:
    return graph_of(
        [one("LSTM", "x", "w", "r", hidden_size=4, **attributes)],
        [("x", FLOAT, (5, sequences, 3))],
        w=np.zeros((1, 16, 3), "f4"),
        r=np.zeros((1, 16, 4), "f4"),
    )


def batch_norm(*, training: bool) -> onnx.ModelProto:
    outputs = ("y", "m", "v") if training else ("y",)
    ones = {name: np.ones(3, "f4") for name in "gbmv"}
    ones["mean"] = ones.pop("m")
    ones["var"] = ones.pop("v")
    node = one(
        "BatchNormalization",
        *("x", "g", "b", "mean", "var"),
        outputs=outputs,
        training_mode=int(training),
    )
    return graph_of([node], outputs=[(name, FLOAT) for name in outputs], **ones)


def cast(kind: int) -> onnx.ModelProto:
    """Return a graph that makes a tensor of a type in between."""
    nodes = [one("Cast", "x", outputs=("c",), to=kind), one("Cast", "c", to=FLOAT)]
    return graph_of(nodes)


def integer_picture(kind: int, *, cast_first: bool) -> onnx.ModelProto:
    """Return a graph whose input is of an integer type."""
    ports = [("x", kind, (2, 3))]
    if cast_first:
        return graph_of([one("Cast", "x", to=FLOAT)], ports)
    nodes = [one("Add", "x", "x", outputs=("s",)), one("Cast", "s", to=FLOAT)]
    return graph_of(nodes, ports)


def unary(operator: str) -> onnx.ModelProto:
    return graph_of([one(operator, "x")])
