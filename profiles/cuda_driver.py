"""NVIDIA's CUDA driver as a program meets it: whether it opens, and which GPUs it offers.

NVML tells of GPUs that exist; this tells of those that a network can run on, in CUDA's order, which
``CUDA_VISIBLE_DEVICES`` and MIG change. Asked through ctypes, so that the answer needs no package.
"""

from __future__ import annotations

import ctypes
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from medge.profiles.facts import Problem

LIBRARY = "libcuda.so.1"  # the driver's own name for itself, in its packages and in containers

State: TypeAlias = Literal["no-driver", "no-device", "failed", "ready"]

# CUresult and CUdevice_attribute of cuda.h.
NO_DEVICE = 100
_STUB, _UNAVAILABLE, _NOT_READY, _MISMATCH, _COMPAT, _UNKNOWN = 34, 46, 802, 803, 804, 999
_SM_COUNT, _CC_MAJOR, _CC_MINOR = 16, 75, 76

_FAILURES = {
    _STUB: (
        "what was opened is the toolkit's stub and no driver",
        "Take the toolkit's stubs folder out of LD_LIBRARY_PATH.",
    ),
    _UNAVAILABLE: (
        "another process holds the GPU for itself alone",
        "End that process, or set the compute mode to default: sudo nvidia-smi -c 0",
    ),
    _NOT_READY: (
        "the system is not ready",
        "Start NVIDIA's fabric manager: sudo systemctl start nvidia-fabricmanager",
    ),
    _MISMATCH: (
        "the loaded driver and its library are of different versions",
        "Restart, so that the new driver is loaded: sudo reboot",
    ),
    _COMPAT: (
        "CUDA's compatibility library does not work on this GPU",
        "Take the folder cuda/compat out of LD_LIBRARY_PATH, or update the driver.",
    ),
    _UNKNOWN: (
        "the driver gives no reason",
        "Restart; if it stays, see the kernel's messages: sudo dmesg | grep -i nvrm",
    ),
}


class CudaGpu(Struct, frozen=True, kw_only=True):
    """One GPU that CUDA offers to this process.

    Parameters
    ----------
    ordinal
        CUDA's number for it here, the N of ``nvidia:N``.
    compute_capability
        As "8.6".
    sm_count
        Streaming multiprocessors: of a MIG instance its own, not the card's.
    memory_bytes
        All of its memory, used or not.
    pci_bus_id
        Where it sits, as NVML names it too; None of a driver that does not tell.
    """

    ordinal: int
    name: str
    compute_capability: str
    sm_count: int
    memory_bytes: int
    pci_bus_id: str | None = None

    @property
    def device(self) -> str:
        """Return how medge's backends name it: ``nvidia:0``."""
        return f"nvidia:{self.ordinal}"


class CudaDriver(Struct, frozen=True, kw_only=True):
    """What the CUDA driver answered.

    Parameters
    ----------
    version
        The newest CUDA that it runs, as "13.0"; None where it could not be asked.
    problem
        What is in the way, None where it is ready.
    """

    state: State
    version: str | None = None
    gpus: tuple[CudaGpu, ...] = ()
    problem: Problem | None = None


class _RefusedError(Exception):
    """A call of the driver returned another code than 0."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(call, code)
        self.call = call
        self.code = code


def driver(library: str = LIBRARY) -> CudaDriver:
    """Open the driver, start it, and describe the GPUs that it offers to this process.

    Starting it takes up to a second where there are GPUs, and a process that was forked afterwards
    cannot use them; a verb that runs nothing on a GPU must not ask.

    Parameters
    ----------
    library
        Name or path of the driver's library.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        return _not_opened(str(error))
    version: str | None = None
    try:
        version = _version(cuda)
        _check(cuda, "cuInit", 0)
        count = ctypes.c_int(0)
        _check(cuda, "cuDeviceGetCount", ctypes.byref(count))
        gpus = tuple(_gpu(cuda, ordinal) for ordinal in range(count.value))
    except _RefusedError as refusal:
        return _no_device(version) if refusal.code == NO_DEVICE else _failed(refusal, version)
    except AttributeError:  # a library of this name without the driver's functions
        return _failed(None, version)
    return CudaDriver(state="ready", version=version, gpus=gpus) if gpus else _no_device(version)


def _check(cuda: Any, call: str, *arguments: object) -> None:
    code = int(getattr(cuda, call)(*arguments))
    if code:
        raise _RefusedError(call, code)


def _version(cuda: Any) -> str:
    number = ctypes.c_int(0)
    _check(cuda, "cuDriverGetVersion", ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"  # 12040 is 12.4


def _gpu(cuda: Any, ordinal: int) -> CudaGpu:
    device = ctypes.c_int(0)
    _check(cuda, "cuDeviceGet", ctypes.byref(device), ordinal)
    name = ctypes.create_string_buffer(256)
    _check(cuda, "cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t(0)
    _check(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int(0)
        _check(cuda, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    return CudaGpu(
        ordinal=ordinal,
        name=name.value.decode("utf-8", "replace"),
        compute_capability=f"{attribute(_CC_MAJOR)}.{attribute(_CC_MINOR)}",
        sm_count=attribute(_SM_COUNT),
        memory_bytes=memory.value,
        pci_bus_id=_pci_bus_id(cuda, device),
    )


def _pci_bus_id(cuda: Any, device: ctypes.c_int) -> str | None:
    bus = ctypes.create_string_buffer(32)
    try:
        _check(cuda, "cuDeviceGetPCIBusId", bus, len(bus), device)
    except (_RefusedError, AttributeError):  # an integrated GPU may sit on no bus
        return None
    return bus.value.decode("ascii", "replace") or None


def _not_opened(words: str) -> CudaDriver:
    """Tell a library that is absent from one that is there and cannot be opened."""
    if "No such file" in words:
        found = f"There is no NVIDIA driver here: {LIBRARY} is not found."
    else:
        found = f"NVIDIA's driver library {LIBRARY} is here and cannot be opened."
    step = (
        "Install NVIDIA's driver (docs.nvidia.com, Driver Installation Guide); a container needs "
        "the NVIDIA Container Toolkit and --gpus all."
    )
    return CudaDriver(state="no-driver", problem=Problem("cuda-driver", found, step))


def _no_device(version: str | None) -> CudaDriver:
    return CudaDriver(
        state="no-device",
        version=version,
        problem=Problem(
            "cuda-device",
            "NVIDIA's driver is here and offers no GPU to this process.",
            "Look at CUDA_VISIBLE_DEVICES; start a container with --gpus all; `medge doctor` tells "
            "of the card and its device nodes.",
        ),
    )


def _failed(refusal: _RefusedError | None, version: str | None) -> CudaDriver:
    if refusal is None:
        found, step = f"{LIBRARY} is no driver of NVIDIA", "Install NVIDIA's driver again."
    else:
        why, step = _FAILURES.get(refusal.code, ("", _FAILURES[_UNKNOWN][1]))
        found = f"NVIDIA's driver fails in {refusal.call} with CUDA error {refusal.code}"
        found += f": {why}" if why else ""
    return CudaDriver(
        state="failed", version=version, problem=Problem("cuda-failed", f"{found}.", step)
    )
