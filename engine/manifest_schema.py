"""The JSON Schema of manifests; run this module to print docs/bundle.schema.json."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import msgspec

from medge.engine.manifest import WRITTEN, Manifest

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema of a written manifest.

    Rules between fields, such as the number of means for the channels, are beyond JSON Schema;
    the constructors in manifest.py hold them.
    """
    found: dict[str, Any] = {"$schema": DIALECT, "title": "medge bundle manifest, version 1"}
    found |= msgspec.json.schema(Manifest)
    manifest = found["$defs"]["Manifest"]
    manifest["required"] = sorted({*manifest["required"], *WRITTEN})
    for name in WRITTEN:
        del manifest["properties"][name]["default"]
    for definition in found["$defs"].values():
        # Python 3.13 takes the indentation off docstrings, older ones keep it.
        definition["description"] = inspect.cleandoc(definition["description"])
    return found


def text() -> bytes:
    """Return the schema as the file in docs/ holds it."""
    return msgspec.json.format(msgspec.json.encode(schema(), order="deterministic"), indent=2)


if __name__ == "__main__":
    sys.stdout.buffer.write(text() + b"\n")
