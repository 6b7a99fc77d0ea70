"""Import libraries that build on torchvision, also beside a torch that its kernels do not fit."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import Any, cast

import torch

from medge.errors import BackendError
from medge.exporters.quiet import quiet

# torchvision describes these two to torch's tracer while it is imported, which stops when its
# compiled file was not loaded: a CUDA build beside a CPU-only torch. No classifier uses them.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[Any] = []  # torch forgets what nobody holds


def import_with_vision_operators(name: str) -> Any:
    """Import ``name`` quietly, after torchvision was given the two schemas if it lacks them.

    Raises
    ------
    BackendError
        Rule ``export-broken``: the library is installed, and its import fails.
    """
    try:
        with quiet():
            _ready_torchvision()
            return importlib.import_module(name)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        library = name.partition(".")[0]
        raise BackendError(
            "export-broken",
            f"{library} is installed, but its import fails ({type(error).__name__}). Install "
            f"versions of torch, torchvision and {library} that fit each other.",
        ) from error


def _ready_torchvision() -> None:
    if not any(metadata.distributions(name="torchvision")):  # timm needs it, MONAI does not
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        if _declared or hasattr(torch.ops.torchvision, "nms"):
            raise
        # What was half imported would be found as it is.
        for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        library: Any = cast("Any", torch.library.Library)("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        _declared.append(library)
        importlib.import_module("torchvision")
