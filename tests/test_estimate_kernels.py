"""Kernels of layer tables: what is launched, what is fused, and what belongs to no class."""

from __future__ import annotations

import math

import pytest

from medge.profiles.estimate.kernels import CLASSES, Kernels, UnknownOperatorError, kernels_of
from medge.profiles.layers import Layer, Layers, Shape
from medge.profiles.network import networks


def layer(
    op: str, inputs: tuple[Shape, ...], output: Shape, flops: int = 0, weights: int = 0
) -> Layer:
    return Layer(
        name=op,
        op=op,
        input_shapes=inputs,
        output_shapes=(output,),
        flops=flops,
        weight_bytes=weights,
        input_bytes=4 * sum(math.prod(shape) for shape in inputs),
        output_bytes=4 * math.prod(output),
    )


def conv(channels: int, made: int, window: int, size: int, groups: int = 1) -> Layer:
    per_value = channels // groups * window**2
    shape = (1, made, size, size)
    flops = 2 * math.prod(shape) * per_value
    return layer("Conv", ((1, channels, size, size),), shape, flops, 4 * made * per_value)


def kinds(table: Kernels) -> dict[str, int]:
    return {CLASSES[kind]: int(count) for kind, count in zip(table.kind, table.count, strict=True)}


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        (conv(64, 64, 3, 56), "conv3"),
        (conv(64, 64, 5, 56), "conv"),
        (conv(3, 64, 7, 112), "stem"),
        (conv(64, 256, 1, 56), "pointwise"),
        (conv(96, 96, 3, 56, groups=96), "depthwise"),
        (conv(40, 40, 7, 56, groups=40), "depthwise"),
        (conv(128, 128, 3, 56, groups=32), "grouped"),
        (conv(240, 240, 1, 28, groups=3), "grouped"),
    ],
)
def test_a_convolution_is_told_by_its_arithmetic(convolution: Layer, kind: str) -> None:
    assert kinds(kernels_of(Layers(layers=(convolution,)), fuses=False)) == {kind: 1}


def test_compilers_compute_normalisation_activation_and_residual_with_the_convolution() -> None:
    shape = (1, 64, 56, 56)
    layers = Layers(
        layers=(
            conv(64, 64, 3, 56),
            layer("BatchNormalization", (shape,), shape, 2, 1024),
            layer("Add", (shape, shape), shape, 1),
            layer("Relu", (shape,), shape, 1),
        )
    )
    alone = kernels_of(layers, fuses=False)
    fused = kernels_of(layers, fuses=True)
    assert alone.launches == 4
    assert kinds(fused) == {"conv3": 1}
    values = math.prod(shape)
    assert fused.moved.tolist() == [3 * values]  # picture and residual read, result written
    assert alone.moved @ alone.count == 2 * values + 2 * values + 3 * values + 2 * values


def test_scores_of_attention_never_leave_their_kernel() -> None:
    heads, tokens, width = 6, 197, 64
    query, key = (1, heads, tokens, width), (1, heads, width, tokens)
    scores = (1, heads, tokens, tokens)
    product = 2 * math.prod(scores) * width
    layers = Layers(
        layers=(
            layer("MatMul", (query, key), scores, product),
            layer("Softmax", (scores,), scores, 5 * math.prod(scores)),
            layer("MatMul", (scores, query), query, product),
        )
    )
    table = kernels_of(layers, fuses=False)
    assert {CLASSES[kind] for kind in table.kind} == {"attention"}
    assert table.moved @ table.count == 4 * math.prod(query)


def test_equal_kernels_are_counted_and_lose_nothing() -> None:
    layers = networks()["resnet50"].layers()
    table = kernels_of(layers, fuses=False)
    arithmetic = ("Conv", "Gemm", "MatMul")
    expected = sum(one.flops for one in layers.layers if one.op in arithmetic)
    products = table.kind < CLASSES.index("pool")
    assert table.flops[products] @ table.count[products] == expected
    assert len(table.kind) < table.launches


def test_an_unknown_operator_is_named() -> None:
    shape = (1, 16, 56, 56)
    with pytest.raises(UnknownOperatorError, match="operator Kan belongs to no measured class"):
        kernels_of(Layers(layers=(layer("Kan", (shape,), shape, 9),)), fuses=True)


def test_convolutions_of_volumes_were_never_measured() -> None:
    shape = (1, 8, 16, 16, 16)
    with pytest.raises(UnknownOperatorError, match="3 dimensions"):
        kernels_of(Layers(layers=(layer("Conv", (shape,), shape, 100, 32),)), fuses=True)
