"""Networks of timm."""

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


def build(name: str, spec: Spec) -> tuple[Module, str]:
    """Build ``timm.create_model(name)`` without its pretrained weights.

    Raises
    ------
    UsageError
        Rule ``source-unknown``: timm has no model of this name.
    """
    timm = import_with_vision_operators("timm")
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them."
        raise UsageError("source-unknown", f"timm {timm.__version__} has no model {name!a}; {hint}")
    derived = {"num_classes": len(spec.outputs[0].classes), "in_chans": spec.input.channels}
    create = partial(timm.create_model, name, pretrained=False)
    return call(f"timm:{name}", create, derived | spec.arguments), f"{timm.__version__}"
