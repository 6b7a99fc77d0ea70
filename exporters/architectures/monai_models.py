"""Networks of MONAI."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from medge.errors import UsageError
from medge.exporters.architectures.arguments import accepted, call
from medge.exporters.architectures.vision_operators import import_with_vision_operators

if TYPE_CHECKING:
    from torch.nn import Module

    from medge.exporters.spec import Spec

# Parameters that go by a name from `offered` and mean something else: here, inner features.
MISNOMERS = {"TorchVisionFCModel": ("in_channels",)}


def build(name: str, spec: Spec) -> tuple[Module, str]:
    """Build a class of ``monai.networks.nets`` for two-dimensional pictures.

    Channels and classes go by different names there; each is set where the class has it.

    Raises
    ------
    UsageError
        Rule ``source-unknown``: MONAI has no network of this name.
    """
    from torch.nn import Module

    monai = import_with_vision_operators("monai")
    nets = import_with_vision_operators("monai.networks.nets")
    known = {
        key: value
        for key, value in vars(nets).items()
        if not key.startswith("_") and (isinstance(value, type) and issubclass(value, Module))
    }
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see monai.networks.nets."
        raise UsageError(
            "source-unknown", f"monai {monai.__version__} has no network {name!a}; {hint}"
        )
    classes, channels = len(spec.outputs[0].classes), spec.input.channels
    offered: dict[str, object] = {
        "spatial_dims": 2,
        "in_channels": channels,
        "n_input_channels": channels,
        "out_channels": classes,
        "num_classes": classes,
        "pretrained": False,
    }
    for misnomer in MISNOMERS.get(name, ()):
        del offered[misnomer]
    arguments = accepted(known[name], offered) | spec.arguments
    return call(f"monai:{name}", known[name], arguments), f"{monai.__version__}"
