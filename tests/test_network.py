"""Every network that the review names has its layers, or a reason why it has none."""

from __future__ import annotations

import pytest
from backbones import BACKBONES

from medge.profiles.layers import encode_layers
from medge.profiles.network import Architecture, architectures, networks
from medge.profiles.study import studies

# Multiply-adds in 10^9 and parameters in 10^6 as torchvision publishes them with its weights, timm
# in its results table (Xception, MobileNet).
PUBLISHED = {
    "alexnet": (0.714, 61.1),
    "densenet121": (2.834, 7.98),
    "densenet169": (3.36, 14.15),
    "densenet201": (4.291, 20.01),
    "efficientnetb0": (0.386, 5.29),
    "efficientnetb3": (1.827, 12.23),
    "efficientnetb7": (37.746, 66.35),
    "efficientnetv2l": (56.08, 118.5),
    "googlenet": (1.498, 6.62),
    "inceptionv3": (5.713, 23.8),
    "mobilenetv2": (0.301, 3.50),
    "resnet18": (1.814, 11.69),
    "resnet34": (3.664, 21.80),
    "resnet50": (4.089, 25.56),
    "resnet152": (11.514, 60.19),
    "vgg16": (15.47, 138.4),
    "vgg19": (19.632, 143.7),
    "vitb16": (17.564, 86.57),
    "xception": (8.4, 22.86),
    "mobilenetv1": (0.569, 4.23),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_costs_what_its_publisher_says(name: str) -> None:
    network, (gmacs, millions) = networks()[name], PUBLISHED[name]
    products = [
        layer for layer in network.layers().layers if layer.op in ("Conv", "Gemm", "MatMul")
    ]
    if name != "inceptionv3":  # theirs counts the auxiliary head, which is only for training
        assert sum(layer.flops for layer in products) == pytest.approx(2e9 * gmacs, rel=0.02)
    assert network.parameters == pytest.approx(1e6 * millions, rel=0.04)


@pytest.mark.parametrize("name", sorted(networks()))
def test_the_table_of_a_network_begins_with_its_picture_and_hangs_together(name: str) -> None:
    network = networks()[name]
    layers = network.layers().layers
    shape = (1, network.channels, network.height, network.width)
    first = next(layer for layer in layers if layer.op == "Conv")
    assert first.input_shapes[0][:2] == shape[:2]
    assert sum(layer.flops for layer in layers) == network.flops
    known = {"input_0"}
    for layer in layers:
        assert known.issuperset(layer.inputs or ["none"])
        known.update(layer.outputs or ())


def test_every_network_that_a_study_names_is_known_or_has_a_reason() -> None:
    named = {token for study in studies().values() for token in study.architectures}
    assert named <= set(architectures())
    for row in architectures().values():
        assert row.network is None or row.network in networks()
    assert set(networks()) == set(BACKBONES)
    assert architectures()["custom-cnn"].network is None
    assert "ResNet-50 stands for it" in (architectures()["resnet"].assumption or "")


def test_an_architecture_without_network_and_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="either a network or a reason"):
        Architecture(architecture="x")


@pytest.mark.parametrize("name", ["resnet18", "unet", "vgg16"])
def test_recording_a_network_again_gives_the_table_that_is_installed(name: str) -> None:
    assert encode_layers(BACKBONES[name].layers()) == encode_layers(networks()[name].layers())
