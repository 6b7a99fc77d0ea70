"""Architectures: libraries that build a network from its name, each with its peculiarities."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from torch.nn import Module

    from medge.exporters.spec import Spec

ARCHITECTURES = {  # a module is imported when its library is asked for
    "timm": "medge.exporters.architectures.timm_models:build",
    "torchvision": "medge.exporters.architectures.torchvision_models:build",
    "monai": "medge.exporters.architectures.monai_models:build",
    "callable": "medge.exporters.architectures.callables:build",
}


class Builder(Protocol):
    """Builds the network called ``name``; weights are whatever it is initialised with."""

    def __call__(self, name: str, spec: Spec) -> tuple[Module, str]:
        """Return the network and the framework's version text."""
        ...


def builder(kind: str) -> Builder:
    """Return what builds the networks of one kind of source."""
    module, attribute = ARCHITECTURES[kind].split(":")
    return cast("Builder", getattr(importlib.import_module(module), attribute))
