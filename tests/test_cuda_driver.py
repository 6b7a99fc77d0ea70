"""The CUDA driver: every state it can be in has its reason and next step."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from cuda_library import cuda_library

from medge.profiles import cuda_driver
from medge.profiles.cuda_driver import CudaGpu, driver


def test_gpus_are_described_in_the_order_and_the_units_of_the_driver(tmp_path: Path) -> None:
    told = driver(str(cuda_library(tmp_path, GPUS=2)))
    assert (told.state, told.version, told.problem) == ("ready", "12.4", None)
    assert told.gpus == (
        CudaGpu(
            ordinal=0,
            name="NVIDIA GeForce RTX 3090",
            compute_capability="8.6",
            sm_count=82,
            memory_bytes=24 * 2**30,
        ),
        CudaGpu(
            ordinal=1,
            name="NVIDIA L4",
            compute_capability="8.9",
            sm_count=58,
            memory_bytes=24152899584,
        ),
    )
    assert [gpu.device for gpu in told.gpus] == ["nvidia:0", "nvidia:1"]


def test_a_machine_without_the_library_has_no_driver(tmp_path: Path) -> None:
    told = driver(str(tmp_path / "libcuda.so.1"))
    assert (told.state, told.version, told.gpus) == ("no-driver", None, ())
    assert told.problem is not None
    assert "is not found" in told.problem.found
    assert str(tmp_path) not in told.problem.found


def test_a_library_that_cannot_be_opened_is_told_from_one_that_is_absent(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"no ELF")
    told = driver(str(tmp_path / "libcuda.so.1"))
    assert told.state == "no-driver"
    assert told.problem is not None
    assert "cannot be opened" in told.problem.found


@pytest.mark.parametrize("macros", [{"INIT": 100}, {"GPUS": 0}])
def test_a_driver_that_offers_no_gpu_says_what_hides_it(
    tmp_path: Path, macros: dict[str, int]
) -> None:
    told = driver(str(cuda_library(tmp_path, **macros)))
    assert (told.state, told.version) == ("no-device", "12.4")
    assert told.problem is not None
    assert "CUDA_VISIBLE_DEVICES" in told.problem.next_step


@pytest.mark.parametrize(
    ("macros", "found", "step"),
    [
        ({"INIT": 803}, "cuInit with CUDA error 803: the loaded driver and", "sudo reboot"),
        ({"INIT": 34}, "toolkit's stub", "LD_LIBRARY_PATH"),
        ({"INIT": 777}, "cuInit with CUDA error 777.", "dmesg"),
        ({"NAME_FAILS": 999}, "cuDeviceGetName with CUDA error 999", "dmesg"),
    ],
)
def test_a_driver_that_fails_is_named_with_its_call_and_code(
    tmp_path: Path, macros: dict[str, int], found: str, step: str
) -> None:
    told = driver(str(cuda_library(tmp_path, **macros)))
    assert (told.state, told.gpus) == ("failed", ())
    assert told.problem is not None
    assert found in told.problem.found
    assert step in told.problem.next_step


def test_a_library_of_that_name_without_its_functions_is_no_driver() -> None:
    told = driver("libc.so.6")
    assert told.state == "failed"
    assert told.problem is not None
    assert "is no driver" in told.problem.found


def test_the_numbers_are_those_of_nvidias_own_bindings() -> None:
    try:
        metadata.version("cuda-bindings")
    except metadata.PackageNotFoundError:
        pytest.skip("cuda-bindings is not installed")
    from cuda.bindings import driver as cuda

    attributes = cuda.CUdevice_attribute
    assert attributes.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT == cuda_driver._SM_COUNT
    assert attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == cuda_driver._CC_MAJOR
    assert attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == cuda_driver._CC_MINOR
    result = cuda.CUresult
    assert result.CUDA_ERROR_NO_DEVICE == cuda_driver.NO_DEVICE
    known = {
        result.CUDA_ERROR_STUB_LIBRARY,
        result.CUDA_ERROR_DEVICE_UNAVAILABLE,
        result.CUDA_ERROR_SYSTEM_NOT_READY,
        result.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
        result.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
        result.CUDA_ERROR_UNKNOWN,
    }
    assert set(map(int, known)) == set(cuda_driver._FAILURES)


@pytest.mark.gpu
def test_a_gpu_of_this_machine_is_seen() -> None:
    told = driver()
    if told.state != "ready":
        pytest.skip(told.problem.found if told.problem else told.state)
    assert re.fullmatch(r"\d{1,2}\.\d", told.gpus[0].compute_capability)
    assert told.gpus[0].sm_count > 0
