"""Q/DQ: put quantisation into a graph, exactly where it is told to and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from medge.exporters.bias import corrected_bias
from medge.exporters.graph_view import Edge, GraphView, attribute, names_read
from medge.exporters.network import Tensor

Grid = Literal["int8", "uint8"]
"""``int8``: zero point 0, -127..127, which every runtime takes. ``uint8``: any zero point, 0..255,
twice as fine for tensors of one sign; TensorRT refuses it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a tensor becomes integers: ``round(x / scale) + zero_point``, saturated."""

    scale: float
    zero_point: int
    grid: Grid


@dataclass(frozen=True, slots=True)
class Placement:
    """Which edges read quantised tensors, and which layers have quantised weights.

    Attributes
    ----------
    edges
        By tensor: who reads it through Q and DQ. Other readers keep the tensor itself.
    weights
        Places of the compute nodes whose constant operand becomes int8, a scale for each channel.
    """

    edges: Mapping[str, tuple[Edge, ...]]
    weights: frozenset[int] = frozenset()


@dataclass
class _Insertion:
    """New nodes and constants, gathered while the old nodes are walked through."""

    view: GraphView
    scales: Mapping[str, Scale]
    means: Mapping[str, Tensor]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    renamed: dict[tuple[int, int], str] = field(default_factory=dict)
    narrow: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    before: dict[int, list[onnx.NodeProto]] = field(default_factory=dict)

    def constant(self, name: str, value: Tensor) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(value, name))
        return name


def scale_of(low: float, high: float, grid: Grid) -> Scale:
    """Return the scale that covers ``low..high``, with 0 exactly on the grid.

    0 must be exact because padding is made of it. A tensor that is 0 all over gets scale 1.
    """
    if grid == "int8":
        reach = max(abs(low), abs(high))
        return Scale(_number(reach / 127), 0, grid)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = _number((high - low) / 255)
    return Scale(scale, int(np.clip(round(-low / scale), 0, 255)), grid)


def _number(scale: float) -> float:
    """Return a scale that float32 holds as a normal number: what divides must not be 0."""
    smallest = float(np.finfo(np.float32).tiny)
    return float(np.float32(scale)) if scale > smallest else 1.0


def channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """Return the axis of a layer's weight, of so many dimensions, that counts its outputs."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return rank - 1 if node.op_type == "MatMul" else 1  # ConvTranspose: (in, out, ...)


def quantized_weight(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return int8 values and their float32 scales, one for each index of ``axis``."""
    moved = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    reach = np.abs(moved).max(axis=1).astype("f8")
    scales = np.array([_number(r / 127) for r in reach], dtype="f4")
    shape = [1] * weight.ndim
    shape[axis] = -1
    values = np.clip(np.rint(weight / scales.reshape(shape)), -127, 127).astype("i1")
    return values, scales


def dequantized(values: Tensor, scales: Tensor, axis: int) -> Tensor:
    """Return float32 values as DequantizeLinear gives them."""
    shape = [1] * values.ndim
    shape[axis] = -1
    return np.asarray(values.astype("f4") * scales.reshape(shape))


def insert_qdq(
    model: onnx.ModelProto,
    placement: Placement,
    scales: Mapping[str, Scale],
    means: Mapping[str, Tensor],
) -> onnx.ModelProto:
    """Return a copy of ``model`` with Q and DQ on the edges of ``placement``.

    Parameters
    ----------
    scales
        For every tensor of ``placement.edges``.
    means
        The mean of each channel of tensors that layers read; where there is one, the layer's bias
        makes up for what rounding its weights does on average.
    """
    view = GraphView(model)
    work = _Insertion(view, scales, means)
    for name, edges in placement.edges.items():
        _activation(work, name, edges)
    for index in sorted(placement.weights):
        _weight(work, index)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _rebuild(made, work)
    return made


def _activation(work: _Insertion, name: str, edges: tuple[Edge, ...]) -> None:
    """Q and DQ behind a tensor; the pair stands right after its maker."""
    scale = work.scales[name]
    zero = np.array(scale.zero_point, dtype="i1" if scale.grid == "int8" else "u1")
    parameters = [
        work.constant(f"{name}.scale", np.array(scale.scale, dtype="f4")),
        work.constant(f"{name}.zero", zero),
    ]
    pair = [
        helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}.q"], f"{name}.Q"),
        helper.make_node(
            "DequantizeLinear", [f"{name}.q", *parameters], [f"{name}.dq"], f"{name}.DQ"
        ),
    ]
    place = work.view.makers.get(name, -1) + 1
    work.before.setdefault(place, []).extend(pair)
    for edge in edges:
        work.renamed[edge.node, edge.slot] = f"{name}.dq"


def _weight(work: _Insertion, index: int) -> None:
    node = work.view.nodes[index]
    name = node.input[1]
    weight = work.view.array(name)
    if weight is None:
        raise ValueError(f"{node.name}: its weight is computed")
    axis = channel_axis(node, weight.ndim)
    read = f"{name}.dq{axis}"
    if (name, axis) not in work.narrow:
        values, scales = quantized_weight(weight, axis)
        work.narrow[name, axis] = dequantized(values, scales, axis)
        parameters = [
            work.constant(f"{name}.q{axis}", values),
            work.constant(f"{name}.scale{axis}", scales),
            work.constant(f"{name}.zero{axis}", np.zeros(len(scales), "i1")),
        ]
        work.before.setdefault(0, []).append(
            helper.make_node("DequantizeLinear", parameters, [read], f"{read}.DQ", axis=axis)
        )
    work.renamed[index, 1] = read
    _correct_bias(work, index, weight, work.narrow[name, axis])


def _correct_bias(work: _Insertion, index: int, weight: Tensor, narrow: Tensor) -> None:
    node = work.view.nodes[index]
    mean = work.means.get(node.input[0])
    if mean is None:
        return
    bias = corrected_bias(work.view, node, weight - narrow, mean)
    if bias is not None:
        work.renamed[index, 2] = work.constant(f"{node.output[0]}.bias", bias)


def _rebuild(made: onnx.ModelProto, work: _Insertion) -> None:
    """Write the nodes with their new neighbours; constants that nobody reads any more go."""
    nodes = list(work.before.get(0, ()))
    for index, node in enumerate(list(made.graph.node)):
        if (index, 2) in work.renamed and len(node.input) == 2:
            node.input.append("")  # a bias where there was none
        for slot in range(len(node.input)):
            node.input[slot] = work.renamed.get((index, slot), node.input[slot])
        nodes.append(node)
        nodes.extend(work.before.get(index + 1, ()))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    read = names_read(copies) | work.view.outputs
    kept = [t for t in made.graph.initializer if t.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    made.graph.initializer.extend(work.constants.values())
    del made.graph.value_info[:]  # says fp32 of tensors that are int8 now
