"""Sources: what stands before -o, and the network that it means."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medge.errors import UsageError

if TYPE_CHECKING:
    from medge.exporters.network import Network
    from medge.exporters.spec import Spec

FORMS = "FILE.onnx, FILE.pt2, timm:NAME, torchvision:NAME, monai:NAME or module.path:callable"

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source: ``kind`` is onnx, pt2, timm, torchvision, monai or callable."""

    kind: str
    name: str  # a path, a model's name, or module.path:callable

    @property
    def has_weights(self) -> bool:
        """Whether the source is a file that brings its weights along."""
        return self.kind in ("onnx", "pt2")


def parse_source(text: str) -> Source:
    """Tell the forms of a source apart; nothing is opened or imported.

    Raises
    ------
    UsageError
        Rule ``source``: it has none of the forms.
    """
    suffix = Path(text).suffix.lower()
    if suffix in (".onnx", ".pt2"):
        return Source(suffix[1:], text)
    kind, colon, name = text.partition(":")
    if colon and kind in ("timm", "torchvision", "monai"):
        if _NAME.fullmatch(name):
            return Source(kind, name)
    elif colon and _DOTTED.fullmatch(kind) and _DOTTED.fullmatch(name):
        return Source("callable", text)
    raise UsageError("source", f"{text[:80]!a} is no source. Use {FORMS}.")


def load(source: Source, spec: Spec, weights: Path | None, random_weights: int | None) -> Network:
    """Load the network that a source means, with its weights.

    Raises
    ------
    UsageError
        Rules ``weights-…`` and ``source-…``: what was asked for is not there, or does not fit.
    """
    _check_weights(source, weights, random_weights)
    _check_packages(source)
    if source.kind == "onnx":
        from medge.exporters.onnx_network import OnnxNetwork

        return OnnxNetwork(Path(source.name))
    from medge.exporters.torch_sources import from_architecture, from_pt2

    if source.kind == "pt2":
        return from_pt2(Path(source.name))
    return from_architecture(source, spec, weights, random_weights)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _check_weights(source: Source, weights: Path | None, random_weights: int | None) -> None:
    if source.has_weights:
        if weights is not None or random_weights is not None:
            raise UsageError(
                "weights-twice",
                f"{Path(source.name).name} brings its weights along. Leave out --weights and "
                "--random-weights.",
            )
    elif weights is None and random_weights is None:
        raise UsageError(
            "weights-missing",
            f"{source.kind}:… is an architecture without weights, and medge downloads none. Add "
            "--weights FILE (safetensors, or a state dict), or --random-weights SEED to measure "
            "speed with an untrained network.",
        )
    elif weights is not None and random_weights is not None:
        raise UsageError(
            "weights-twice", "--weights and --random-weights exclude each other. Keep one."
        )


def _check_packages(source: Source) -> None:
    """Say which packages are missing before one of them stops deep inside another."""
    from importlib import metadata

    needed = ["onnx"]
    if source.kind != "onnx":
        needed += ["torch", "onnxscript", "safetensors"]
    if source.kind in ("timm", "torchvision", "monai"):
        needed.append(source.kind)
    missing = [name for name in needed if not any(metadata.distributions(name=name))]
    if missing:
        raise UsageError(
            "export-packages",
            f"This source needs {', '.join(missing)}, not installed here: "
            'python -m pip install "medge[export]"',
        )
