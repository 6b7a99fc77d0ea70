"""Small graphs that TensorRT takes, and graphs that it must not take, each for one reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medge.engine.backends import Port
from medge.engine.backends.trt.plan import Batches, PlanRequest

WEIGHTS = np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)


def graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    batch: int | str = 1,
    picture: tuple[int, ...] = (3, 8, 8),
    answer: tuple[int, ...] | None = (4, 6, 6),
) -> bytes:
    """Return a model from ``x`` to ``y``, both fp32."""
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, *picture))
    shape = None if answer is None else (batch, *answer)
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    held = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [taken], [given], held),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())


def request(
    *capabilities: str,
    picture: tuple[int, ...] = (3, 8, 8),
    answer: tuple[int, ...] = (4, 6, 6),
    batches: Batches = Batches(),  # noqa: B008  it is frozen
) -> PlanRequest:
    return PlanRequest(
        flavour="tensorrt-rtx",
        inputs=(Port("x", "float32", picture),),
        outputs=(Port("y", "float32", answer),),
        compute_capabilities=capabilities or None,
        batches=batches,
    )


def convolution(batch: int | str = 1) -> bytes:
    return graph([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"w": WEIGHTS}, batch)


def product() -> bytes:
    """Return one fp32 matrix product, which Turing's kernels of TensorRT-RTX lack."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"], "product"),
    ]
    return graph(nodes, {"m": np.ones((192, 4), np.float32)}, answer=(4,))


def quantised(zero_point: np.generic, bias: bool = False) -> bytes:
    """Return a convolution behind Q/DQ, with a bias in int32 or none."""
    constants = {
        "w": np.ones((4, 3, 3, 3), np.int8),
        "s": np.float32(0.1),
        "z": np.asarray(zero_point),
        "wz": np.int8(0),
        "b": np.ones(4, np.int32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "s"], ["bd"]),
        helper.make_node("Conv", ["d", "wd", "bd"] if bias else ["d", "wd"], ["y"], "conv"),
    ]
    if not bias:
        del nodes[3], constants["b"]
    return graph(nodes, {name: np.asarray(array) for name, array in constants.items()})


def integer_convolution(operator: str) -> bytes:
    """Return QLinearConv or ConvInteger, which compute in int8 as ONNX says it."""
    constants = {"w": np.ones((4, 3, 3, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    scales = ["q", "s", "z", "w", "s", "z", "s", "z"]
    linear = operator == "QLinearConv"
    last = (
        helper.make_node("DequantizeLinear", ["i", "s", "z"], ["y"])
        if linear
        else helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(operator, scales if linear else ["q", "w"], ["i"]),
        last,
    ]
    return graph(nodes, {name: np.asarray(array) for name, array in constants.items()})


def single(operator: str, domain: str = "", **attributes: object) -> bytes:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain, **attributes)
    return graph([node], answer=None)


def dynamic_quantisation() -> bytes:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return graph(nodes, answer=None)


# What is refused, at which operator, why.
REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "asymmetric": (lambda: quantised(np.int8(3)), "QuantizeLinear", "zero-point"),
    "uint8": (lambda: quantised(np.uint8(0)), "QuantizeLinear", "uint8"),
    "uint8 in the middle": (lambda: quantised(np.uint8(128)), "QuantizeLinear", "zero-point"),
    "bias in int32": (lambda: quantised(np.int8(0), True), "DequantizeLinear", "quantised-bias"),
    "QLinearConv": (lambda: integer_convolution("QLinearConv"), "QLinearConv", "operator"),
    "ConvInteger": (lambda: integer_convolution("ConvInteger"), "ConvInteger", "operator"),
    "DynamicQuantizeLinear": (dynamic_quantisation, "DynamicQuantizeLinear", "operator"),
    "Unique": (lambda: single("Unique"), "Unique", "operator"),
    "foreign operator": (lambda: single("Foo", "elsewhere"), "Foo", "operator"),
    "dilated pooling": (
        lambda: single("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
        "MaxPool",
        "attribute",
    ),
    "no model": (lambda: b"no model", "", "no-graph"),
}
