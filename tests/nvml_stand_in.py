"""A stand-in for the module pynvml: it answers what a test tells it and refuses all else.

It proves what is made of NVML's answers, nothing about NVML; tests compare the names that are asked
for with the real module.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from medge.profiles import nvml as nvml_module
from medge.profiles.sensors import gpu as gpu_module

NOT_SUPPORTED = 3
UNKNOWN = 999
CONSTANTS = {
    "NVML_ERROR_NO_PERMISSION": 4,
    "NVML_ERROR_DRIVER_NOT_LOADED": 9,
    "NVML_ERROR_LIBRARY_NOT_FOUND": 12,
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": 18,
    "NVML_DEVICE_MIG_ENABLE": 1,
    "NVML_CLOCK_SM": 1,
    "NVML_CLOCK_MEM": 2,
    "NVML_TEMPERATURE_GPU": 0,
}


class RefusalError(Exception):
    """As pynvml.NVMLError: an error with NVML's number."""

    def __init__(self, value: int) -> None:
        super().__init__("words of the library")
        self.value = value


def names_asked_for(*modules: ModuleType) -> set[str]:
    """Return every name of pynvml that the modules use."""
    trees = [ast.parse(Path(str(each.__file__)).read_text(encoding="utf-8")) for each in modules]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "nvml"
    }


def library(init: int = 0, fails_at: int | None = None, **answers: Any) -> SimpleNamespace:
    """Return a pynvml with one GPU that gives ``answers``, a value for each name.

    Every start fails with the error ``init``; or the start of number ``fails_at``, from 1, alone.
    """
    starts = [0]

    def answer(name: str) -> Any:
        def call(*_arguments: object) -> Any:
            if name not in answers:
                raise RefusalError(NOT_SUPPORTED)
            return answers[name]

        return call

    def start() -> None:
        starts[0] += 1
        if init or starts[0] == fails_at:
            raise RefusalError(init or UNKNOWN)

    names = names_asked_for(nvml_module, gpu_module)
    asked = {name: answer(name) for name in names if name.startswith("nvml")}
    asked |= {"nvmlInit": start, "nvmlShutdown": lambda: None, "NVMLError": RefusalError}
    asked |= {"nvmlDeviceGetCount": lambda: 1, "nvmlDeviceGetHandleByIndex": lambda index: index}
    return SimpleNamespace(**asked, **CONSTANTS)
