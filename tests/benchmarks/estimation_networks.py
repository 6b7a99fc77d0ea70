"""Networks that estimates are judged on: random weights, as ONNX with their tables of layers.

Run: ``python tests/benchmarks/estimation_networks.py`` writes all that are missing in
``out/estimation``. Neither latency nor memory depends on what the weights are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from medge.profiles.layers import Layers, decode_layers, encode_layers

CACHE = Path("out/estimation")
CLASSES = 1000

JUDGED = {  # name -> side of its picture
    "alexnet": 224,
    "convnext_tiny": 224,
    "densenet121": 224,
    "densenet169": 224,
    "efficientnet_b0": 224,
    "efficientnet_b3": 300,
    "googlenet": 224,
    "inception_v3": 299,
    "mnasnet1_0": 224,
    "mobilenet_v2": 224,
    "mobilenet_v3_large": 224,
    "regnet_y_400mf": 224,
    "resnet18": 224,
    "resnet50": 224,
    "resnext50_32x4d": 224,
    "shufflenet_v2_x1_0": 224,
    "squeezenet1_1": 224,
    "swin_t": 224,
    "vgg16": 224,
    "vit_b_16": 224,
}
FITTED = {  # what the memory of a runtime is fitted to; none of those above
    "densenet201": 224,
    "efficientnet_b1": 240,
    "efficientnet_v2_s": 300,
    "mnasnet0_5": 224,
    "mobilenet_v3_small": 224,
    "regnet_x_1_6gf": 224,
    "resnet34": 224,
    "resnet101": 224,
    "shufflenet_v2_x2_0": 224,
    "squeezenet1_0": 224,
    "vgg11": 224,
    "vit_b_32": 224,
}
SIDES = {**JUDGED, **FITTED}
NEWER = {"swin_t"}  # the older exporter writes out how its masks of windows are made: 3,500 nodes


def graph_of(name: str) -> Path:
    """Return the ONNX file of a network, which takes any batch; written where it is missing."""
    path = CACHE / f"{name}.onnx"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(_exported(name))
        part.replace(path)
    return path


def layers_of_graph(name: str) -> Layers:
    """Return the table of layers that a bundle of this graph would hold."""
    path = CACHE / f"{name}.layers.json"
    if not path.exists():
        from medge.exporters.layers_of import layers_of

        side = SIDES[name]
        layers = layers_of(graph_of(name).read_bytes(), np.zeros((1, 3, side, side), "f4"))
        path.write_bytes(encode_layers(layers))
    return decode_layers(path.read_bytes())


def _exported(name: str) -> bytes:
    import torch

    from medge.exporters.architectures.vision_operators import import_with_vision_operators
    from medge.exporters.quiet import quiet

    models = import_with_vision_operators("torchvision").models
    whole: dict[str, Any] = {"aux_logits": False, "init_weights": False}
    extra = whole if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator that ONNX does not have
    network = models.get_model(name, weights=None, **extra).eval()
    image = torch.zeros(1, 3, SIDES[name], SIDES[name])
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["scores"]}
    with quiet(), torch.no_grad():
        if name in NEWER:
            program = torch.onnx.export(network, (image,), dynamo=True, verbose=False, **names)
            if program is None:
                raise RuntimeError("torch.onnx.export returned no program")
            return program.model_proto.SerializeToString()
        # The older exporter is five times faster, and otherwise writes the same layers.
        graph = io.BytesIO()
        axes = {"image": {0: "batch"}, "scores": {0: "batch"}}
        torch.onnx.export(
            network, (image,), graph, dynamo=False, opset_version=18, dynamic_axes=axes, **names
        )
    return graph.getvalue()


if __name__ == "__main__":
    for each in SIDES:
        print(each, len(layers_of_graph(each).layers), flush=True)
