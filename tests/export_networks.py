"""Small networks of torch that export tests name as ``export_networks:NAME``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Two convolutions, BatchNorm, a linear head; (n, channels, h, w) -> (n, classes)."""

    def __init__(self, channels: int = 1, classes: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 8, 3, 1, 1, groups=4)
        self.head = nn.Linear(8, classes)

    def features(self, image: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.norm(self.first(image))))).mean((2, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


class Shrinking(nn.Sequential):
    """Makes what goes through it a thousand times smaller, as long as BatchNorm divides by one."""

    def __init__(self) -> None:
        convolutions = [nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)]
        for convolution in convolutions:
            nn.init.normal_(convolution.weight, std=0.001)
        blocks = [(c, nn.BatchNorm2d(4), nn.ReLU()) for c in convolutions]
        layers = [layer for block in blocks for layer in block]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


class Softmaxed(Tiny):
    """Ends in probabilities."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(super().forward(image), 1)


class Mixing(Tiny):
    """Takes the batch's mean off, so that a picture's answer depends on its neighbours."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image - image.mean(0, keepdim=True))


class Branching(Tiny):
    """Decides by a value of the picture, which no graph can say."""

    def forward(self, image: Tensor) -> Tensor:
        scores = super().forward(image)
        return scores if float(image.mean()) > 0 else scores * 2


class Twofold(Tiny):
    """Two outputs by name: which lesion, and which findings."""

    def __init__(self) -> None:
        super().__init__()
        self.findings = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.features(image)
        return {"findings": self.findings(features), "lesion": self.head(features)}


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a seeded value, so that no two are alike."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=random) * 1.5 - 0.5)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_var.abs_().add_(0.1)
    return network.eval()
