"""Layer tables and families of the networks that published measurements name."""

from __future__ import annotations

from pathlib import Path

from medge.profiles.layers import Layers, decode_layers, encode_layers

CACHE = Path("out/estimator/layers")
"""Layer tables that were recorded before; outside git, since a second makes each again."""

FAMILIES = (  # what a name holds, first match
    ("inception_resnet", "inception"),
    ("mobilevit", "mobilevit"),
    ("legacy_senet", "resnet"),
    ("efficientnet", "efficientnet"),
    ("tinynet", "efficientnet"),
    ("resnext", "resnext"),
    ("res2net", "resnext"),
    ("densenet", "densenet"),
    ("resnet", "resnet"),
    ("dla", "resnet"),
    ("hrnet", "resnet"),
    ("dpn", "resnext"),
    ("repvgg", "vgg"),
    ("vgg", "vgg"),
    ("alexnet", "vgg"),
    ("squeezenet", "squeezenet"),
    ("inception", "inception"),
    ("googlenet", "inception"),
    ("xception", "inception"),
    ("shufflenet", "shufflenet"),
    ("ghostnet", "ghostnet"),
    ("mobilenet", "mobilenet"),
    ("mnasnet", "mobilenet"),
    ("nasnet", "mobilenet"),
    ("fbnet", "mobilenet"),
    ("lcnet", "mobilenet"),
    ("regnet", "regnet"),
    ("edgenext", "convnext"),
    ("convnext", "convnext"),
    ("fastvit", "mobilevit"),
    ("swin", "transformer"),
    ("deit", "transformer"),
    ("vit", "transformer"),
    ("vision_transformer", "transformer"),
)


class UnknownNetworkError(LookupError):
    """No constructor is known for a printed name; ``str`` is the name."""


def family(model: str) -> str:
    """Return the family that a network is left out with."""
    return next(name for part, name in FAMILIES if part in model)


def layers_of(model: str, height: int, width: int, runtime: str = "") -> Layers:
    """Return the layer table of a printed network for one picture of this size, from the cache.

    ``runtime`` tells two networks of one name apart: Caffe's AlexNet has grouped convolutions.
    """
    grouped = model == "alexnet" and ("ncnn" in runtime or "Caffe" in runtime)
    name = "caffenet" if grouped else model
    path = CACHE / f"{name}_{height}x{width}.json"
    if not path.exists():
        from estimator_networks import recorded  # noqa: PLC0415 - torch, for new networks only

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_layers(recorded(name, height, width)))
    return decode_layers(path.read_bytes())
