"""A network recorded without weights has the layers that its exported graph has."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from layer_recorder import record
from torch import nn

from medge.exporters.layers_of import layers_of
from medge.profiles.layers import Layer, Layers, decode_layers, encode_layers

PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def torchvision(name: str, **asked: Any) -> nn.Module:
    from medge.exporters.architectures.vision_operators import import_with_vision_operators

    models = import_with_vision_operators("torchvision").models
    network: nn.Module = models.get_model(name, weights=None, **asked)
    return network


def small_vit() -> nn.Module:
    from medge.exporters.architectures.vision_operators import import_with_vision_operators

    transformers = import_with_vision_operators("timm.models.vision_transformer")
    network: nn.Module = transformers.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=96, depth=2, num_heads=3, num_classes=7
    )
    return network


def exported(network: nn.Module, side: int) -> Layers:
    from medge.exporters.quiet import quiet

    graph, image = io.BytesIO(), torch.zeros(1, 3, side, side)
    with quiet():  # torch's older exporter: five times faster, and the same layers
        torch.onnx.export(network.eval(), (image,), graph, dynamo=False, opset_version=18)
    return layers_of(graph.getvalue(), image.numpy())


def flops(layers: Layers) -> int:
    """Sum what both structures have: an exported graph has most BatchNormalizations folded."""
    return sum(each.flops for each in layers.layers if each.op != "BatchNormalization")


def products(layers: Layers) -> Counter[tuple[bool, int]]:
    """Count convolutions and matrix products by what they compute; a linear layer is either."""
    found = (each for each in layers.layers if each.op in PRODUCTS)
    return Counter((each.op.startswith("Conv"), each.flops) for each in found)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: torchvision("resnet18"), 64),
        (lambda: torchvision("densenet121"), 64),
        (lambda: torchvision("mobilenet_v2"), 64),
        (small_vit, 64),
    ],
    ids=["resnet18", "densenet121", "mobilenet_v2", "vit"],
)
def test_a_recorded_network_has_the_products_of_its_graph(
    make: Callable[[], nn.Module], side: int
) -> None:
    network = make()
    recorded, graph = record(network, (1, 3, side, side)), exported(network, side)
    assert products(recorded) == products(graph)
    assert flops(recorded) == pytest.approx(flops(graph), rel=0.01)
    convolutions = [
        [(each.input_shapes, each.output_shapes) for each in one.layers if each.op == "Conv"]
        for one in (recorded, graph)
    ]
    assert convolutions[0] == convolutions[1]


def test_a_recorded_network_has_the_weights_of_the_network() -> None:
    network = torchvision("resnet18")
    layers = record(network, (1, 3, 64, 64)).layers
    held = [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
    assert sum(each.weight_bytes for each in layers) == 4 * sum(tensor.numel() for tensor in held)


def test_every_tensor_that_a_layer_reads_was_written_before() -> None:
    for network in (torchvision("resnet18"), small_vit()):
        known = {"input_0"}
        for layer in record(network, (1, 3, 64, 64)).layers:
            assert layer.inputs is not None
            assert layer.outputs is not None
            assert known.issuperset(layer.inputs)
            assert not known.intersection(layer.outputs)
            known.update(layer.outputs)


class Branches(nn.Module):
    """Two uses of one tensor, an in-place activation, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu_()
        y: torch.Tensor = self.other(x.contiguous()) + x
        return y


def test_a_layer_of_each_kind_is_as_a_hand_counts_it() -> None:
    conv, relu, other, add = record(Branches(), (1, 3, 8, 8)).layers
    assert conv == Layer(
        name="Conv_0",
        op="Conv",
        input_shapes=((1, 3, 8, 8),),
        output_shapes=((1, 4, 8, 8),),
        flops=2 * (4 * 64) * (3 * 9),
        weight_bytes=4 * (4 * 3 * 9 + 4),
        input_bytes=4 * 3 * 64,
        output_bytes=4 * 4 * 64,
        inputs=("input_0",),
        outputs=("Conv_0_0",),
    )
    assert (relu.op, relu.inputs, relu.flops) == ("Relu", conv.outputs, 256)
    assert (other.op, other.inputs, other.flops) == ("Conv", relu.outputs, 2 * 256 * 4)
    assert add.op == "Add"
    assert add.inputs == (*(other.outputs or ()), *(relu.outputs or ()))


def test_recording_changes_nothing_in_the_network() -> None:
    network = torchvision("resnet18").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    record(network, (1, 3, 32, 32))
    assert network.training
    for name, tensor in network.state_dict().items():
        assert tensor.device.type == "cpu"
        np.testing.assert_array_equal(tensor, before[name])


def test_an_operator_without_a_name_is_refused_by_its_name() -> None:
    class Sorts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort().values

    with pytest.raises(NotImplementedError, match="sort has no name"):
        record(Sorts(), (1, 4))


def test_names_of_tensors_are_optional_but_one_for_each_shape() -> None:
    import msgspec

    layers = record(Branches(), (1, 3, 8, 8))
    assert decode_layers(encode_layers(layers)) == layers
    old = encode_layers(layers).replace(b"layers/2", b"layers/1")
    plain = msgspec.json.decode(old)
    for row in plain["layers"]:
        del row["inputs"], row["outputs"]
    read = decode_layers(msgspec.json.encode(plain))
    assert read.schema_ == "medge.layers/1"
    assert read.layers[0].inputs is None
    plain["layers"][0]["inputs"] = []
    with pytest.raises(msgspec.ValidationError, match="more or fewer tensors"):
        decode_layers(msgspec.json.encode(plain))
