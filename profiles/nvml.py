"""NVIDIA's management library, through the module pynvml of the package nvidia-ml-py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import Any, TypeVar

from medge.profiles.facts import Problem
from medge.profiles.gpu import Gpu, Nvidia, State

PACKAGE = "nvidia-ml-py"
NVML = "NVML"

T = TypeVar("T")


def installed() -> bool:
    """Return whether pip knows the package."""
    try:
        metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


def pynvml() -> Any:
    """Import the module, which opens no library yet."""
    return importlib.import_module("pynvml")


def through_nvml(nvml: Any, driver_version: str | None) -> Nvidia:
    """Return all GPUs that NVML tells of, or why it tells none.

    Parameters
    ----------
    nvml
        The module pynvml.
    driver_version
        Of the loaded driver, where that is known already.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _failure(int(error.value), nvml, driver_version)
    try:
        handles = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
        cuda = _asked(nvml, nvml.nvmlSystemGetCudaDriverVersion)  # 13000 is CUDA 13.0
        return Nvidia(
            state="ready",
            gpus=tuple(_gpu(nvml, handle) for handle in handles),
            driver_version=_words(_asked(nvml, nvml.nvmlSystemGetDriverVersion)) or driver_version,
            driver_source=NVML,
            cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        )
    except nvml.NVMLError as error:
        return _failure(int(error.value), nvml, driver_version)
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def index_of(pci_bus_id: str, library: Callable[[], Any] | None = None) -> int | None:
    """Return the number that NVML gives the GPU on a bus; None where it names none.

    A card that is cut into instances (MIG) has none: its counters are those of all instances.

    Parameters
    ----------
    pci_bus_id
        As CUDA tells it: "0000:01:00.0".
    library
        Returns the module pynvml; default: the installed one.
    """
    if library is None and not installed():
        return None
    nvml = (library or pynvml)()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # why is what open_sensors and `medge doctor` tell
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
        mig = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
        cut = mig is not None and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE
        return None if cut else int(nvml.nvmlDeviceGetIndex(handle))
    except nvml.NVMLError:
        return None
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def free_ratio(pci_bus_id: str, library: Callable[[], Any] | None = None) -> float | None:
    """Return which part (0 to 1) of a GPU's memory nobody holds; None where NVML does not tell.

    Parameters
    ----------
    pci_bus_id, library
        As ``index_of`` takes them.
    """
    if library is None and not installed():
        return None
    nvml = (library or pynvml)()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # why is what open_sensors and `medge doctor` tell
        return None
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(
            nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
        )
        return float(memory.free / memory.total)
    except nvml.NVMLError:
        return None
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any) -> Gpu:
    capability = _asked(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    limit_mw = _asked(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    mig = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return Gpu(
        name=_words(_asked(nvml, nvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        memory_bytes=None if memory is None else int(memory.total),
        power_limit_w=None if limit_mw is None else limit_mw / 1000.0,
        sm_clock_mhz=_asked(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        max_sm_clock_mhz=_asked(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        memory_clock_mhz=_asked(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        mig=None if mig is None else mig[0] == nvml.NVML_DEVICE_MIG_ENABLE,
        source=NVML,
    )


def _asked(nvml: Any, call: Callable[..., T], *arguments: Any) -> T | None:
    """Return an answer of NVML, None where this GPU or driver has none."""
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _failure(code: int, nvml: Any, driver_version: str | None) -> Nvidia:
    """Say what an error of NVML means; its number stands for its text."""
    known: dict[int, tuple[State, str, str, str]] = {
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "mismatch",
            f"The loaded driver{f' {driver_version}' if driver_version else ''} and NVIDIA's "
            "library are of different versions, as after an update.",
            "Restart, so that the new driver is loaded.",
            "sudo reboot",
        ),
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
            "no-library",
            "NVIDIA's library libnvidia-ml.so.1 is not here, though there is an NVIDIA GPU.",
            "Install NVIDIA's driver whole; a container gets the library from the NVIDIA Container "
            "Toolkit.",
            "",
        ),
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: (
            "no-driver",
            "NVIDIA's driver is installed and not loaded.",
            "Load it; if that fails, install it again for the running kernel.",
            "sudo modprobe nvidia",
        ),
        nvml.NVML_ERROR_NO_PERMISSION: (
            "not-permitted",
            "This user may not open the GPU's device nodes.",
            "Give the user the group that owns /dev/nvidia0.",
            "",
        ),
    }
    unknown: tuple[State, str, str, str] = (
        "failed",
        f"NVML failed with error {code}.",
        "See the kernel's messages of NVIDIA's driver.",
        "sudo dmesg | grep -i nvrm",
    )
    state, found, step, command = known.get(code, unknown)
    rules = {"mismatch": "nvidia-mismatch", "no-driver": "nvidia-driver"}
    problem = Problem(rules.get(state, "nvidia-library"), found, step, command)
    return Nvidia(state=state, driver_version=driver_version, problem=problem)


def _words(said: str | bytes | None) -> str | None:
    """Return text of NVML, which older releases give as bytes."""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
