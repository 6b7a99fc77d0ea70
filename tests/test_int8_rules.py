"""What is not legal for TensorRT is found by its rule before any parser sees the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medge.exporters.int8_rules import violations

Change = Callable[[onnx.ModelProto], None]


def legal_graph() -> onnx.ModelProto:
    """Q, DQ, Conv with int8 weights by channel and a plain bias, Relu, Q, DQ, Gemm."""
    random = np.random.default_rng(0)
    constants = {
        "x.scale": np.array(0.1, "f4"),
        "x.zero": np.array(0, "i1"),
        "r.scale": np.array(0.2, "f4"),
        "r.zero": np.array(0, "i1"),
        "w": random.integers(-127, 128, (4, 1, 3, 3)).astype("i1"),
        "w.scale": np.full(4, 0.01, "f4"),
        "w.zero": np.zeros(4, "i1"),
        "b": np.zeros(4, "f4"),
        "v": random.integers(-127, 128, (4, 2)).astype("i1"),
        "v.scale": np.full(2, 0.01, "f4"),
        "v.zero": np.zeros(2, "i1"),
    }
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["w", "w.scale", "w.zero"], ["w.dq"], "w.DQ", axis=0),
        node("DequantizeLinear", ["v", "v.scale", "v.zero"], ["v.dq"], "v.DQ", axis=1),
        node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["x.q"], "x.Q"),
        node("DequantizeLinear", ["x.q", "x.scale", "x.zero"], ["x.dq"], "x.DQ"),
        node("Conv", ["x.dq", "w.dq", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], "relu"),
        node("GlobalAveragePool", ["r"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("QuantizeLinear", ["f", "r.scale", "r.zero"], ["f.q"], "f.Q"),
        node("DequantizeLinear", ["f.q", "r.scale", "r.zero"], ["f.dq"], "f.DQ"),
        node("Gemm", ["f.dq", "v.dq"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "legal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def replace(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    (old,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    old.CopyFrom(numpy_helper.from_array(value, name))


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def uint8_activations(model: onnx.ModelProto) -> None:
    replace(model, "x.zero", np.array(0, "u1"))


def no_zero_point(model: onnx.ModelProto) -> None:
    del node_of(model, "x.Q").input[2]


def asymmetric_int8(model: onnx.ModelProto) -> None:
    replace(model, "x.zero", np.array(-128, "i1"))


def integer_bias(model: onnx.ModelProto) -> None:
    scales = [numpy_helper.from_array(np.full(4, 0.001, "f4"), "b.scale")]
    model.graph.initializer.extend(scales)
    replace(model, "b", np.zeros(4, "i4"))
    made = helper.make_node("DequantizeLinear", ["b", "b.scale"], ["b.dq"], "b.DQ", axis=0)
    model.graph.node.insert(0, made)
    node_of(model, "conv").input[2] = "b.dq"


def one_operand(model: onnx.ModelProto) -> None:
    node_of(model, "conv").input[0] = "x"


def wrong_axis(model: onnx.ModelProto) -> None:
    replace(model, "v.scale", np.full(4, 0.01, "f4"))
    replace(model, "v.zero", np.zeros(4, "i1"))
    node_of(model, "v.DQ").attribute[0].i = 0


def many_scales_for_an_activation(model: onnx.ModelProto) -> None:
    replace(model, "r.scale", np.full(4, 0.1, "f4"))
    replace(model, "r.zero", np.zeros(4, "i1"))


def quantized_before_the_activation(model: onnx.ModelProto) -> None:
    place = list(model.graph.node).index(node_of(model, "relu"))
    pair = [
        helper.make_node("QuantizeLinear", ["c", "r.scale", "r.zero"], ["c.q"], "c.Q"),
        helper.make_node("DequantizeLinear", ["c.q", "r.scale", "r.zero"], ["c.dq"], "c.DQ"),
    ]
    for node in reversed(pair):
        model.graph.node.insert(place, node)
    node_of(model, "relu").input[0] = "c.dq"


def zero_scale(model: onnx.ModelProto) -> None:
    replace(model, "x.scale", np.array(0, "f4"))


def nan_scale(model: onnx.ModelProto) -> None:
    replace(model, "w.scale", np.array([0.01, np.nan, 0.01, 0.01], "f4"))


def integers_read_directly(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["x.q"], ["spare"], "spare"))


def operator(kind: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(kind, ["x"], ["spare"], "spare"))

    return change


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 12


def stored_as_floats(model: onnx.ModelProto) -> None:
    """Put Q and DQ behind a weight of floats, as TensorRT 8 wants them."""
    replace(model, "w", np.ones((4, 1, 3, 3), "f4"))
    place = list(model.graph.node).index(node_of(model, "w.DQ"))
    pair = helper.make_node("QuantizeLinear", ["w", "w.scale", "w.zero"], ["w.q"], "w.Q", axis=0)
    model.graph.node.insert(place, pair)
    node_of(model, "w.DQ").input[0] = "w.q"


def floats_along_the_wrong_axis(model: onnx.ModelProto) -> None:
    stored_as_floats(model)
    for name in ("w.Q", "w.DQ"):
        node_of(model, name).attribute[0].i = 2
    for name, dtype in (("w.scale", "f4"), ("w.zero", "i1")):
        replace(model, name, np.ones(3, dtype) if dtype == "f4" else np.zeros(3, dtype))


BREACHES: dict[str, tuple[Change, set[str]]] = {
    "uint8 activations": (uint8_activations, {"type"}),
    "no zero point means uint8": (no_zero_point, {"type"}),
    "asymmetric int8": (asymmetric_int8, {"zero-point"}),
    "int32 bias": (integer_bias, {"bias", "type"}),
    "one operand of two": (one_operand, {"operands"}),
    "scales along the wrong axis": (wrong_axis, {"axis"}),
    "weights of floats, wrong axis": (floats_along_the_wrong_axis, {"axis"}),
    "activation with a scale for each channel": (many_scales_for_an_activation, {"axis"}),
    "Q between Conv and Relu": (quantized_before_the_activation, {"placement"}),
    "scale 0": (zero_scale, {"scale"}),
    "scale NaN": (nan_scale, {"scale"}),
    "integers read by another operator": (integers_read_directly, {"pair"}),
    "QLinearConv": (operator("QLinearConv"), {"operator"}),
    "ConvInteger": (operator("ConvInteger"), {"operator"}),
    "DynamicQuantizeLinear": (operator("DynamicQuantizeLinear"), {"operator"}),
    "opset 12": (old_opset, {"opset"}),
}


def test_a_legal_graph_breaks_no_rule() -> None:
    onnx.checker.check_model(legal_graph())
    assert violations(legal_graph()) == ()


def test_weights_may_be_stored_as_floats_with_q_and_dq_behind() -> None:
    model = legal_graph()
    stored_as_floats(model)
    onnx.checker.check_model(model)
    assert violations(model) == ()


@pytest.mark.parametrize("breach", BREACHES)
def test_each_breach_is_found_under_its_rule_and_no_other(breach: str) -> None:
    change, rules = BREACHES[breach]
    model = legal_graph()
    change(model)
    assert {found.rule for found in violations(model)} == rules
