"""The names of TensorRT that medge uses: all are declared, and the real library has them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import medge.engine.backends.trt as backend
from medge.engine.backends.trt.surface import EVERYWHERE, REQUIRED_OF, SOMEWHERE, required_of
from medge.engine.backends.trt.words import _CODES

# What the code calls an object of the library, and what class that is.
OBJECTS = {
    "trt": "",
    "builder": "Builder",
    "cache": "IRuntimeCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "kinds": "NetworkDefinitionCreationFlag",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "settings": "IRuntimeConfig",
    "strategies": "DynamicShapesKernelSpecializationStrategy",
    "tensor": "ITensor",
}
GIVES = {"get_timing_cache": "ITimingCache", "get_output": "ITensor", "get_input": "ITensor"}
FILES = ("build.py", "engine.py", "library.py")


def used(path: Path) -> Iterator[tuple[str, str]]:
    """Yield class and name of everything that a file uses of the library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            kind = class_of(node.value)
            if kind is not None:
                yield kind, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("hasattr", "getattr") and isinstance(node.args[1], ast.Constant):
                kind = class_of(node.args[0])
                if kind is not None:
                    yield kind, str(node.args[1].value)
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                if isinstance(base, ast.Attribute) and class_of(base.value) == "":
                    names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                    yield from ((base.attr, name) for name in names & {"report_layer_time"})


def class_of(node: ast.expr) -> str | None:
    """Return the class of an expression's value, None where it is nothing of the library."""
    if isinstance(node, ast.Name):
        return OBJECTS.get(node.id)
    if isinstance(node, ast.Attribute):
        if class_of(node.value) == "" and node.attr[0].isupper():
            return node.attr  # trt.BuilderFlag
        return OBJECTS.get(node.attr.lstrip("_")) if isinstance(node.value, ast.Name) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return GIVES.get(node.func.attr)
    return None


def declared() -> set[tuple[str, str]]:
    return {
        (kind, name) for table in (EVERYWHERE, SOMEWHERE) for kind in table for name in table[kind]
    }


# Members that the code knows by their names alone: of types, layers, errors and modes.
BY_NAME = {"DataType", "ErrorCode", "LayerType", "TensorIOMode", "NetworkDefinitionCreationFlag"}


def test_every_name_that_the_code_uses_is_declared_and_no_other() -> None:
    folder = Path(backend.__file__).parent
    found = {each for file in FILES for each in used(folder / file) if each[1] != "__init__"}
    kinds = {("", name) for kind, name in found if kind == "" and (kind, name) not in declared()}
    assert {name for _, name in kinds} <= {*EVERYWHERE, *SOMEWHERE}  # each with members of its own
    assert found - kinds - declared() == set()
    assert {pair for pair in declared() - found if pair[0] not in BY_NAME} == set()
    assert len(found) > 60


def test_error_codes_are_declared() -> None:
    assert set(_CODES) == {*EVERYWHERE["ErrorCode"], *SOMEWHERE["ErrorCode"]}


def test_what_is_somewhere_is_required_of_some_release_or_may_be_absent_everywhere() -> None:
    required = {
        (kind, name)
        for table in REQUIRED_OF.values()
        for kind, names in table.items()
        for name in names
    }
    somewhere = {(kind, name) for kind in SOMEWHERE for name in SOMEWHERE[kind]}
    assert required <= somewhere
    assert {kind for kind, _ in somewhere - required} <= {"ErrorCode"}


def test_tensorrt_rtx_as_installed_has_every_name() -> None:
    try:
        metadata.version("tensorrt-rtx")
    except metadata.PackageNotFoundError:
        pytest.skip("tensorrt-rtx is not installed")
    import tensorrt_rtx

    for kind, names in required_of("tensorrt_rtx", tensorrt_rtx.__version__).items():
        holder = tensorrt_rtx if kind == "" else getattr(tensorrt_rtx, kind)
        assert sorted(name for name in names if not hasattr(holder, name)) == [], kind
