"""Classification networks of torchvision."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING

from medge.errors import UsageError
from medge.exporters.architectures.arguments import call
from medge.exporters.architectures.vision_operators import import_with_vision_operators

if TYPE_CHECKING:
    from torch.nn import Module

    from medge.exporters.spec import Spec

# Their published weights hold auxiliary classifiers, and a slow truncated-normal start would only
# be overwritten.
PECULIAR = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


def build(name: str, spec: Spec) -> tuple[Module, str]:
    """Build a network of ``torchvision.models`` without its pretrained weights.

    Raises
    ------
    UsageError
        Rule ``source-unknown``: torchvision has no classifier of this name.
    """
    torchvision = import_with_vision_operators("torchvision")
    models = torchvision.models
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}."
        raise UsageError(
            "source-unknown",
            f"torchvision {torchvision.__version__} has no classifier {name!a}; {hint}",
        )
    derived = {"num_classes": len(spec.outputs[0].classes), **PECULIAR.get(name, {})}
    create = partial(models.get_model, name, weights=None)
    version = f"{torchvision.__version__}"
    return call(f"torchvision:{name}", create, derived | spec.arguments), version
