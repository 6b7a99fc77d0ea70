"""Plans: a graph parsed and built by TensorRT or TensorRT-RTX, in a process that may crash."""

from __future__ import annotations

from msgspec import Struct

from medge.engine.backends import Port
from medge.engine.backends.trt.library import Flavour, require_package
from medge.errors import UsageError

BUILD_LIMIT_S = 3600.0  # TensorRT times its kernels, minutes on a slow GPU; TensorRT-RTX does not

# What TensorRT-RTX 1.7 compiles for; it names no others (its ComputeCapability).
RTX_COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


class Batches(Struct, frozen=True):
    """How many pictures one call may hold, and for how many the kernels are chosen."""

    least: int = 1
    best: int = 1
    most: int = 1


class PlanRequest(Struct, frozen=True, kw_only=True):
    """What a plan is built for; everything explicit, nothing left to a runtime's default.

    Parameters
    ----------
    inputs, outputs
        What the manifest promises; the graph must agree.
    batches
        Ignored where the graph has a fixed batch.
    compute_capabilities
        Ahead of time, TensorRT-RTX only: as "8.6", at least one of ``RTX_COMPUTE_CAPABILITIES``.
        No driver or GPU is needed then.
    device
        ``nvidia:N``, the GPU of this machine to build on; ignored ahead of time.
    workspace_bytes
        The most that a kernel may take for itself; None for all that the GPU has.
    timing_cache
        What an earlier ``Plan`` gave, for the same GPU and TensorRT.
    """

    flavour: Flavour
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: Batches = Batches()
    compute_capabilities: tuple[str, ...] | None = None
    device: str = "nvidia:0"
    workspace_bytes: int | None = None
    timing_cache: bytes = b""


class Plan(Struct, frozen=True, kw_only=True):
    """A built engine, in the runtime's own form, and what is known of it.

    Parameters
    ----------
    plan
        Only the package and version that built it opens it, and only on such GPUs.
    compute
        Names of the graph's convolutions and matrix products.
    batch
        The only batch that it takes, None for any within the request's.
    seconds
        What parsing and building took.
    package, version
        The module that built it: ``tensorrt_rtx``, ``1.7.1.116``.
    timing_cache
        For the next build on this GPU; empty for TensorRT-RTX, which times nothing.
    """

    plan: bytes
    compute: tuple[str, ...]
    batch: int | None
    seconds: float
    package: str
    version: str
    timing_cache: bytes = b""


def build_plan(model: bytes, request: PlanRequest, limit_s: float = BUILD_LIMIT_S) -> Plan:
    """Parse and build a graph in a process of its own.

    Raises
    ------
    BackendError
        Rule ``backend-missing``: the package is not installed. ``runtime-import``: it cannot be
        imported. ``cuda-driver``, ``cuda-device``, ``cuda-failed``: there is no GPU to build on,
        and no ``compute_capabilities`` were named. ``runtime-crash``, ``runtime-hangs``.
    PlanRefusedError
        Rule ``graph``: the runtime does not take the graph, with operator and reason.
    BundleError
        Rule ``graph``: the graph is not what the manifest promises.
    UsageError
        Rule ``compute-capability``: one that TensorRT-RTX does not compile for, or TensorRT, which
        builds on the GPU alone.
    """
    from medge.engine.backends.trt.frames import AskPlan
    from medge.engine.backends.trt.process import Process

    _check(request)
    require_package(request.flavour)
    with Process(request.flavour) as process:
        return process.ask(AskPlan(request, model), Plan, limit_s)


def _check(request: PlanRequest) -> None:
    asked = request.compute_capabilities
    if asked is None:
        return
    unknown = [each for each in asked if each not in RTX_COMPUTE_CAPABILITIES]
    if request.flavour == "tensorrt" or unknown or not asked:
        known = ", ".join(RTX_COMPUTE_CAPABILITIES)
        raise UsageError(
            "compute-capability",
            "TensorRT builds on the GPU that will run it; ahead of time only TensorRT-RTX builds, "
            f"for compute capability {known}. Choose one of these, or build on the device.",
        )
