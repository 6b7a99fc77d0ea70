"""What is known of NVIDIA GPUs: one record for each, and one for the state of their driver."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from medge.profiles.facts import Problem

DRIVER = "/proc/driver/nvidia/version"

State: TypeAlias = Literal[
    "absent",  # no NVIDIA GPU
    "ready",
    "no-driver",
    "no-device-node",
    "no-package",
    "no-library",
    "mismatch",
    "not-permitted",
    "failed",
]


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU; what could not be read is None.

    Parameters
    ----------
    compute_capability
        As "8.6".
    power_limit_w
        What is enforced now.
    sm_clock_mhz, max_sm_clock_mhz, memory_clock_mhz
        Now, and the highest that it may have.
    mig
        Whether it is cut into instances (Multi-Instance GPU).
    integrated
        Whether it shares the memory of the CPU, as on a Jetson.
    source
        Where this was read.
    """

    name: str
    compute_capability: str | None = None
    memory_bytes: int | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    mig: bool | None = None
    integrated: bool = False
    source: str


class Nvidia(Struct, frozen=True, kw_only=True):
    """What is known of this machine's NVIDIA GPUs, and what is in the way."""

    state: State
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    driver_source: str = DRIVER
    cuda_version: str | None = None  # the newest that the driver runs, as "13.0"; from NVML
    problem: Problem | None = None
