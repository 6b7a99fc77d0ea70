"""Networks of the published measurements: the constructor that each printed name means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from estimator_tables import UnknownNetworkError
from layer_recorder import record
from torch import Tensor, nn

from medge.exporters.architectures.vision_operators import import_with_vision_operators
from medge.profiles.layers import Layers

TORCHVISION = frozenset(
    [
        "alexnet",
        "googlenet",
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
        "vgg11_bn",
        "vgg13_bn",
        "vgg16_bn",
        "vgg19_bn",
        "squeezenet1_0",
        "squeezenet1_1",
        "shufflenet_v2_x0_5",
        "shufflenet_v2_x1_0",
        "shufflenet_v2_x1_5",
        "shufflenet_v2_x2_0",
        "mnasnet0_5",
        "mnasnet0_75",
        "mnasnet1_0",
        "mnasnet1_3",
        "mobilenet_v2",
    ]
)
TIMM = {  # where the printed name is not timm's own
    "efficientnetv2_b0": "tf_efficientnetv2_b0",
    "inception-v3": "inception_v3",
    "mnasnet": "mnasnet_100",
    "mobilenet": "mobilenetv1_100",
    "mobilenet-v2": "mobilenetv2_100",
    "mobilenet_v3": "mobilenetv3_large_100",
    "regnety_400m": "regnety_004",
    "resnet-50": "resnet50",
    "resnet101_vd": "resnet101d",
    "resnet152_vd": "resnet152d",
    "resnet200_vd": "resnet200d",
    "resnet50_v1.5": "resnet50",
    "resnet50_vd": "resnet50d",
    "vision_transformer": "vit_base_patch16_384",
}
OTHERS = {  # torchvision's, by another name
    "inception_v1": "googlenet",
    "shufflenet_v2": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
}


def recorded(name: str, height: int, width: int) -> Layers:
    """Return the layer table of a printed network for one picture of this size."""
    with torch.device("meta"):
        network = _build(name, height)
    return record(network.eval(), (1, 3, height, width))


def _build(name: str, height: int) -> nn.Module:
    if name in OWN:
        return OWN[name](height)
    plain = OTHERS.get(name, name)
    if plain in TORCHVISION:
        models: Any = import_with_vision_operators("torchvision").models
        extra = {"aux_logits": False, "init_weights": False} if plain == "googlenet" else {}
        return getattr(models, plain)(**extra)  # type: ignore[no-any-return]
    timm: Any = import_with_vision_operators("timm")
    plain = TIMM.get(name, name)
    if not timm.is_model(plain):
        raise UnknownNetworkError(name)
    sized = plain.startswith(("vit_", "deit_", "swin_")) and f"_{height}" not in plain
    return timm.create_model(plain, **({"img_size": height} if sized else {}))  # type: ignore[no-any-return]


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Branches(nn.Module):
    """Concatenates what several paths make of one input."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], 1)


def _inception_bn() -> nn.Module:
    """Inception with batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167, figure 5)."""
    mixes = (  # 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool projection
        (192, 64, 64, 64, 64, 96, 32),
        (256, 64, 64, 96, 64, 96, 64),
        (320, 0, 128, 160, 64, 96, 0),
        (576, 224, 64, 96, 96, 128, 128),
        (576, 192, 96, 128, 96, 128, 128),
        (576, 160, 128, 160, 128, 160, 128),
        (608, 96, 128, 192, 160, 192, 128),
        (608, 0, 128, 192, 192, 256, 0),
        (1056, 352, 192, 320, 160, 224, 128),
        (1024, 352, 192, 320, 192, 224, 128),
    )
    body = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), _conv(64, 64, 1), _conv(64, 192, 3)]
    body.append(nn.MaxPool2d(3, 2, 1))
    for width, one, reduce, three, reduce2, double, pool in mixes:
        stride = 1 if one else 2
        paths = [_conv(width, one, 1)] if one else []
        paths.append(nn.Sequential(_conv(width, reduce, 1), _conv(reduce, three, 3, stride)))
        paths.append(
            nn.Sequential(
                _conv(width, reduce2, 1),
                _conv(reduce2, double, 3),
                _conv(double, double, 3, stride),
            )
        )
        pooled: nn.Module = nn.MaxPool2d(3, stride, 1)
        paths.append(nn.Sequential(pooled, _conv(width, pool, 1)) if pool else pooled)
        body.append(_Branches(*paths))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class _Residual(nn.Module):
    """Adds the input to what a path makes of it."""

    def __init__(self, path: nn.Module) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


def _proxylessnas() -> nn.Module:
    """ProxylessNAS-Mobile (Cai et al. 2019, arXiv:1812.00332, figure 4)."""
    stages = (  # width, stride, (expansion, kernel) of each block
        (32, 2, ((3, 5), (3, 3))),
        (40, 2, ((3, 7), (3, 3), (3, 5), (3, 5))),
        (80, 2, ((6, 7), (3, 5), (3, 5), (3, 5))),
        (96, 1, ((6, 5), (3, 5), (3, 5), (3, 5))),
        (192, 2, ((6, 7), (6, 7), (3, 7), (3, 7))),
        (320, 1, ((6, 7),)),
    )
    body: list[nn.Module] = [_conv(3, 32, 3, 2), _conv(32, 32, 3, 1, 32)]
    body += [nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16)]
    width = 16
    for outputs, stride, blocks in stages:
        for index, (expansion, kernel) in enumerate(blocks):
            inner = width * expansion
            path = nn.Sequential(
                _conv(width, inner, 1),
                _conv(inner, inner, kernel, stride if index == 0 else 1, inner),
                nn.Conv2d(inner, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            body.append(path if index == 0 else _Residual(path))
            width = outputs
    body += [_conv(width, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*body)


class _ShuffleUnit(nn.Module):
    """Unit of ShuffleNet: grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, added or joined."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int) -> None:
        super().__init__()
        made = outputs - inputs if stride == 2 else outputs
        inner = outputs // 4
        first = 1 if inputs == 24 else groups
        self.groups, self.stride = groups, stride
        self.enter = _conv(inputs, inner, 1, 1, first)
        self.middle = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner)
        )
        self.leave = nn.Sequential(
            nn.Conv2d(inner, made, 1, groups=groups, bias=False), nn.BatchNorm2d(made)
        )
        self.pool = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        n, c, h, w = y.shape
        y = y.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.leave(self.middle(y))
        return torch.relu(torch.cat([self.pool(x), y], 1) if self.stride == 2 else x + y)


def _shufflenet() -> nn.Module:
    """ShuffleNet 1x, 3 groups (Zhang et al. 2018, arXiv:1707.01083, table 1)."""
    body: list[nn.Module] = [_conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    width = 24
    for outputs, units in ((240, 4), (480, 8), (960, 4)):
        for index in range(units):
            body.append(_ShuffleUnit(width, outputs, 3, 2 if index == 0 else 1))
            width = outputs
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1000))


def _caffenet(height: int) -> nn.Module:
    """AlexNet as Caffe has it: two groups in the second, fourth and fifth convolution."""

    def conv(inputs: int, outputs: int, kernel: int, groups: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
        return [layer, nn.ReLU(inplace=True)]

    network = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(*conv(96, 256, 5, 2), nn.MaxPool2d(3, 2), *conv(256, 384, 3, 1)),
        *(*conv(384, 384, 3, 2), *conv(384, 256, 3, 2), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.LazyLinear(4096), nn.ReLU(inplace=True)),
        *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000)),
    )
    network(torch.empty(1, 3, height, height, device="meta"))  # the first product's width
    return network


OWN: dict[str, Callable[[int], nn.Module]] = {
    "caffenet": _caffenet,
    "inception-bn": lambda _: _inception_bn(),
    "proxylessnasnet": lambda _: _proxylessnas(),
    "shufflenet": lambda _: _shufflenet(),
}
