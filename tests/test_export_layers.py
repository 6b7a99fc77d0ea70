"""layers.json counts what the literature counts, and what a hand can check."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import pytest
from bundles import tiny_graph
from export_kit import SPEC, write_spec
from onnx import TensorProto, helper, numpy_helper

from medge.exporters.layers_of import layers_of
from medge.exporters.sources import load, parse_source
from medge.exporters.spec import read_spec
from medge.profiles.layers import decode_layers, encode_layers

if TYPE_CHECKING:
    from torch.nn import Module

    from medge.exporters.torch_network import TorchNetwork

# Multiply-adds in 10^9 at 224 x 224 as torchvision publishes them with its weights ("GFLOPS", where
# one multiplication with its addition counts once); He et al. 2016 give 1.8 and 3.8, Sandler et al.
# 2018 give 0.300 for MobileNetV2.
PUBLISHED_GMACS = {"resnet18": 1.814, "resnet50": 4.089, "mobilenet_v2": 0.301}


def check_cost(name: str, graph: bytes, network: Module) -> None:
    layers = layers_of(graph, np.zeros((1, 3, 224, 224), "f4")).layers
    flops = sum(layer.flops for layer in layers)
    assert flops == pytest.approx(2e9 * PUBLISHED_GMACS[name], rel=0.02)
    parameters = sum(p.numel() for p in network.parameters())
    # BatchNorm's scale and shift are folded into the convolution before it.
    assert sum(layer.weight_bytes for layer in layers) == pytest.approx(4 * parameters, rel=0.01)


def test_an_exported_network_has_its_published_cost(tmp_path: Path) -> None:
    channels = {"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "height": 224, "width": 224}
    outputs = [{"name": "scores", "classes": [f"class {i}" for i in range(1000)]}]
    written = write_spec(tmp_path, input={**SPEC["input"], **channels}, outputs=outputs)
    spec = read_spec(written)
    network = cast("TorchNetwork", load(parse_source("timm:resnet18"), spec, None, 0))
    check_cost("resnet18", network.to_onnx(spec, None), network._network)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_published_networks_have_their_published_cost(name: str) -> None:
    """Written by torch's older exporter: five times faster, and the same layers."""
    import torch

    from medge.exporters.architectures.vision_operators import import_with_vision_operators
    from medge.exporters.quiet import quiet

    models = import_with_vision_operators("torchvision").models
    network, graph = models.get_model(name, weights=None).eval(), io.BytesIO()
    with quiet():
        torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), graph, dynamo=False)
    check_cost(name, graph.getvalue(), network)


def test_every_number_of_a_small_network_is_the_one_of_a_hand_count() -> None:
    """Conv 1->4, 3x3 on 8x8; ReLU; global mean; flatten; linear 4->2, all float32."""
    conv, relu, pool, flat, head = layers_of(tiny_graph(), np.zeros((1, 1, 8, 8), "f4")).layers
    assert (conv.op, conv.name) == ("Conv", "conv")
    assert (conv.input_shapes, conv.output_shapes) == (((1, 1, 8, 8),), ((1, 4, 8, 8),))
    assert conv.flops == 2 * (4 * 8 * 8) * (1 * 3 * 3)
    assert conv.weight_bytes == 4 * (4 * 9 + 4)
    assert (conv.input_bytes, conv.output_bytes) == (4 * 64, 4 * 256)
    assert (relu.flops, pool.flops, flat.flops) == (256, 256, 0)
    assert head.flops == 2 * 4 * 2
    assert head.weight_bytes == 4 * (8 + 2)


def one_node(
    op: str,
    shape: tuple[int, ...],
    *weights: np.ndarray[Any, Any],
    opset: int = 20,
    **attributes: Any,
) -> int:
    """Return the FLOPs of a graph that consists of one node."""
    names = [f"w{i}" for i in range(len(weights))]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y0"], "node", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y0")],
        [numpy_helper.from_array(w, n) for w, n in zip(weights, names, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    (layer,) = layers_of(model.SerializeToString(), np.ones(shape, "f4")).layers
    return layer.flops


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, "f4")


def test_operators_cost_what_their_definition_says() -> None:
    # Depthwise: each of 6 channels has its own 3x3.
    assert one_node("Conv", (1, 6, 5, 5), ones(6, 1, 3, 3), group=6) == 2 * 6 * 3 * 3 * 9
    # Transposed: each of 2x4x4 inputs is spread over 3 channels of 2x2.
    assert one_node("ConvTranspose", (1, 2, 4, 4), ones(2, 3, 2, 2)) == 2 * 32 * 3 * 4
    assert one_node("MatMul", (2, 5, 3), ones(3, 7)) == 2 * 2 * 5 * 7 * 3
    assert one_node("Gemm", (3, 5), ones(3, 7), transA=1) == 2 * 5 * 7 * 3
    assert one_node("MaxPool", (1, 2, 4, 4), kernel_shape=[2, 2], strides=[2, 2]) == 8 * 4
    assert one_node("GlobalAveragePool", (1, 2, 4, 4)) == 32
    assert one_node("Softmax", (2, 10)) == 5 * 20
    assert one_node("LayerNormalization", (2, 10), ones(10)) == 7 * 20
    assert one_node("Transpose", (2, 10)) == 0
    assert one_node("Relu", (2, 10)) == 20
    assert (
        one_node("Einsum", (2, 3, 4), ones(2, 4, 5), equation="bij,bjk->bik") == 2 * 2 * 3 * 4 * 5
    )
    # 2 steps of batch 3, width 4, state 5, 4 gates: input and state times their matrices.
    recurrent = (ones(1, 20, 4), ones(1, 20, 5))
    assert one_node("LSTM", (2, 3, 4), *recurrent, hidden_size=5) == 2 * 2 * 3 * 4 * 5 * (4 + 5)


@pytest.mark.parametrize(
    ("query", "keys", "attributes"),
    [
        ((1, 2, 6, 8), (1, 2, 5, 8), {}),
        ((1, 6, 16), (1, 5, 16), {"q_num_heads": 2, "kv_num_heads": 2}),
    ],
)
def test_attention_is_two_products_and_a_softmax(
    query: tuple[int, ...], keys: tuple[int, ...], attributes: dict[str, int]
) -> None:
    """Two heads, six queries, five keys of width eight, as four or as three dimensions."""
    scores = 2 * (2 * 6 * 5 * 8)
    softmax = 5 * (2 * 6 * 5)
    found = one_node("Attention", query, ones(*keys), ones(*keys), opset=23, **attributes)
    assert found == 2 * scores + softmax


def test_an_empty_tensor_is_left_out_and_the_table_can_be_read_again() -> None:
    """Shape arithmetic of padded windows (Swin) slices nothing off and joins it again."""
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Slice", ["shape", "four", "nine"], ["nothing"]),
        helper.make_node("Concat", ["shape", "nothing"], ["again"], axis=0),
        helper.make_node("Reshape", ["image", "again"], ["scores"]),
    ]
    limits = [
        numpy_helper.from_array(np.array([value], "i8"), name)
        for name, value in (("four", 4), ("nine", 9))
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4])
        for name in ("image", "scores")
    ]
    graph = helper.make_graph(nodes, "empty", ports[:1], ports[1:], limits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    found = layers_of(model.SerializeToString(), np.zeros((1, 3, 4, 4), "f4"))
    assert decode_layers(encode_layers(found)) == found
    sliced, joined = found.layers[1:3]
    assert (sliced.outputs, sliced.output_shapes, sliced.output_bytes) == ((), (), 0)
    assert joined.inputs == ("shape",)


def test_what_depends_on_weights_alone_is_a_weight() -> None:
    nodes = [
        helper.make_node("Identity", ["bias"], ["same"]),
        helper.make_node("Expand", ["same", "shape"], ["wide"]),
        helper.make_node("Add", ["image", "wide"], ["scores"]),
    ]
    limits = [
        numpy_helper.from_array(np.ones(4, "f4"), "bias"),
        numpy_helper.from_array(np.array([1, 3, 4, 4], "i8"), "shape"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4])
        for name in ("image", "scores")
    ]
    graph = helper.make_graph(nodes, "constant", ports[:1], ports[1:], limits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (found,) = layers_of(model.SerializeToString(), np.zeros((1, 3, 4, 4), "f4")).layers
    assert (found.op, found.inputs, found.weight_bytes) == ("Add", ("image",), 4 * 48)
