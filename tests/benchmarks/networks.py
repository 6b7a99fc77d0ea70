"""ResNet-50 as a bundle and as a torch network with the same seeded random weights.

What it answers means nothing; how long it takes is what a trained one of this shape takes.
"""

from __future__ import annotations

from pathlib import Path

import torch

from medge.exporters.architectures.vision_operators import import_with_vision_operators
from medge.exporters.export import ExportRequest, export_bundle

SPEC = """\
name = "resnet50"
intended_use = "Benchmarks of speed."
licence = "Apache-2.0"
demonstration = true

[input]
name = "image"
height = 224
width = 224
channels = 3
colour = "rgb"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[input.resize]
filter = "area"

[[outputs]]
name = "scores"
classes = ["a", "b"]
"""


def resnet50_bundle(folder: Path) -> tuple[Path, torch.nn.Module]:
    """Write ``folder/resnet50.medge``; return it and the network, ready to infer."""
    torchvision = import_with_vision_operators("torchvision")
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None, num_classes=2).eval()
    torch.save(network.state_dict(), folder / "weights.pt")
    (folder / "spec.toml").write_text(SPEC, encoding="utf-8")
    request = ExportRequest(
        source="torchvision:resnet50",
        out=folder / "resnet50.medge",
        weights=folder / "weights.pt",
        spec=folder / "spec.toml",
    )
    export_bundle(request)
    return request.out, network
