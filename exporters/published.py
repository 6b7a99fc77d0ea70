"""Published networks as ONNX graphs with untrained weights: what their speed is measured with."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING

from medge.errors import UsageError

if TYPE_CHECKING:
    from torch.nn import Module

    from medge.profiles.network import Network

SEED = 0
INPUT, OUTPUT = "image", "scores"


def missing_packages(network: Network) -> tuple[str, ...]:
    """Return what pip would have to install before this network's graph can be made."""
    library = network.builder.partition(":")[0]
    needed = ("onnx", "torch", "onnxscript", *(() if library == "medge" else (library,)))
    return tuple(name for name in needed if not any(metadata.distributions(name=name)))


def published_graph(network: Network) -> bytes:
    """Build a network without its weights and write it as ONNX for one picture.

    The weights are drawn with a fixed seed, and every BatchNorm has the mean and variance that it
    meets, so that no value vanishes: its answers mean nothing, its arithmetic is that of the
    trained network. Input ``image`` is (1, channels, height, width), output ``scores`` whatever the
    network returns first; both are float32.

    Raises
    ------
    UsageError
        Rule ``export-packages``: torch or the library that builds it is not installed.
    BackendError
        Rule ``export-broken``: it is installed, and its import fails.
    BundleError
        Rule ``export-failed``, ``graph`` or ``graph-size``: it cannot be written as ONNX.
    """
    missing = missing_packages(network)
    if missing:
        raise UsageError(
            "export-packages",
            f"The graph of {network.name} needs {', '.join(missing)}, not installed here: "
            'python -m pip install "medge[export]"',
        )
    import torch

    from medge.exporters.network import OPSET
    from medge.exporters.quiet import quiet
    from medge.exporters.torch_export import translated
    from medge.exporters.torch_network import settle

    size = (network.channels, network.height, network.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        with quiet():
            built = _plain(_built(network.builder)).eval()
        settle(built, torch.rand(2, *size))
    _, graph = translated(
        built, torch.zeros(1, *size), inputs=[INPUT], outputs=[OUTPUT], opset=OPSET, free=False
    )
    return graph


def _built(builder: str) -> Module:
    library, _, name = builder.partition(":")
    return BUILDERS[library](name)


def _torchvision(name: str) -> Module:
    from medge.exporters.architectures.vision_operators import import_with_vision_operators

    models = import_with_vision_operators("torchvision").models
    network: Module = models.get_model(name, weights=None, **_WHOLE.get(name, {}))
    return network


def _timm(name: str) -> Module:
    from medge.exporters.architectures.vision_operators import import_with_vision_operators

    network: Module = import_with_vision_operators("timm").create_model(name)
    return network


def _medge(_name: str) -> Module:
    from medge.exporters.architectures.unet import UNet

    return UNet()


# The auxiliary heads of the first two only serve training; the third would download its backbone.
_WHOLE: dict[str, dict[str, object]] = {
    "googlenet": {"init_weights": False, "aux_logits": False},
    "inception_v3": {"init_weights": False, "aux_logits": False},
    "deeplabv3_resnet50": {"weights_backbone": None},
}
BUILDERS: dict[str, Callable[[str], Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "medge": _medge,
}


def _plain(network: Module) -> Module:
    """Let a network return one tensor: segmenters of torchvision return a mapping."""
    from torch.nn import Module, Sequential

    class First(Module):
        def forward(self, found: object) -> object:
            return next(iter(found.values())) if isinstance(found, dict) else found

    return Sequential(network, First())
