"""What an engine depends on: its graph, its runtime, and the hardware that it was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medge.engine.cache import EngineFacts
from medge.profiles.cuda_gpus import gpu_of, kind_of, tier_of_device
from medge.profiles.device import identity
from medge.profiles.device_names import NVIDIA

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.select import Choice
    from medge.profiles.cuda_driver import CudaGpu


def engine_facts(bundle: Bundle, choice: Choice, version: str) -> EngineFacts | None:
    """Return what the engine of a variant depends on; None where engines are not kept.

    They are kept of the CPU, and of TensorRT and TensorRT-RTX, which build for minutes or compile
    for seconds. What a GPU runs depends neither on threads nor on how many calls run at once, nor
    on which of several equal GPUs it is. The driver is in none of it: each takes the engines of
    those before it.

    Parameters
    ----------
    version
        The runtime's.
    """
    variant = bundle.manifest.variant(choice.variant)
    on_cpu = choice.device == "cpu"
    machine = identity() if on_cpu else _hardware(choice.backend, choice.device)
    if variant is None or machine is None:
        return None
    return EngineFacts(
        bundle_sha256=bundle.digest,
        variant=choice.variant,
        graph_sha256=bundle.manifest.files[variant.file].sha256,
        backend=choice.backend,
        backend_version=version,
        machine=machine,
        device=choice.device if on_cpu else NVIDIA,
        precision=choice.precision,
        threads=choice.threads if on_cpu else 1,
        streams=choice.streams if on_cpu else 1,
        batch=choice.batch,
    )


def timing_facts(gpu: CudaGpu, version: str) -> EngineFacts:
    """Return what the times of TensorRT's kernels depend on: they serve every graph."""
    return EngineFacts(
        bundle_sha256="",
        variant="timing cache",
        graph_sha256="",
        backend="tensorrt",
        backend_version=version,
        machine=kind_of(gpu),
        device=NVIDIA,
        precision="",
        threads=1,
        streams=1,
        batch=1,
    )


def _hardware(backend: str, device: str) -> str | None:
    """Return what has to be equal of a GPU.

    TensorRT times kernels on the GPU that it builds on. A plan of TensorRT-RTX is for every GPU of
    its compute capability, wherever it was built; the kernels that are kept beside it are compiled
    anew where they do not fit.
    """
    gpu = gpu_of(device)
    if gpu is None or backend not in ("tensorrt", "tensorrt-rtx"):
        return None
    return kind_of(gpu) if backend == "tensorrt" else tier_of_device(device)
