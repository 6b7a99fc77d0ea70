"""GPUs that a network is asked to run on: are they here, and what has to be equal on another."""

from __future__ import annotations

import dataclasses
import functools

from medge.errors import BackendError
from medge.profiles.cuda_driver import CudaDriver, CudaGpu, driver
from medge.profiles.device import Device, describe, device_tier, identity
from medge.profiles.device_names import check_present, ordinal


@functools.cache
def _asked_once() -> CudaDriver:
    """Ask the driver; what it offers to a process does not change while that lives."""
    return driver()


def gpus_offered() -> tuple[CudaGpu, ...]:
    """Return the GPUs that CUDA offers to this process.

    Raises
    ------
    BackendError
        Rule ``cuda-driver``, ``cuda-device`` or ``cuda-failed``: there is none, and why.
    """
    found = _asked_once()
    if found.problem is not None:
        raise BackendError(found.problem.rule, f"{found.problem.found} {found.problem.next_step}")
    return found.gpus


def nvidia_devices() -> tuple[str, ...]:
    """Return every ``nvidia:N`` that is here, and none where CUDA offers none: no error."""
    return tuple(gpu.device for gpu in _asked_once().gpus)


def devices_offered() -> tuple[str, ...]:
    """Return every ``nvidia:N`` that is here.

    Raises
    ------
    BackendError
        As ``gpus_offered``.
    """
    return tuple(gpu.device for gpu in gpus_offered())


def require_gpus(devices: tuple[str, ...]) -> None:
    """Refuse NVIDIA GPUs that are not here; other devices are left to their runtime.

    Raises
    ------
    BackendError
        Rule ``device``, or as ``gpus_offered``.
    """
    asked = tuple(device for device in devices if ordinal(device) is not None)
    if asked:
        check_present(asked, devices_offered())


def gpu_of(device: str) -> CudaGpu | None:
    """Return the GPU that ``nvidia:N`` is, None for every other device and one that is not here."""
    number = ordinal(device)
    if number is None:
        return None
    return next((gpu for gpu in _asked_once().gpus if gpu.ordinal == number), None)


def tier_of_device(device: str) -> str:
    """Return the tier that decisions hold for: of a GPU its compute capability, as ``sm_86``."""
    gpu = gpu_of(device)
    return device_tier() if gpu is None else f"sm_{gpu.compute_capability.replace('.', '')}"


def identity_of_device(device: str) -> str:
    """Return what has to be equal for a measurement on one device to hold on another.

    Of a GPU what ``kind_of`` says, then the CPU that feeds it. Its driver is recorded, and is none
    of this: updates would end the use of all that was measured.
    """
    gpu = gpu_of(device)
    return identity() if gpu is None else f"{kind_of(gpu)} with {identity()}"


def kind_of(gpu: CudaGpu) -> str:
    """Return what two GPUs have in common that run alike: "NVIDIA L4 sm_89 58 SMs 22 GiB".

    The next driver keeps some more or fewer megabytes of a card for itself.
    """
    memory_gib = round(gpu.memory_bytes / (1 << 30))
    tier = f"sm_{gpu.compute_capability.replace('.', '')}"
    return f"{gpu.name} {tier} {gpu.sm_count} SMs {memory_gib} GiB"


def describe_device(device: str) -> Device:
    """Return this machine's CPU, with the GPU that a device is."""
    return dataclasses.replace(describe(), gpu=gpu_of(device))


def name_of_device(device: str, cpu_name: str) -> str:
    """Return a device as results tell it: ``cpu (NAME)``, ``nvidia:0 (NAME)``, else its name."""
    if device == "cpu":
        return f"cpu ({cpu_name})"
    gpu = gpu_of(device)
    return device if gpu is None else f"{device} ({gpu.name})"
