"""A graph as its edges: who makes a tensor, who reads it, and which layers do the computing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from medge.exporters.network import Tensor

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Layers whose products are most of a network's work; the ones that narrow numbers make fast."""


def names_read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Return every tensor that nodes read, inside the bodies of If, Loop and Scan too."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for each in node.attribute:
            for body in (each.g, *each.graphs):
                found |= names_read(body.node) | {value.name for value in body.output}
    return found


@dataclass(frozen=True, slots=True)
class Edge:
    """One place where a node reads a tensor."""

    node: int  # its place among the nodes of the graph
    slot: int  # which of its inputs


class GraphView:
    """Looks things up in a graph that is not changed meanwhile."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers: dict[str, int] = {}
        self.readers: dict[str, list[Edge]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in node.output:
                self.makers[name] = index
            for slot, name in enumerate(node.input):
                if name:
                    self.readers[name].append(Edge(index, slot))
        self.outputs = {value.name for value in model.graph.output}

    def maker(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor; None for inputs and initializers."""
        index = self.makers.get(name)
        return None if index is None else self.nodes[index]

    def array(self, name: str) -> Tensor | None:
        """Return a constant's values, None where the tensor is computed."""
        if name in self.initializers:
            return np.asarray(numpy_helper.to_array(self.initializers[name]))
        maker = self.maker(name)
        if maker is not None and maker.op_type == "Constant":
            value = next((a.t for a in maker.attribute if a.name == "value"), None)
            return None if value is None else np.asarray(numpy_helper.to_array(value))
        return None

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is the same for every picture."""
        if name in self.initializers:
            return True
        maker = self.maker(name)
        return (
            maker is not None
            and maker.op_type == "Constant"
            and any(a.name == "value" for a in maker.attribute)
        )

    def compute_nodes(self) -> list[int]:
        """Return the places of convolutions and matrix products, in the graph's order."""
        return [index for index, node in enumerate(self.nodes) if node.op_type in COMPUTE]

    def weighted_nodes(self) -> list[int]:
        """Return the compute nodes whose second operand is a constant of float32."""
        return [index for index in self.compute_nodes() if self._is_weighted(self.nodes[index])]

    def _is_weighted(self, node: onnx.NodeProto) -> bool:
        weight = self.array(node.input[1])
        data = self.array(node.input[0])
        return data is None and weight is not None and weight.dtype == np.float32


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute of a node, or what ONNX takes when it is not given."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)
