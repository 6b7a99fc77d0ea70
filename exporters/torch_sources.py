"""Networks of torch: an architecture with its weights, or a saved torch.export program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medge.errors import BundleError, UsageError
from medge.exporters.architectures import builder
from medge.exporters.network import Origin
from medge.exporters.pt2_file import check_pt2, refused
from medge.exporters.quiet import quiet
from medge.exporters.sources import Source, file_sha256
from medge.exporters.state import load_weights
from medge.exporters.torch_network import TorchNetwork

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from medge.exporters.spec import Spec


def from_pt2(path: Path) -> TorchNetwork:
    """Load a program that ``torch.export.save`` wrote; its batch is free, or 1.

    Raises
    ------
    UsageError
        Rule ``source-unreadable``: no such file, damaged, of another torch, or with more in it than
        a program. Rule ``network-input``: it takes something else than one picture.
    BundleError
        Rule ``fixed-batch``: it takes only batches of one size, and that is not 1.
    """
    digest = _digest(path)
    check_pt2(path)
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:  # zip, JSON, pickle and torch raise classes without a common base
        raise refused(path, f"cannot be loaded ({type(error).__name__})") from error
    batch, notes = _batch(path, program), []
    if batch is not None:
        notes.append("the program takes one picture at a time, and so does the bundle's graph")
    origin = Origin(
        framework="torch",
        framework_version=str(torch.__version__),
        architecture=path.stem,
        weights_sha256=digest,
    )
    return TorchNetwork(program.module(), origin, notes, batch)


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


def _batch(path: Path, program: ExportedProgram) -> int | None:
    """Return the only batch that a program takes, None for any."""
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise UsageError(
            "network-input",
            f"{path.name} takes {len(inputs)} inputs; a bundle of this version takes 1 picture.",
        )
    node = next(node for node in program.graph.nodes if node.name == next(iter(inputs)))
    size = node.meta["val"].shape[0]
    if not isinstance(size, int):
        return None
    if size != 1:
        raise BundleError(
            "fixed-batch",
            f"{path.name} takes only batches of {size}, expected any or 1. Leave the batch free: "
            "torch.export.export(..., dynamic_shapes=({0: torch.export.Dim('batch')},)).",
        )
    return size


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            "source-unreadable", f"{path}: cannot read: {reason}. Check the path."
        ) from None
