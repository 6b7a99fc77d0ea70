"""The CUDA driver's functions as medge calls them, held to NVIDIA's declarations."""

from __future__ import annotations

import ctypes
import re
from importlib import metadata
from pathlib import Path

import pytest
from cuda_library import cuda_library

from medge.engine.backends.cuda_calls import CALLS, Cuda, CudaError

# How Cython's declarations of cuda.h name what ctypes passes.
POINTERS = {"CUcontext", "CUstream", "CUgraph", "CUgraphExec"}
NUMBERS = {
    "CUdevice": ctypes.c_int,
    "int": ctypes.c_int,
    "CUdeviceptr": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "unsigned int": ctypes.c_uint,
    "unsigned long long": ctypes.c_ulonglong,
    "CUstreamCaptureMode": ctypes.c_int,
}


def declared() -> dict[str, str]:
    """Return the parameters of every function that cuda-bindings declares."""
    try:
        files = metadata.files("cuda-bindings") or []
    except metadata.PackageNotFoundError:
        pytest.skip("cuda-bindings is not installed")
    text = next(Path(f.locate()) for f in files if f.name == "cydriver.pxd").read_text("utf-8")
    return dict(re.findall(r"^cdef CUresult (cu\w+)\((.*?)\) except", text, re.M))


def passed(parameter: str) -> object:
    """Return what ctypes has to pass for a parameter as C declares it."""
    kind = re.sub(r"\bconst\b|\w+$", "", parameter.strip()).strip()
    if not kind.endswith("*"):
        return ctypes.c_void_p if kind in POINTERS else NUMBERS[kind]
    inner = kind[:-1].strip()
    if inner == "void":
        return ctypes.c_void_p
    return ctypes.POINTER(ctypes.c_void_p if inner in POINTERS else NUMBERS[inner])


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_the_parameters_that_nvidia_declares(name: str) -> None:
    # The bindings leave out the number of a revision; WithFlags became the plain name in CUDA 12.
    plain = re.sub(r"_v\d$|WithFlags$", "", name)
    parameters = [each for each in declared()[plain].split(",") if each.strip()]
    assert [passed(each) for each in parameters] == list(CALLS[name])


def test_a_refused_call_names_itself_and_the_code(tmp_path: Path) -> None:
    with pytest.raises(CudaError, match="cuInit fails with CUDA error 100"):
        Cuda(0, str(cuda_library(tmp_path, INIT=100)))
    other = tmp_path / "other"  # a library is opened once for each path
    other.mkdir()
    with pytest.raises(CudaError, match="cuDeviceGet fails with CUDA error 101"):
        Cuda(7, str(cuda_library(other, GPUS=1)))


def test_a_library_that_lacks_a_call_is_refused_by_that_name() -> None:
    with pytest.raises(CudaError, match="cuInit fails with CUDA error 0"):
        Cuda(0, "libc.so.6")
