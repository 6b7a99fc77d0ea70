"""Layer tables of the networks that the review names, as profiles/data/networks holds them.

Run: ``python examples/backbones.py`` writes all of them; it takes a minute and no weights.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from layer_recorder import record
from torch import nn

from medge.exporters.published import BUILDERS
from medge.profiles.layers import Layers, encode_layers

FOLDER = Path(__file__).parents[1] / "profiles" / "data" / "networks"
COLUMNS = (
    "id",
    "name",
    "builder",
    "channels",
    "height",
    "width",
    "parameters",
    "flops",
    "versions",
    "source",
)


@dataclass(frozen=True)
class Backbone:
    """One published network: who builds it, and for which picture."""

    name: str
    builder: str
    side: int
    source: str
    channels: int = 3

    def build(self) -> nn.Module:
        """Build it without weights."""
        library, _, name = self.builder.partition(":")
        with torch.device("meta"):
            return BUILDERS[library](name)

    def layers(self) -> Layers:
        """Record it at batch 1."""
        return record(self.build(), (1, self.channels, self.side, self.side))


RESNET = "He et al. 2016, arXiv:1512.03385"
DENSENET = "Huang et al. 2017, arXiv:1608.06993"
EFFICIENTNET = "Tan and Le 2019, arXiv:1905.11946"
VGG = "Simonyan and Zisserman 2015, arXiv:1409.1556"
BACKBONES = {
    "alexnet": Backbone("AlexNet", "torchvision:alexnet", 224, "Krizhevsky 2014, arXiv:1404.5997"),
    "deeplabv3": Backbone(
        "DeepLabv3 on ResNet-50",
        "torchvision:deeplabv3_resnet50",
        513,
        "Chen et al. 2017, arXiv:1706.05587",
    ),
    "densenet121": Backbone("DenseNet-121", "torchvision:densenet121", 224, DENSENET),
    "densenet169": Backbone("DenseNet-169", "torchvision:densenet169", 224, DENSENET),
    "densenet201": Backbone("DenseNet-201", "torchvision:densenet201", 224, DENSENET),
    "efficientnetb0": Backbone("EfficientNet-B0", "torchvision:efficientnet_b0", 224, EFFICIENTNET),
    "efficientnetb3": Backbone("EfficientNet-B3", "torchvision:efficientnet_b3", 300, EFFICIENTNET),
    "efficientnetb7": Backbone("EfficientNet-B7", "torchvision:efficientnet_b7", 600, EFFICIENTNET),
    "efficientnetv2l": Backbone(
        "EfficientNetV2-L",
        "torchvision:efficientnet_v2_l",
        480,
        "Tan and Le 2021, arXiv:2104.00298",
    ),
    "googlenet": Backbone(
        "GoogLeNet", "torchvision:googlenet", 224, "Szegedy et al. 2015, arXiv:1409.4842"
    ),
    "inceptionv3": Backbone(
        "Inception-v3", "torchvision:inception_v3", 299, "Szegedy et al. 2016, arXiv:1512.00567"
    ),
    "mobilenetv1": Backbone(
        "MobileNet", "timm:mobilenetv1_100", 224, "Howard et al. 2017, arXiv:1704.04861"
    ),
    "mobilenetv2": Backbone(
        "MobileNetV2", "torchvision:mobilenet_v2", 224, "Sandler et al. 2018, arXiv:1801.04381"
    ),
    "resnet18": Backbone("ResNet-18", "torchvision:resnet18", 224, RESNET),
    "resnet34": Backbone("ResNet-34", "torchvision:resnet34", 224, RESNET),
    "resnet50": Backbone("ResNet-50", "torchvision:resnet50", 224, RESNET),
    "resnet152": Backbone("ResNet-152", "torchvision:resnet152", 224, RESNET),
    "unet": Backbone(
        "U-Net", "medge:unet", 256, "Ronneberger et al. 2015, arXiv:1505.04597", channels=1
    ),
    "vgg16": Backbone("VGG-16", "torchvision:vgg16", 224, VGG),
    "vgg19": Backbone("VGG-19", "torchvision:vgg19", 224, VGG),
    "vitb16": Backbone(
        "ViT-B/16", "torchvision:vit_b_16", 224, "Dosovitskiy et al. 2021, arXiv:2010.11929"
    ),
    "xception": Backbone("Xception", "timm:legacy_xception", 299, "Chollet 2017, arXiv:1610.02357"),
}


def main() -> None:
    """Write a table of layers for each network, and then the list of all."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    rows = []
    for name, backbone in BACKBONES.items():
        layers = backbone.layers()
        # No time stamp: equal layers have equal bytes under one version of zlib.
        raw = gzip.compress(encode_layers(layers), mtime=0)
        (FOLDER / f"{name}.json.gz").write_bytes(raw)
        rows.append(_row(name, backbone, layers))
        print(f"{name}: {len(layers.layers)} layers, {len(raw)} bytes", flush=True)
    with (FOLDER / "networks.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows((COLUMNS, *rows))


def _row(name: str, backbone: Backbone, layers: Layers) -> tuple[object, ...]:
    library = backbone.builder.partition(":")[0]
    made_with = {"torch", *({library} - {"medge"})}
    return (
        name,
        backbone.name,
        backbone.builder,
        backbone.channels,
        backbone.side,
        backbone.side,
        sum(tensor.numel() for tensor in backbone.build().parameters()),
        sum(layer.flops for layer in layers.layers),
        ";".join(f"{one} {metadata.version(one)}" for one in sorted(made_with)),
        backbone.source,
    )


if __name__ == "__main__":
    main()
