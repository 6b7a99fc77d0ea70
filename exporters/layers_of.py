"""Layers of a graph: what each node computes and moves, from the shapes of a real run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from medge.exporters.plain_run import run_plainly
from medge.profiles.layers import Layer, Layers

if TYPE_CHECKING:
    from medge.exporters.network import Tensor

# What moves or reshapes data, or computes shapes: no arithmetic on the picture.
FREE = frozenset(
    (
        "Cast", "CastLike", "Compress", "Concat", "ConstantOfShape", "DepthToSpace", "Dropout",
        "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Range",
        "Reshape", "Resize", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
        "Transpose", "Unsqueeze", "Upsample", "Where",
    )
)  # fmt: skip
POOLS = frozenset(("AveragePool", "LpPool", "MaxPool"))
WHOLE_POOLS = frozenset(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"))
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}  # matrices per direction
# Mean, difference, square, mean, root with division, scale, shift: 7 operations on each element.
NORMS = {
    "BatchNormalization": 2,
    "GroupNormalization": 7,
    "InstanceNormalization": 7,
    "LayerNormalization": 7,
    "RMSNormalization": 4,
}
# Largest value, difference, exponential, sum, division.
PER_ELEMENT = {"Softmax": 5, "LogSoftmax": 5, **NORMS}

Shape = tuple[int, ...]


def layers_of(graph: bytes, image: Tensor) -> Layers:
    """Describe every node of a graph; ``image`` is a batch of one that it takes.

    What depends on weights alone is a weight and no layer of its own. A multiplication and its
    addition are two operations, and a bias costs nothing more: it takes the place of the first
    addition. Elementwise operators count one an element.
    """
    model = onnx.load_from_string(graph)
    values = run_plainly(model, image)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if _is_constant(node, weights):
            weights |= {name: values[name] for name in node.output if name in values}
        else:
            nodes.append(node)
    return Layers(layers=tuple(_layer(i, n, values, weights) for i, n in enumerate(nodes)))


def _is_constant(node: onnx.NodeProto, weights: Mapping[str, Tensor]) -> bool:
    """Tell what depends on no input: every runtime computes it once, when it loads the graph."""
    read = [name for name in node.input if name]
    return node.op_type == "Constant" or (bool(read) and all(name in weights for name in read))


def _layer(
    index: int, node: onnx.NodeProto, values: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Layer:
    # Arithmetic on shapes may pass an empty tensor on; it takes nothing, and no shape allows it.
    inputs = tuple(n for n in node.input if n in values and n not in weights and values[n].size)
    outputs = tuple(n for n in node.output if n in values and values[n].size)
    read, written = [values[name] for name in inputs], [values[name] for name in outputs]
    fixed = [weights[name] for name in node.input if name in weights]
    everything = {**values, **weights}
    arguments = [everything.get(name) for name in node.input]
    return Layer(
        name=node.name or f"{node.op_type}_{index}",
        op=node.op_type,
        input_shapes=tuple(_shape(array) for array in read),
        output_shapes=tuple(_shape(array) for array in written),
        flops=_flops(node, arguments, written),
        weight_bytes=sum(array.nbytes for array in fixed),
        input_bytes=sum(array.nbytes for array in read),
        output_bytes=sum(array.nbytes for array in written),
        inputs=inputs,
        outputs=outputs,
    )


def _flops(node: onnx.NodeProto, arguments: list[Any], written: list[Tensor]) -> int:
    """Count the arithmetic of one node."""
    if not written:
        return 0
    op, output = node.op_type, written[0]
    if op in FREE or not np.issubdtype(output.dtype, np.floating):
        return 0
    if op in PRODUCTS:
        return PRODUCTS[op](node, arguments, output)
    if op in POOLS:
        return int(output.size) * math.prod(_ints(node, "kernel_shape"))
    if op in WHOLE_POOLS or op.startswith(("Reduce", "Arg")):
        return int(arguments[0].size)
    return int(output.size) * PER_ELEMENT.get(op, 1)


def _conv(_node: onnx.NodeProto, arguments: list[Any], output: Tensor) -> int:
    """Each output is a sum over (channels of its group) x (kernel); weights are (m, c/g, *k)."""
    return 2 * int(output.size) * _size(arguments[1].shape[1:])


def _conv_transpose(_node: onnx.NodeProto, arguments: list[Any], _output: Tensor) -> int:
    """Each input is spread over (channels of its group) x (kernel); weights are (c, m/g, *k)."""
    return 2 * int(arguments[0].size) * _size(arguments[1].shape[1:])


def _matmul(_node: onnx.NodeProto, arguments: list[Any], output: Tensor) -> int:
    return 2 * int(output.size) * int(arguments[0].shape[-1])


def _gemm(node: onnx.NodeProto, arguments: list[Any], output: Tensor) -> int:
    inner = arguments[0].shape[0 if _int(node, "transA") else 1]
    return 2 * int(output.size) * int(inner)


def _recurrent(node: onnx.NodeProto, arguments: list[Any], _output: Tensor) -> int:
    """Each step multiplies input and state with all matrices; x is (steps, batch, width)."""
    steps, batch, width = arguments[0].shape
    directions, _, hidden = arguments[2].shape
    products = steps * batch * directions * GATES[node.op_type] * hidden * (width + hidden)
    return 2 * int(products)


def _attention(node: onnx.NodeProto, arguments: list[Any], output: Tensor) -> int:
    """Scores and weighted values: two products over the keys; also the softmax between."""
    query, key = arguments[0], arguments[1]
    keys = int(key.shape[-2])
    rows = int(query.size) // int(query.shape[-1])
    heads = _int(node, "q_num_heads") if query.ndim == 3 else 1
    softmax = PER_ELEMENT["Softmax"] * rows * keys * max(1, heads)
    return 2 * keys * (int(query.size) + int(output.size)) + softmax


def _einsum(node: onnx.NodeProto, arguments: list[Any], _output: Tensor) -> int:
    """One product and sum for every combination of the indices."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, array in zip(equation.partition("->")[0].split(","), arguments, strict=True):
        if "." in term:  # broadcast dimensions have no letters to count by
            return 2 * max(int(a.size) for a in arguments)
        sizes |= zip(term, array.shape, strict=True)
    return 2 * math.prod(sizes.values())


PRODUCTS: dict[str, Callable[[onnx.NodeProto, list[Any], Tensor], int]] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "RNN": _recurrent,
}


def _int(node: onnx.NodeProto, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def _ints(node: onnx.NodeProto, name: str) -> tuple[int, ...]:
    return next((tuple(a.ints) for a in node.attribute if a.name == name), ())


def _size(shape: Shape) -> int:
    return math.prod(shape)


def _shape(array: Tensor) -> Shape:
    return tuple(int(side) for side in array.shape)
