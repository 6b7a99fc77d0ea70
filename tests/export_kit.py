"""Write specifications and weights for export tests, and export with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from medge.exporters.export import ExportReport, ExportRequest, export_bundle

SPEC: dict[str, Any] = {
    "name": "tiny",
    "intended_use": "Tests.",
    "licence": "Apache-2.0",
    "input": {
        "name": "image",
        "height": 16,
        "width": 16,
        "channels": 1,
        "mean": [0.4],
        "std": [0.2],
    },
    "outputs": [{"name": "scores", "classes": ["benign", "malignant"]}],
}


def toml(value: Any) -> str:
    """Write TOML in one line: its strings, numbers and arrays are those of JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value)


def write_spec(folder: Path, **changes: Any) -> Path:
    """Write SPEC with some keys replaced, those given as None left out."""
    said = {k: v for k, v in {**SPEC, **changes}.items() if v is not None}
    path = folder / "spec.toml"
    path.write_text("\n".join(f"{k} = {toml(v)}" for k, v in said.items()), encoding="utf-8")
    return path


def save(network: torch.nn.Module, folder: Path) -> Path:
    path = folder / "weights.pt"
    torch.save(network.state_dict(), path)
    return path


def export(folder: Path, source: str, **options: Any) -> ExportReport:
    """Export to ``folder/tiny.medge``, with SPEC unless another is given."""
    if "spec" not in options:
        options["spec"] = write_spec(folder)
    return export_bundle(ExportRequest(source=source, out=folder / "tiny.medge", **options))
