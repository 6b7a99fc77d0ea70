"""The published bindings of TensorRT: has each release the names that a Jetson's runner uses?

Run: ``python tests/contracts/jetson_runner.py`` (``make contracts``; the bindings are those of
``tensorrt_bindings.py``, real and unmodified). No bindings of 8.2 are published as a package:
8.6.1 stands for it, which has both the old calls and the new ones.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tensorrt_bindings import ASK, BINDINGS, asked, fetched, stood_in

RUNNER = Path(__file__).parents[2] / "exporters/jetson/runner/gpu_engine.py"
OBJECTS = {  # what the code calls an object of the library, and what class that is
    "trt": "",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "runtime": "Runtime",
}
UNTIL_8 = {  # the code asks first, or comes there only where types are not strong
    "BuilderFlag": {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"},
    "IBuilderConfig": {"max_workspace_size", "set_flag"},
    "ICudaEngine": {
        *("num_bindings", "get_binding_name", "binding_is_input", "get_binding_shape"),
        "get_binding_dtype",
    },
    "IExecutionContext": {"execute_async_v2"},
    "ILayer": {"precision"},
}


def used() -> Iterator[tuple[str, str]]:
    """Yield class and name of everything that the runner uses of the library."""
    for node in ast.walk(ast.parse(RUNNER.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        kind = class_of(node.value)
        if kind is not None:
            yield kind, node.attr


def class_of(node: ast.expr) -> str | None:
    """Return the class of an expression's value, None where it is nothing of the library."""
    if isinstance(node, ast.Name):
        return OBJECTS.get(node.id)
    if isinstance(node, ast.Attribute):
        if class_of(node.value) == "" and node.attr[0].isupper():
            return node.attr
        return OBJECTS.get(node.attr) if isinstance(node.value, ast.Name) else None
    return None


def main() -> int:
    """Ask each release; 1 when it lacks a name that the runner needs there."""
    names: dict[str, set[str]] = {}
    for kind, name in used():
        names.setdefault(kind, set()).add(name)
    wrong = 0
    for version, package in BINDINGS.items():
        old = version.startswith("8.")
        needed = {
            kind: sorted(each if old else each - UNTIL_8.get(kind, set()))
            for kind, each in names.items()
        }
        bindings = fetched(version, package)
        said = asked(bindings, [stood_in(bindings)], ASK, json.dumps(needed))
        if said.returncode:
            print(f"tensorrt {version}: cannot be imported: {said.stderr[-300:]}")
            wrong += 1
            continue
        absent = json.loads(said.stdout.strip().rpartition(" ")[0])
        count = sum(map(len, needed.values()))
        print(f"tensorrt {version}: {count} names of the runner, absent: {absent or 'none'}")
        wrong += bool(absent)
    print(f"{wrong} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
