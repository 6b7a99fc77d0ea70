"""Runtimes that latency is estimated for: how each one runs a network, and where it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medge.errors import UsageError
from medge.profiles.target import Target


@dataclass(frozen=True, slots=True)
class Runtime:
    """One class of runtimes that run a network alike.

    Parameters
    ----------
    family
        Classes of one family share what measurements cannot tell apart yet.
    fuses
        Whether normalisation and activation are computed with the convolution before them.
    needs
        ``vendor kind`` pairs that it runs on; empty is everywhere.
    spellings
        Lower case; how the names of published measurements begin.
    """

    id: str
    family: str
    fuses: bool
    needs: tuple[str, ...]
    spellings: tuple[str, ...]


_CUDA_OR_CPU = ("NVIDIA gpu", "any cpu")
RUNTIMES = (
    # torch 0.x to 1.1 spent other times on the host and chose other kernels than later versions.
    Runtime(
        "pytorch-legacy", "eager", False, _CUDA_OR_CPU, ("pytorch (0.", "pytorch 0.", "pytorch 1.0")
    ),
    Runtime("torch-compile", "compiled", True, _CUDA_OR_CPU, ("torch-compile", "torch.compile")),
    Runtime("torch7", "graph", False, ("NVIDIA gpu",), ("torch7",)),
    Runtime("pytorch", "eager", False, _CUDA_OR_CPU, ("pytorch", "torch")),
    Runtime("mxnet", "graph", False, _CUDA_OR_CPU, ("mxnet",)),
    Runtime("tensorflow", "graph", False, _CUDA_OR_CPU, ("tensorflow", "keras")),
    Runtime("caffe", "graph", False, _CUDA_OR_CPU, ("caffe", "intel optimized caffe")),
    Runtime("tensorrt", "compiled", True, ("NVIDIA gpu",), ("tensorrt",)),
    Runtime("paddle", "compiled", True, _CUDA_OR_CPU, ("paddle",)),
    Runtime("openvino", "compiled", True, ("Intel gpu", "any cpu"), ("openvino",)),
    Runtime("onnxruntime", "compiled", True, _CUDA_OR_CPU, ("onnxruntime", "onnx runtime", "ort")),
    Runtime("ncnn-vulkan", "ncnn", True, ("any gpu",), ("ncnn vulkan", "ncnn-vulkan")),
    Runtime("ncnn", "ncnn", True, ("any cpu",), ("ncnn",)),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A runtime as it was asked for; ``threads`` is None where the text does not tell."""

    runtime: Runtime
    threads: int | None


def find_runtime(text: str) -> Setting:
    """Return the runtime that a name means, with the number of threads if it tells one.

    Accepts the ids above and what measurements print: ``ncnn CPU 4 threads``, ``TensorRT
    (torch2trt)``, ``MXNet 1.2.0 cuDNN 7.0.5``.

    Raises
    ------
    UsageError
        No class of runtimes is known by this name.
    """
    words = text.strip().lower()
    threads = re.search(r"\b(\d{1,3}) threads?\b", words)
    if "torch.compile" in words or "dynamo" in words:
        words = "torch-compile"
    for runtime in RUNTIMES:
        if words == runtime.id or words.startswith(runtime.spellings):
            return Setting(runtime, int(threads[1]) if threads else None)
    raise UsageError(
        "estimate-runtime",
        f"{text[:60]!r} is no runtime that latency can be estimated for. Known are "
        f"{', '.join(runtime.id for runtime in RUNTIMES)}.",
    )


def can_run(runtime: Runtime, target: Target) -> bool:
    """Return whether the runtime has kernels for this kind of hardware."""
    return not runtime.needs or any(
        need in (f"{target.vendor} {target.kind}", f"any {target.kind}") for need in runtime.needs
    )
