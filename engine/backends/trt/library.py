"""TensorRT and TensorRT-RTX as one library: its flavours, its import, and why that may fail."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any, Literal, TypeAlias

from medge.errors import BackendError

Flavour: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]

MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

# What may bring the module: the first draws one of the others in, each made for one CUDA.
PACKAGES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}

# "libnvinfer.so.10: cannot open shared object file": the loader's words, which name what is absent.
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]{1,60}\.so[\d.]{0,16}): cannot open shared object")


class BrokenPackageError(Exception):
    """The package is installed and cannot be imported; the text says why, in our words."""


def require_package(flavour: Flavour) -> None:
    """Ask pip whether a package is here that brings the module.

    Raises
    ------
    BackendError
        Rule ``backend-missing``.
    """
    if package_version(flavour) is None:
        raise BackendError(
            "backend-missing",
            f"Backend {flavour} needs the package {flavour}, which is not installed: "
            f"python -m pip install {flavour}",
        )


def package_version(flavour: Flavour) -> str | None:
    """Return the version of the package that brings the module, None where none is installed."""
    for name in PACKAGES[flavour]:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def library_of(flavour: Flavour) -> ModuleType:
    """Import the module; only a process that may crash does this.

    Raises
    ------
    BrokenPackageError
        It cannot be imported.
    """
    module = MODULES[flavour]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as absent:
        raise BrokenPackageError(f"its module {absent.name} is absent") from None
    except Exception as error:  # bindings of NVIDIA raise what they like while they are imported
        found = _MISSING_LIBRARY.search(str(error))
        if found:
            raise BrokenPackageError(f"it needs {found[1]}, which is not found") from None
        if "undefined symbol" in str(error):
            raise BrokenPackageError("a library that it uses is of another release") from None
        raise BrokenPackageError(f"its import ends with {type(error).__name__}") from None


def started(kind: Callable[[Any], Any], logger: Any, flavour: Flavour) -> Any:
    """Make a builder or a runtime, the two objects that touch the GPU first.

    Raises
    ------
    BackendError
        Rule ``runtime-failed``: the library returned none, for which its bindings raise TypeError.
    """
    try:
        return kind(logger)
    except TypeError:
        raise BackendError(
            "runtime-failed",
            f"{flavour} cannot start on this GPU: the driver is too old for it, or it has no code "
            "for such a GPU. Update NVIDIA's driver, or install the release for this GPU.",
        ) from None


def version_of(trt: ModuleType) -> str:
    """Return the version as the module itself tells it: "10.3.0", "1.7.1.116"."""
    return str(trt.__version__)
