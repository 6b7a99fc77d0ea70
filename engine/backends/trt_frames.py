"""What the two sides of a TensorRT process say to each other: one length, then MessagePack."""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec
from msgspec import Struct

from medge.engine.backends.trt_library import Flavour
from medge.engine.backends.trt_plan import Plan, PlanRequest
from medge.engine.backends.trt_words import PlanRefusedError, Reason
from medge.errors import BackendError, BundleError, MedgeError
from medge.profiles.cuda_driver import CudaGpu

LENGTH = struct.Struct("<Q")
FRAME_CAP_BYTES = 1 << 32  # MessagePack's own limit for bytes


class AskDevices(Struct, frozen=True, tag=True):
    """Which GPUs the driver offers."""

    flavour: Flavour


class AskPlan(Struct, frozen=True, tag=True):
    """Build a plan; on a device also its inspector's account."""

    request: PlanRequest
    model: bytes


class Devices(Struct, frozen=True):
    """The driver's answer, and whether the package imports; ``problem`` is why not."""

    gpus: tuple[CudaGpu, ...] = ()
    driver_version: str | None = None


class Fault(Struct, frozen=True):
    """An error of medge, on its way from one process to the other."""

    exit_code: int
    rule: str
    message: str
    runtime: str = ""
    operator: str = ""
    reason: Reason | None = None
    engine: bool = False  # the plan is not taken back, which the cache answers by building anew


class Reply(Struct, frozen=True):
    """An answer, or what stopped it."""

    body: msgspec.Raw = msgspec.Raw(b"\xc0")
    fault: Fault | None = None


Ask: TypeAlias = AskDevices | AskPlan
Answer: TypeAlias = Devices | Plan


def fault_of(error: MedgeError) -> Fault:
    """Return an error as it travels."""
    if isinstance(error, PlanRefusedError):
        told = (error.runtime, error.operator, error.reason)
        return Fault(error.exit_code, error.rule, error.message, *told)
    return Fault(error.exit_code, error.rule, error.message)


def error_of(fault: Fault) -> MedgeError:
    """Return the error that travelled."""
    if fault.reason is not None:
        return PlanRefusedError(fault.runtime, fault.operator, fault.reason)
    kind = BundleError if fault.exit_code == BundleError.exit_code else BackendError
    return kind(fault.rule, fault.message)
