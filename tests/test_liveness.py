"""What tensors take at once, against graphs counted by hand and every order of life tried out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles.estimate.liveness import IN_PLACE, VIEWS, crowd
from medge.profiles.layers import Layer, Layers
from medge.profiles.network import networks


def layer(
    op: str, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]
) -> Layer:
    return Layer(
        name=op,
        op=op,
        input_shapes=tuple(inputs.values()),
        output_shapes=tuple(outputs.values()),
        flops=0,
        weight_bytes=0,
        input_bytes=4 * sum(map(math.prod, inputs.values())),
        output_bytes=4 * sum(map(math.prod, outputs.values())),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def residual() -> Layers:
    """x -> Conv a -> Relu b -> Conv c -> Add(c, b) d -> GlobalAveragePool e -> Flatten f."""
    small, large = (1, 3, 4, 4), (1, 8, 4, 4)
    return Layers(
        layers=(
            layer("Conv", {"x": small}, {"a": large}),
            layer("Relu", {"a": large}, {"b": large}),
            layer("Conv", {"b": large}, {"c": large}),
            layer("Add", {"c": large, "b": large}, {"d": large}),
            layer("GlobalAveragePool", {"d": large}, {"e": (1, 8, 1, 1)}),
            layer("Flatten", {"e": (1, 8, 1, 1)}, {"f": (1, 8)}),
        )
    )


def test_a_residual_block_needs_what_a_hand_counts() -> None:
    x, large = 4 * 48, 4 * 128
    # At the sum c, b and d are there beside the input; in place, b takes a's and d takes c's.
    assert crowd(residual(), reuse=False).peak_bytes == x + 3 * large
    assert crowd(residual(), reuse=True).peak_bytes == x + 2 * large


def test_a_view_is_no_second_tensor() -> None:
    layers = Layers(
        layers=(
            layer("Conv", {"x": (1, 1)}, {"a": (1, 100)}),
            layer("Reshape", {"a": (1, 100)}, {"v": (10, 10)}),
            layer("Softmax", {"v": (10, 10)}, {"s": (10, 10)}),
            layer("MatMul", {"s": (10, 10), "a": (1, 100)}, {"y": (1, 1)}),
        )
    )
    assert crowd(layers, reuse=True).peak_bytes == 4 * (1 + 100 + 100 + 1)


def test_a_result_does_not_take_the_place_of_what_a_view_still_needs() -> None:
    layers = Layers(
        layers=(
            layer("Conv", {"x": (1, 1)}, {"a": (1, 100)}),
            layer("Reshape", {"a": (1, 100)}, {"v": (10, 10)}),
            layer("Relu", {"a": (1, 100)}, {"r": (1, 100)}),
            layer("MatMul", {"v": (10, 10), "r": (1, 100)}, {"y": (1, 1)}),
        )
    )
    assert crowd(layers, reuse=True).peak_bytes == 4 * (1 + 100 + 100 + 1)


OPS = ("Conv", "Relu", "Reshape", "Concat", "Add")


@st.composite
def graphs(draw: st.DrawFn) -> Layers:
    """Any graph of up to nine layers, each reading one or two earlier tensors."""
    known = {"x": (draw(st.integers(1, 5)), 1)}
    rows = []
    for step in range(draw(st.integers(1, 9))):
        op = draw(st.sampled_from(OPS))
        read = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=2, unique=True))
        if op in ("Relu", "Reshape"):
            read = read[:1]
        shape = (draw(st.integers(1, 5)), 1)
        if op == "Relu":
            shape = known[read[0]]
        if op == "Reshape":
            shape = (1, known[read[0]][0]) if known[read[0]][1] == 1 else known[read[0]][::-1]
        rows.append(layer(op, {name: known[name] for name in read}, {f"t{step}": shape}))
        known[f"t{step}"] = shape
    return Layers(layers=tuple(rows))


class Boxes:
    """Runs a graph with boxes: allocate, mark, free, and keep the fullest moment (slow twin)."""

    def __init__(self, rows: Sequence[Layer], reuse: bool) -> None:
        self.rows, self.reuse = rows, reuse
        self.sizes: dict[int, int] = {}
        self.box_of: dict[str, int] = {}

    def needed(self, box: int, after: int) -> bool:
        """Tell whether anything in the box is read later, or is held by the caller."""
        for name in (name for name, one in self.box_of.items() if one == box):
            readers = [step for step, row in enumerate(self.rows) if name in (row.inputs or ())]
            if name == "x" or not readers or max(readers) > after:
                return True
        return False

    def write(self, step: int, row: Layer) -> None:
        (name,), (shape,), inputs = row.outputs or (), row.output_shapes, row.inputs or ()
        size = 4 * math.prod(shape)
        ending = [
            self.box_of[one]
            for one in inputs
            if self.sizes[self.box_of[one]] == size and not self.needed(self.box_of[one], step)
        ]
        if row.op in VIEWS:
            self.box_of[name] = self.box_of[inputs[0]]
        elif self.reuse and row.op in IN_PLACE and ending:
            self.box_of[name] = ending[0]
        else:
            self.box_of[name] = 1000 + step
            self.sizes[self.box_of[name]] = size

    def fullest(self) -> int:
        most = 0
        for step, row in enumerate(self.rows):
            for name, shape in zip(row.inputs or (), row.input_shapes, strict=True):
                if name not in self.box_of:
                    self.box_of[name] = len(self.sizes)
                    self.sizes[self.box_of[name]] = 4 * math.prod(shape)
            self.write(step, row)
            most = max(most, sum(self.sizes.values()))
            for box in [box for box in self.sizes if not self.needed(box, step)]:
                del self.sizes[box]
        return most


@given(graphs(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_graph_needs_what_a_run_with_boxes_needs(layers: Layers, reuse: bool) -> None:
    found = crowd(layers, reuse=reuse)
    assert found.exact
    assert found.peak_bytes == Boxes(layers.layers, reuse).fullest()


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_without_names_it_is_never_less_than_with_them(layers: Layers) -> None:
    read = {name for row in layers.layers for name in row.inputs or ()}
    if len({name for row in layers.layers for name in row.outputs or ()} - read) != 1:
        return  # the bound is for networks with one output
    if layers.layers[0].inputs != ("x",):
        return
    unnamed = Layers(
        layers=tuple(
            msgspec.structs.replace(row, inputs=None, outputs=None) for row in layers.layers
        )
    )
    found = crowd(unnamed)
    assert not found.exact
    assert found.peak_bytes >= crowd(layers, reuse=True).peak_bytes
    assert found.peak_bytes >= crowd(layers, reuse=False).peak_bytes


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_a_published_network_crowds_where_it_is_known_to(name: str) -> None:
    layers = networks()[name].layers()
    picture = 3 * 224 * 224
    # VGG-16: two of 64 x 224 x 224 around its second convolution (He et al. 2016 name the same).
    # ResNet-50: the first block's branch and shortcut, 256 x 56 x 56 each, and its inner tensor.
    most = {
        "vgg16": 2 * 64 * 224 * 224,
        "resnet50": 2 * 256 * 56 * 56,
    }[name]
    found = crowd(layers).peak_bytes / 4 - picture
    assert most <= found <= 1.5 * most


def test_a_network_without_layers_takes_nothing() -> None:
    assert crowd(Layers(layers=())).peak_bytes == 0
