"""A CUDA driver in a few lines of C, compiled here: proves how medge calls it, nothing of CUDA."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "cuda_library.c"


def cuda_library(folder: Path, **macros: int) -> Path:
    """Compile the driver with its answers; see the C file for what can be set."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a driver with")
    library = folder / "libcuda.so.1"
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    command = [compiler, "-shared", "-fPIC", "-O0", "-Wall", *defines]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True, timeout=60)
    return library
