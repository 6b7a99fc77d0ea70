"""How single operators are written in older opsets, and which can be written in others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medge.errors import BundleError
from medge.exporters.graph_view import GraphView, attribute
from medge.exporters.jetson.static import shapes_of, typed
from medge.exporters.network import Tensor

FLOATS: Mapping[int, str] = {TensorProto.FLOAT: "f4", TensorProto.FLOAT16: "f2"}


class Work:
    """A graph of fixed shapes that is being rewritten, and what the new nodes need.

    Attributes
    ----------
    opset
        That of the new nodes.
    """

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.model = model
        self.opset = opset
        self.view = GraphView(model)
        self.shapes = shapes_of(model)
        self.constants: list[onnx.TensorProto] = []
        self._types = _types(model)

    def rank(self, node: onnx.NodeProto) -> int:
        """Return how many sides the first input has."""
        return len(self.shape(node))

    def shape(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return the sides of the first input."""
        found = self.shapes.get(node.input[0])
        if found is None:
            raise refused(node, "the shape of its input depends on the picture")
        return found

    def constant(self, node: onnx.NodeProto, slot: int) -> Tensor | None:
        """Return an optional input that has to be constant, None where it is not given."""
        if len(node.input) <= slot or not node.input[slot]:
            return None
        found = self.view.array(node.input[slot])
        if found is None:
            raise refused(node, f"its input {slot} is computed")
        return found

    def kind(self, node: onnx.NodeProto) -> int:
        """Return the element type of the first input, fp32 or fp16."""
        found = self._types.get(node.input[0], 0)
        if found not in FLOATS:
            raise refused(node, "it computes in neither fp32 nor fp16")
        return found

    def store(self, name: str, value: Tensor) -> str:
        """Add a constant; return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def number(self, name: str, value: float, kind: int) -> str:
        """Add one number of an element type; return its name."""
        return self.store(name, np.asarray(value, FLOATS[kind]))


class Chain:
    """Nodes that replace one, each named after it."""

    def __init__(self, work: Work, node: onnx.NodeProto) -> None:
        self.work = work
        self.node = node
        self.base = node.output[0]
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *names: str, last: bool = False, **attributes: Any) -> str:
        """Add a node that reads ``names``; return the name of what it makes."""
        place = len(self.nodes)
        made = self.base if last else f"{self.base}.{place}"
        name = f"{self.node.name or self.base}.{operator}{place}"
        self.nodes.append(helper.make_node(operator, names, [made], name, **attributes))
        return made

    def number(self, value: float, kind: int) -> str:
        """Add one number; return its name."""
        return self.work.number(f"{self.base}.c{len(self.work.constants)}", value, kind)


Rule = Callable[[Work, onnx.NodeProto], Iterator[onnx.NodeProto]]


def refused(node: onnx.NodeProto, why: str) -> BundleError:
    """Return the error for a node that has no older form."""
    shown = ascii(node.name[:60]) if node.name else "without a name"
    return BundleError(
        "lowering",
        f"{node.op_type} {shown} cannot be written for this JetPack: {why}. Replace that operator "
        "in the network, export it with an older --opset, or choose a device with a newer JetPack.",
    )


def _reduce(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Axes are an input since opset 18, an attribute before."""
    axes = work.constant(node, 1)
    none = axes is None or axes.size == 0
    if none and attribute(node, "noop_with_empty_axes", 0):  # each value is a sum of one
        operator = _OF_ONE.get(node.op_type, "Identity")
        given = [node.input[0]] * (2 if operator == "Mul" else 1)
        yield helper.make_node(operator, given, node.output, node.name)
        return
    axes_said: dict[str, Any] = (
        {} if none or axes is None else {"axes": [int(axis) for axis in axes.ravel()]}
    )
    yield helper.make_node(
        node.op_type,
        [node.input[0]],
        node.output,
        node.name,
        keepdims=attribute(node, "keepdims", 1),
        **axes_said,
    )


def _split(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """``num_outputs`` came with opset 18, where the last part may be smaller than the others."""
    axis = attribute(node, "axis", 0)
    sizes = work.constant(node, 1)
    if sizes is None:
        length, parts = work.shape(node)[axis], len(node.output)
        each = math.ceil(length / parts)
        sizes = np.array([each] * (parts - 1) + [length - each * (parts - 1)], dtype="i8")
    name = work.store(f"{node.output[0]}.sizes", sizes)
    yield helper.make_node("Split", [node.input[0], name], node.output, node.name, axis=axis)


def _pad(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """``axes`` came with opset 18, wrapping around with 19."""
    mode = next((a.s.decode() for a in node.attribute if a.name == "mode"), "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise refused(node, f"its mode is {mode}")
    names = list(node.input[:3])
    while names and not names[-1]:  # TensorRT 8.2 counts them and then looks at the absent one
        names.pop()
    axes = work.constant(node, 3)
    if axes is not None:
        pads, rank = work.constant(node, 1), work.rank(node)
        if pads is None:
            raise refused(node, "it has no pads")
        every = np.zeros((2, rank), dtype="i8")
        every[:, [int(axis) % rank for axis in axes]] = pads.reshape(2, -1)
        names[1] = work.store(f"{node.output[0]}.pads", every.ravel())
    yield helper.make_node("Pad", names, node.output, node.name, mode=mode)


def _reshape(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """``allowzero`` (opset 14) changes nothing where the shape has no 0."""
    shape = work.view.array(node.input[1])
    if attribute(node, "allowzero", 0) and (shape is None or 0 in shape):
        raise refused(node, "a 0 in its shape stands for a side of 0")
    yield helper.make_node("Reshape", node.input, node.output, node.name)


def _resize(_work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Opset 18 lets axes be named, 19 has another way to place the grid."""
    if any(one.name == "axes" for one in node.attribute):
        raise refused(node, "it resizes named axes")
    mode = next(
        (one.s for one in node.attribute if one.name == "coordinate_transformation_mode"), b""
    )
    if mode == b"half_pixel_symmetric":
        raise refused(node, "its coordinates are half_pixel_symmetric")
    yield node


def _layer_norm(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + bias.

    Up to the division in fp32, then cast back (ONNX, LayerNormalization-17, stash_type).
    """
    if any(node.output[1:]):
        raise refused(node, "its mean or deviation is read")
    kind, rank = work.kind(node), work.rank(node)
    axes = list(range(attribute(node, "axis", -1) % rank, rank))
    epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
    wide = attribute(node, "stash_type", 1) == TensorProto.FLOAT and kind != TensorProto.FLOAT
    chain = Chain(work, node)
    x = chain.add("Cast", node.input[0], to=TensorProto.FLOAT) if wide else node.input[0]
    inner = TensorProto.FLOAT if wide else kind
    apart = chain.add("Sub", x, chain.add("ReduceMean", x, axes=axes, keepdims=1))
    squares = chain.add("Mul", apart, apart)
    variance = chain.add("ReduceMean", squares, axes=axes, keepdims=1)
    raised = chain.add("Add", variance, chain.number(epsilon, inner))
    y = chain.add("Div", apart, chain.add("Sqrt", raised))
    if wide:
        y = chain.add("Cast", y, to=kind)
    bias = node.input[2] if len(node.input) > 2 else ""
    scaled = chain.add("Mul", y, node.input[1], last=not bias)
    if bias:
        chain.add("Add", scaled, bias, last=True)
    yield from chain.nodes


def _group_norm(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """InstanceNormalization of groups, then scale and bias: by group in 18, by channel in 21."""
    kind, shape = work.kind(node), work.shape(node)
    groups, channels = attribute(node, "num_groups", 0), shape[1]
    epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
    scale, bias = work.constant(node, 1), work.constant(node, 2)
    if not groups or channels % groups or scale is None or bias is None:
        raise refused(node, "its groups do not fit")
    if kind != TensorProto.FLOAT:
        raise refused(node, "it computes in fp16")
    chain = Chain(work, node)
    apart = work.store(f"{chain.base}.apart", np.array([shape[0], groups, -1], dtype="i8"))
    whole = work.store(f"{chain.base}.whole", np.array(shape, dtype="i8"))
    ones = work.store(f"{chain.base}.ones", np.ones(groups, dtype="f4"))
    zeros = work.store(f"{chain.base}.zeros", np.zeros(groups, dtype="f4"))
    flat = chain.add("Reshape", node.input[0], apart)
    even = chain.add("InstanceNormalization", flat, ones, zeros, epsilon=epsilon)
    y = chain.add("Reshape", even, whole)
    sides = (1, channels, *(1,) * (len(shape) - 2))
    each = [np.repeat(v, channels // v.size).reshape(sides) for v in (scale, bias)]
    y = chain.add("Mul", y, work.store(f"{chain.base}.scale", each[0]))
    chain.add("Add", y, work.store(f"{chain.base}.bias", each[1]), last=True)
    yield from chain.nodes


def _gelu(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Write x/2 (1 + erf(x / sqrt 2)), or with tanh as ONNX defines the approximation (Gelu-20)."""
    kind, x = work.kind(node), node.input[0]
    mode = next((one.s for one in node.attribute if one.name == "approximate"), b"none")
    chain = Chain(work, node)
    if mode == b"tanh":
        cube = chain.add("Mul", chain.add("Mul", x, x), x)
        bent = chain.add("Add", x, chain.add("Mul", cube, chain.number(0.044715, kind)))
        part = chain.add("Tanh", chain.add("Mul", bent, chain.number(math.sqrt(2 / math.pi), kind)))
    else:
        part = chain.add("Erf", chain.add("Mul", x, chain.number(math.sqrt(0.5), kind)))
    both = chain.add("Add", part, chain.number(1.0, kind))
    half = chain.add("Mul", x, chain.number(0.5, kind))
    chain.add("Mul", half, both, last=True)
    yield from chain.nodes


def _hard_swish(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Write x * HardSigmoid(x) with alpha 1/6 and beta 1/2 (ONNX, HardSwish-14)."""
    chain = Chain(work, node)
    part = chain.add("HardSigmoid", node.input[0], alpha=1 / 6, beta=0.5)
    chain.add("Mul", node.input[0], part, last=True)
    yield from chain.nodes


def _mish(work: Work, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Write x * tanh(softplus(x)) (ONNX, Mish-18)."""
    chain = Chain(work, node)
    part = chain.add("Tanh", chain.add("Softplus", node.input[0]))
    chain.add("Mul", node.input[0], part, last=True)
    yield from chain.nodes


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = typed(model).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


_OF_ONE = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceSumSquare": "Mul", "ReduceLogSum": "Log"}
"""What a reduction over no axis does to each value, where that is something (ONNX, Reduce*-18)."""

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

LOWERED: Mapping[str, Rule] = {
    **{f"Reduce{word}": _reduce for word in _REDUCTIONS},
    "Split": _split,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
}
"""Operators that say the same otherwise."""

DECOMPOSED: Mapping[str, Rule] = {
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Mish": _mish,
}
"""Operators that older opsets and parsers do not have."""
