"""Where quantisation goes: sparsely, as TensorRT fuses it, or densely, as CPU runtimes do."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from medge.exporters.graph_view import Edge, GraphView
from medge.exporters.qdq import Placement

ACTIVATIONS = frozenset({"Relu", "Clip"})
"""What runtimes fuse into the layer before; a Q between the two would part them."""

PASSIVE = frozenset(
    {
        "Add",
        "Concat",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Flatten",
        "Reshape",
        "Transpose",
    }
)
"""Operators that CPU runtimes compute in integers between two integer layers."""

MOVING = frozenset({"Concat", "MaxPool", "Flatten", "Reshape", "Transpose"})
"""Passive operators whose output holds values of their inputs and no others."""


def sparse_placement(view: GraphView, wide: frozenset[int] = frozenset()) -> Placement:
    """Return Q/DQ for the inputs of compute layers and for one branch of each residual sum.

    TensorRT fuses a layer with what follows (bias, ReLU, sum) as long as no Q stands between; a sum
    is fused with the convolution of one branch when the other branch is quantised.

    Parameters
    ----------
    wide
        Places of compute nodes that keep fp32.
    """
    narrow = frozenset(view.weighted_nodes()) - wide
    edges: dict[str, list[Edge]] = {}
    for index in sorted(narrow):
        edges.setdefault(view.nodes[index].input[0], []).append(Edge(index, 0))
    for index, node in enumerate(view.nodes):
        if node.op_type == "Add":
            slot = _residual_slot(view, node, narrow)
            if slot is not None:
                edges.setdefault(node.input[slot], []).append(Edge(index, slot))
    return _placement(edges, narrow)


def dense_placement(view: GraphView, wide: frozenset[int] = frozenset()) -> Placement:
    """Return Q/DQ that keeps integers from layer to layer, also through sums, pools and joins.

    ONNX Runtime computes a layer in integers only where its output is quantised as well.
    """
    narrow = frozenset(view.weighted_nodes()) - wide
    wanted = [view.nodes[index].input[0] for index in sorted(narrow)]
    wanted += [name for index in sorted(narrow) for name in _results(view, index)]
    integer: dict[str, None] = {}
    while wanted:
        name = wanted.pop()
        if name in integer or name in view.outputs or view.is_constant(name):
            continue
        integer[name] = None
        maker = _maker_before_activation(view, name)
        if maker is not None and _is_passive(view, maker):
            wanted += _computed_inputs(view, maker)
        wanted += _joined(view, name, integer)
    edges = {name: _readers(view, name, wide) for name in sorted(integer)}
    return _placement({name: found for name, found in edges.items() if found}, narrow)


def joined_placement(view: GraphView, wide: frozenset[int] = frozenset()) -> Placement:
    """Return the dense placement without Q behind joins.

    Where the operands of a join share a scale, its output is on the same grid already. OpenVINO
    moves a Q that stands there to every operand: 656 more operations in a DenseNet-121, whose
    features are joined 58 times. ONNX Runtime needs that Q to join integers.
    """
    dense = dense_placement(view, wide)
    joins = {node.output[0] for node in view.nodes if node.op_type == "Concat"}
    edges = {name: found for name, found in dense.edges.items() if name not in joins}
    return Placement(edges, dense.weights)


def same_scale(view: GraphView, placement: Placement) -> list[list[str]]:
    """Return groups of tensors that joins and pools make parts of each other.

    With one scale for all of a group, such an operator moves integers and rounds nothing again.
    """
    group_of: dict[str, list[str]] = {name: [name] for name in placement.edges}
    for node in view.nodes:
        if node.op_type not in MOVING:
            continue
        names = [*_computed_inputs(view, node), node.output[0]]
        if all(name in group_of for name in names):
            merged = list(dict.fromkeys(one for name in names for one in group_of[name]))
            group_of |= dict.fromkeys(merged, merged)
    groups = {id(group): group for group in group_of.values()}
    return [group for group in groups.values() if len(group) > 1]


def _placement(edges: dict[str, list[Edge]], narrow: frozenset[int]) -> Placement:
    return Placement({name: tuple(found) for name, found in edges.items()}, narrow)


def _residual_slot(view: GraphView, node: onnx.NodeProto, narrow: frozenset[int]) -> int | None:
    """Return which operand of a sum comes past the convolution that the sum is fused with."""
    makers = [view.makers.get(name, -1) for name in node.input]
    if min(makers) < 0 and not all(name == view.model.graph.input[0].name for name in node.input):
        return None
    fused = [
        slot
        for slot, index in enumerate(makers)
        if index in narrow and view.nodes[index].op_type == "Conv"
    ]
    if not fused:
        return None
    last = max(fused, key=lambda slot: makers[slot])
    return 1 - last


def _results(view: GraphView, index: int) -> Iterable[str]:
    """Return a layer's output behind its activation, when somebody computes on in integers."""
    name = _past_activation(view, view.nodes[index].output[0])
    passive = any(_is_passive(view, view.nodes[edge.node]) for edge in view.readers[name])
    return [name] if passive else []


def _past_activation(view: GraphView, name: str) -> str:
    readers = view.readers[name]
    while len(readers) == 1 and view.nodes[readers[0].node].op_type in ACTIVATIONS:
        name = view.nodes[readers[0].node].output[0]
        readers = view.readers[name]
    return name


def _maker_before_activation(view: GraphView, name: str) -> onnx.NodeProto | None:
    maker = view.maker(name)
    while maker is not None and maker.op_type in ACTIVATIONS:
        maker = view.maker(maker.input[0])
    return maker


def _is_passive(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether integers go through a node; a sum with a constant is a bias, and stays fp32."""
    if node.op_type == "Add":
        return len(_computed_inputs(view, node)) == 2
    return node.op_type in PASSIVE


def _computed_inputs(view: GraphView, node: onnx.NodeProto) -> list[str]:
    """Return the operands of a passive node that carry the picture; shapes are constants."""
    return [name for name in node.input if name and not view.is_constant(name)]


def _joined(view: GraphView, name: str, integer: dict[str, None]) -> list[str]:
    """Return the outputs of passive readers all of whose operands are integers by now."""
    found = []
    for edge in view.readers[name]:
        reader = view.nodes[edge.node]
        operands = _computed_inputs(view, reader)
        if _is_passive(view, reader) and all(operand in integer for operand in operands):
            found.append(_past_activation(view, reader.output[0]))
    return found


def _readers(view: GraphView, name: str, wide: frozenset[int]) -> list[Edge]:
    """Return who reads a tensor dequantised: a layer is fused with Q only if nobody else reads."""
    return [edge for edge in view.readers[name] if edge.node not in wide]
