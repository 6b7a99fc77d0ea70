"""ONNX Runtime's CUDA provider: is it usable here, how it is asked for, and what it must not do.

Asked for and not usable, ONNX Runtime runs on the CPU and says so on stderr only; its list of
available providers names those that the package was built with. So each thing that it needs is
looked at first, and fallback is switched off in both places where it happens: in its Python class
and, node by node, in the library.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from medge.engine.backends.presence import gpu_absence
from medge.errors import BackendError, BundleError
from medge.profiles.cuda_gpus import nvidia_devices, require_gpus

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
NO_CPU = "session.disable_cpu_ep_fallback"
RECORD = "session.record_ep_graph_assignment_info"

SHAPE_OPERATORS = frozenset(
    {
        *("Shape", "Size", "Gather", "GatherElements", "Slice", "Concat", "Split", "Reshape"),
        *("Squeeze", "Unsqueeze", "Cast", "Constant", "ConstantOfShape", "Range", "Identity"),
        *("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Not", "And", "Or", "Less", "Greater"),
        *(
            "Where",
            "Expand",
            "Tile",
            "Transpose",
            "NonZero",
            "ReduceProd",
            "Min",
            "Max",
            "ScatterND",
        ),
    }
)
"""What computes sizes from sizes. The CUDA provider has kernels for all of them, and leaves those
on the CPU whose few integers live there (``GetCpuPreferredNodes``): no picture goes that way."""

_TO_HELP = (
    'python -m pip install "onnxruntime-gpu[cuda,cudnn]" brings CUDA and cuDNN; those of the '
    "system are found through LD_LIBRARY_PATH"
)
_ASSIGNED_TO_CPU = re.compile(r"assigned to the default CPU EP")
_LIBRARY = re.compile(r"(lib[\w.+-]{1,64}): cannot open shared object file")
_NO_CUDNN = re.compile(r"cuDNN is unavailable")
_OF_THE_GPU = re.compile(r"CUDA|CUDNN|CUBLAS|TensorRT EP|allocate memory", re.IGNORECASE)
_NO_KERNEL_IMAGE = re.compile(r"no kernel image is available")


def cuda_devices(library: ModuleType) -> tuple[str, ...]:
    """Return the GPUs that the provider may use; none where the package was built without it."""
    return nvidia_devices() if CUDA_PROVIDER in library.get_available_providers() else ()


def require_cuda(library: ModuleType, device: str, provider: str = CUDA_PROVIDER) -> None:
    """Refuse what keeps the provider from a device, before ONNX Runtime falls back in silence.

    Raises
    ------
    BackendError
        Rule ``backend-missing``: this is the package for CPUs. Rules ``cuda-driver``,
        ``cuda-device``, ``cuda-failed``, ``device``: the GPU is not here. Rule ``provider``: a
        library that the provider needs is not here.
    """
    if provider not in library.get_available_providers():
        missing = gpu_absence("onnxruntime")
        raise missing or BackendError(
            "provider",
            f"This build of onnxruntime has no {provider}. Install onnxruntime-gpu from the "
            "package index.",
        )
    require_gpus((device,))
    _preload(library)
    missing_library = _missing_library(library, provider)
    if missing_library is not None:
        step = _TO_HELP
        if provider != CUDA_PROVIDER:
            step = "Install the TensorRT that `medge doctor --target` names for this version"
        raise BackendError(
            "provider",
            f"onnxruntime {library.__version__} cannot use the GPU: {missing_library} is not "
            f"found. {step}.",
        )


def cuda_options(ordinal: int) -> dict[str, str]:
    """Return how the provider computes, nothing left to its defaults that changes numbers.

    TF32 would keep 10 bits of fp32, and is on by default. Convolutions are chosen by cuDNN's
    heuristics, not by timing, so that the same picture has the same answer in the next session.
    """
    return {
        "device_id": str(ordinal),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def check_providers(found: list[str], wanted: str) -> None:
    """Compare what a session got with what was asked for.

    The CPU's provider is in every session, for sizes; which nodes it has is checked elsewhere.

    Raises
    ------
    BackendError
        Rule ``provider``.
    """
    if found and found[0] == wanted and set(found) <= {wanted, CUDA_PROVIDER, CPU_PROVIDER}:
        return
    names = " and ".join(found) or "none"
    raise BackendError(
        "provider",
        f"onnxruntime was asked for {wanted} and took {names}. Install it again, or choose another "
        "backend.",
    )


def left_to_cpu(error: Exception) -> bool:
    """Whether a session was refused because the CPU would have got a part of the graph."""
    return _ASSIGNED_TO_CPU.search(str(error)) is not None


def check_left_to_cpu(session: Any) -> None:
    """Refuse a session that was opened with fallback and leaves the CPU more than sizes.

    Raises
    ------
    BundleError
        Rule ``graph``, with the operators that have no kernel on the GPU.
    """
    told = getattr(session, "get_provider_graph_assignment_info", None)
    names = None if told is None else _on_cpu(told())
    if names is not None and names <= SHAPE_OPERATORS:
        return
    which = "some operators"
    if names is not None:
        which = f"operator {', '.join(sorted(names - SHAPE_OPERATORS)[:5])}"
    raise BundleError(
        "graph",
        f"onnxruntime's {CUDA_PROVIDER} has no kernel for {which} of this graph, which would run "
        "on the CPU. Export the bundle without, or choose another backend.",
    )


def is_gpu_failure(error: Exception) -> bool:
    """Whether the GPU or its libraries failed while a graph was opened, and not the graph."""
    return _OF_THE_GPU.search(str(error)) is not None


def gpu_failure(error: Exception) -> BackendError:
    """Say what a call that failed on a GPU means; the runtime's own text is not passed on."""
    if _NO_CUDNN.search(str(error)):  # it is looked for when the first convolution runs
        return BackendError("provider", f"onnxruntime cannot use the GPU: no cuDNN. {_TO_HELP}.")
    if _NO_KERNEL_IMAGE.search(str(error)):
        return BackendError(
            "runtime-failed",
            "This onnxruntime-gpu holds no kernels for this GPU. `medge doctor --target` names the "
            "versions that do.",
        )
    return BackendError(
        "runtime-failed",
        f"onnxruntime failed on the GPU ({type(error).__name__}). Free its memory (nvidia-smi "
        "shows who holds it), or run on the CPU: --device cpu.",
    )


def _on_cpu(assigned: list[Any]) -> set[str]:
    return {
        node.op_type
        for subgraph in assigned
        if subgraph.ep_name == CPU_PROVIDER
        for node in subgraph.get_nodes()
    }


def _preload(library: ModuleType) -> None:
    """Let the packages of CUDA and cuDNN be found, where pip installed them (since 1.21)."""
    preload = getattr(library, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints, where results are written
            preload()


def _missing_library(library: ModuleType, provider: str) -> str | None:
    """Return the name of a library without which the provider cannot be loaded, None if none."""
    name = provider.removesuffix("ExecutionProvider").lower()
    file = Path(str(library.__file__)).parent / "capi" / f"libonnxruntime_providers_{name}.so"
    if not file.exists():
        return file.name
    try:
        ctypes.CDLL(str(file.with_name("libonnxruntime_providers_shared.so")), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(file))
    except OSError as error:  # of another kind is left to the runtime, whose answer is compared
        found = _LIBRARY.search(str(error))
        return None if found is None else found[1]
    return None
