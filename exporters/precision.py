"""Precisions: graphs of fewer bits made from one fp32 graph and what was seen of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import onnx

from medge.exporters.bias import BIASED
from medge.exporters.folded import folded
from medge.exporters.graph import cleaned, opset_of
from medge.exporters.graph_view import GraphView
from medge.exporters.half import half_precision
from medge.exporters.histogram import Histogram, Method
from medge.exporters.layer_count import count_narrow
from medge.exporters.placing import (
    dense_placement,
    joined_placement,
    same_scale,
    sparse_placement,
)
from medge.exporters.qdq import Grid, Placement, insert_qdq, scale_of
from medge.exporters.sampled import Watch

NOTHING: frozenset[int] = frozenset()
Place: TypeAlias = Callable[[GraphView, frozenset[int]], Placement]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One graph that may become a variant.

    Attributes
    ----------
    method
        How it was made, in words that the manifest keeps.
    recipe, ranges
        What an INT8 graph was made with; None for fp16.
    wide
        Places of the compute nodes of the folded graph that an INT8 graph keeps in fp32.
    """

    precision: str
    method: str
    graph: bytes
    opset: int
    narrow_layers: int
    compute_layers: int
    recipe: Recipe | None = None
    ranges: Method | None = None
    wide: frozenset[int] = NOTHING


@dataclass(frozen=True, slots=True)
class Recipe:
    """How integers are put into a graph."""

    name: str
    grid: Grid
    place: Place
    told: str
    scales_of: Place | None = None  # the placement whose joins share a scale; None: none does


SPARSE = Recipe(
    "sparse",
    "int8",
    sparse_placement,
    told="symmetric int8 at the inputs of layers and at one branch of sums",
)
DENSE = Recipe(
    "dense",
    "uint8",
    dense_placement,
    scales_of=dense_placement,
    told="uint8 from layer to layer",
)
SPARSE_UINT8 = Recipe(
    "sparse-uint8",
    "uint8",
    sparse_placement,
    told="uint8 at the inputs of layers and at one branch of sums",
)
JOINED = Recipe(
    "joined",
    "uint8",
    joined_placement,
    scales_of=dense_placement,
    told="uint8 from layer to layer, joins of one scale",
)
RECIPES: Mapping[str, tuple[Recipe, ...]] = {
    "int8": (SPARSE,),
    "int8-cpu": (DENSE, JOINED, SPARSE_UINT8),
}


class Precisions:
    """Makes graphs of other precisions from one fp32 graph.

    Attributes
    ----------
    model, view
        The folded fp32 graph that they are made from.
    """

    def __init__(self, graph: bytes) -> None:
        self.model = folded(graph)
        self.view = GraphView(self.model)
        self._seen: Mapping[str, Histogram] = {}

    def watch(self, *, extremes: bool) -> Watch:
        """Return what calibration has to look at.

        Parameters
        ----------
        extremes
            Of tensors that no recipe makes integers, too: they decide where fp16 can be.
        """
        recipes = [recipe for recipes in RECIPES.values() for recipe in recipes]
        wanted = {name for recipe in recipes for name in recipe.place(self.view, NOTHING).edges}
        floats = self._floats()
        layers = [self.view.nodes[place] for place in self.view.weighted_nodes()]
        averaged = {n.input[0]: n.op_type == "Conv" for n in layers if n.op_type in BIASED}
        return Watch(
            names=tuple(name for name in floats if extremes or name in wanted),
            counted=frozenset(name for name in floats if name in wanted),
            averaged={name: pool for name, pool in averaged.items() if name in floats},
        )

    def _floats(self) -> list[str]:
        typed = onnx.shape_inference.infer_shapes(self.model, data_prop=True)
        values = (*typed.graph.input, *typed.graph.value_info, *typed.graph.output)
        floats = {
            value.name
            for value in values
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        }
        computed = [self.model.graph.input[0].name]
        computed += [name for node in self.view.nodes for name in node.output]
        return [name for name in computed if name in floats and not self.view.is_constant(name)]

    def learn(self, seen: Mapping[str, Histogram]) -> None:
        """Take what calibration saw of what ``watch`` names."""
        self._seen = seen

    def recipes(self, precision: str) -> tuple[Recipe, ...]:
        """Return the ways to make a precision of this graph that differ from each other."""
        found: dict[object, Recipe] = {}
        for recipe in RECIPES[precision]:
            edges = recipe.place(self.view, NOTHING).edges
            found.setdefault((recipe.grid, frozenset(edges.items())), recipe)
        return tuple(found.values())

    def integer(self, precision: str, recipe: Recipe, method: Method) -> Candidate:
        """Return the graph with every layer that can be INT8 in INT8."""
        return self.partly(precision, recipe, method, NOTHING)

    def partly(
        self, precision: str, recipe: Recipe, method: Method, wide: frozenset[int]
    ) -> Candidate:
        """Return the graph in INT8 but for some compute nodes, which keep fp32."""
        placement = _known(recipe.place(self.view, wide), self._seen)
        ranges = self._ranges(recipe, method, wide, placement)
        scales = {name: scale_of(*ranges[name], recipe.grid) for name in placement.edges}
        means = {name: m for name, seen in self._seen.items() if (m := seen.means) is not None}
        made = insert_qdq(self.model, placement, scales, means)
        told = f"static INT8: {recipe.told}, {method} ranges, int8 weights by channel"
        if wide:
            told += f"; layers in fp32: {len(wide)}"
        return replace(_candidate(precision, told, made), recipe=recipe, ranges=method, wide=wide)

    def _ranges(
        self, recipe: Recipe, method: Method, wide: frozenset[int], placement: Placement
    ) -> dict[str, tuple[float, float]]:
        """Return the range of every quantised tensor; tensors that are joined share theirs."""
        shared = placement
        if recipe.scales_of is not None:
            shared = _known(recipe.scales_of(self.view, wide), self._seen)
        ranges = {
            name: self._seen[name].range(method) for name in {*placement.edges, *shared.edges}
        }
        if recipe.scales_of is not None:
            for group in same_scale(self.view, shared):
                low = min(ranges[name][0] for name in group)
                high = max(ranges[name][1] for name in group)
                ranges |= dict.fromkeys(group, (low, high))
        return ranges

    def half(self) -> Candidate:
        """Return the graph in fp16 by casts."""
        made = half_precision(self.model, self._seen)
        return _candidate("fp16", "fp16 by casts, fp32 where values exceed 512", made)


def _known(placement: Placement, seen: Mapping[str, Histogram]) -> Placement:
    """Leave out tensors that are not float32: shapes and indices pass joins as well."""
    edges = {name: found for name, found in placement.edges.items() if name in seen}
    return Placement(edges, placement.weights)


def _candidate(precision: str, told: str, made: onnx.ModelProto) -> Candidate:
    narrow, compute = count_narrow(made)
    return Candidate(
        precision=precision,
        method=told,
        graph=cleaned(made),
        opset=opset_of(made),
        narrow_layers=narrow,
        compute_layers=compute,
    )
