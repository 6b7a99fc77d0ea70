"""What the two sides of a TensorRT process say to each other: one length, then MessagePack."""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec
from msgspec import Struct

from medge.engine.backends import Port
from medge.engine.backends.trt.library import Flavour
from medge.engine.backends.trt.plan import Batches, Plan, PlanRequest
from medge.engine.backends.trt.words import PlanRefusedError, Reason
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


class AskOpen(Struct, frozen=True, tag=True):
    """Open a plan on a device, with one lane for each pair of descriptors.

    ``memory`` and ``lanes`` are descriptors that the process inherited: shared memory laid out as
    ``lanes`` says, and a socket for each lane.
    """

    flavour: Flavour
    device: str
    plan: bytes
    runtime_cache: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: Batches
    memory: int
    lanes: tuple[int, ...]
    watched: bool


class AskTimes(Struct, frozen=True, tag=True):
    """What each layer took in every call of lane 0 so far."""


class Devices(Struct, frozen=True):
    """The driver's answer, and whether the package imports; ``problem`` is why not."""

    gpus: tuple[CudaGpu, ...] = ()
    driver_version: str | None = None


class Opened(Struct, frozen=True):
    """What opening showed.

    Parameters
    ----------
    layers
        The inspector's JSON, as it comes.
    batch
        The only batch that the plan takes, None for any.
    cuda_graph
        Whether calls are replayed as one CUDA graph.
    pinned
        Whether the shared memory is locked, so that copies run on their own.
    runtime_cache
        TensorRT-RTX: the kernels that it compiled for this GPU, for the next opening.
    renewed
        Whether it had to compile them though some were kept: those did not fit.
    """

    layers: str
    batch: int | None
    cuda_graph: bool
    pinned: bool
    runtime_cache: bytes = b""
    renewed: bool = False


class Times(Struct, frozen=True):
    """Nanoseconds of each layer by name, one for each call."""

    layers_ns: dict[str, tuple[int, ...]]


class Fault(Struct, frozen=True):
    """An error of medge, on its way from one process to the other."""

    exit_code: int
    rule: str
    message: str
    runtime: str = ""
    operator: str = ""
    reason: Reason | None = None
    lost: bool = False  # the plan is not taken back, which the cache answers by building anew


class Reply(Struct, frozen=True):
    """An answer, or what stopped it."""

    body: msgspec.Raw = msgspec.Raw(b"\xc0")
    fault: Fault | None = None


Ask: TypeAlias = AskDevices | AskPlan | AskOpen | AskTimes
Answer: TypeAlias = Devices | Plan | Opened | Times


class PlanLostError(BackendError):
    """A plan that was built earlier is not taken back here."""

    def __init__(self, message: str) -> None:
        super().__init__("runtime-failed", message)


def fault_of(error: MedgeError) -> Fault:
    """Return an error as it travels."""
    if isinstance(error, PlanRefusedError):
        told = (error.runtime, error.operator, error.reason)
        return Fault(error.exit_code, error.rule, error.message, *told)
    lost = isinstance(error, PlanLostError)
    return Fault(error.exit_code, error.rule, error.message, lost=lost)


def error_of(fault: Fault) -> MedgeError:
    """Return the error that travelled."""
    if fault.lost:
        return PlanLostError(fault.message)
    if fault.reason is not None:
        return PlanRefusedError(fault.runtime, fault.operator, fault.reason)
    kind = BundleError if fault.exit_code == BundleError.exit_code else BackendError
    return kind(fault.rule, fault.message)
