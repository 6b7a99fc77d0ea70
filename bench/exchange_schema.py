"""The JSON Schema of exported results; run this module to print docs/profile.schema.json."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import msgspec

from medge.bench.exchange import Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema of a document.

    What numbers owe each other is beyond JSON Schema; ``sound.faults`` holds it.
    """
    found: dict[str, Any] = {"$schema": DIALECT, "title": "medge result, version 1"}
    found |= msgspec.json.schema(Document)
    del found["$defs"]["Document"]["properties"]["schema"]["default"]
    found["$defs"]["Document"]["required"] = ["result", "schema", "sha256"]
    for definition in found["$defs"].values():
        if "properties" in definition:  # dataclasses do not say so of themselves
            definition["additionalProperties"] = False
        if "description" in definition:
            # Python 3.13 takes the indentation off docstrings, older ones keep it.
            definition["description"] = inspect.cleandoc(definition["description"])
    return found


def text() -> bytes:
    """Return the schema as the file in docs/ holds it."""
    return msgspec.json.format(msgspec.json.encode(schema(), order="deterministic"), indent=2)


if __name__ == "__main__":
    sys.stdout.buffer.write(text() + b"\n")
