"""Networks of torch: an architecture with its weights, or a saved torch.export program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medge.errors import UsageError
from medge.exporters.architectures import builder
from medge.exporters.network import Origin
from medge.exporters.quiet import quiet
from medge.exporters.sources import Source, file_sha256
from medge.exporters.state import load_weights
from medge.exporters.torch_network import TorchNetwork

if TYPE_CHECKING:
    from medge.exporters.spec import Spec


def from_pt2(path: Path) -> TorchNetwork:
    """Load a program that ``torch.export.save`` wrote; its batch must be free.

    Raises
    ------
    UsageError
        Rule ``source-unreadable``: no such file, damaged, or of another torch.
    """
    digest = _digest(path)
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:  # zip, JSON, pickle and torch raise classes without a common base
        raise UsageError(
            "source-unreadable",
            f"{path.name} is no program that torch {torch.__version__} can load "
            f"({type(error).__name__}). Save it again with torch.export.save, with this version.",
        ) from error
    origin = Origin(
        framework="torch",
        framework_version=str(torch.__version__),
        architecture=path.stem,
        weights_sha256=digest,
    )
    return TorchNetwork(program.module(), origin, [])


def from_architecture(
    source: Source, spec: Spec, weights: Path | None, random_weights: int | None
) -> TorchNetwork:
    """Build a network by name and fill it with ``weights``, or leave it as the seed made it."""
    seed = 0 if random_weights is None else random_weights
    # Some constructors draw numbers that are no weights; the seed makes an export repeatable.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, version = builder(source.kind)(source.name, spec)
    notes: list[str] = []
    digest = None
    if weights is not None:
        notes = load_weights(network, weights)
        digest = file_sha256(weights)
    framework = "torch" if source.kind == "callable" else source.kind
    origin = Origin(
        framework=framework,
        framework_version=version
        if framework == "torch"
        else f"{version}, torch {torch.__version__}",
        architecture=source.name,
        weights_sha256=digest,
        seed=random_weights,
    )
    return TorchNetwork(network.eval(), origin, notes)


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            "source-unreadable", f"{path}: cannot read: {reason}. Check the path."
        ) from None
