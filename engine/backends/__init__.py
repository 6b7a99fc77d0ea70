"""Backends: inference runtimes behind one small shape; they see tensors and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, cast

import numpy.typing as npt

from medge.engine.placement import Placement, TimedNode
from medge.errors import BackendError, BundleError

Tensor: TypeAlias = npt.NDArray[Any]

BACKENDS = {  # the order means nothing: a sealed choice decides, else onnxruntime at fp32
    "onnxruntime": "medge.engine.backends.ort:OnnxRuntime",
    "openvino": "medge.engine.backends.ov:OpenVINO",
    "tensorrt": "medge.engine.backends.trt.backend:TensorRT",
    "tensorrt-rtx": "medge.engine.backends.trt.backend:TensorRTRTX",
    "null": "medge.engine.backends.null:Null",  # answers at once: what remains is our own cost
}

OPT_IN = {  # never a candidate, never a default: only where somebody names it
    "onnxruntime-tensorrt": "medge.engine.backends.ort_tensorrt:OnnxRuntimeTensorRT",
}


@dataclass(frozen=True, slots=True)
class Port:
    """One named tensor of a graph; ``shape`` is that of one item, the batch comes before it."""

    name: str
    dtype: str  # as NumPy says it: "float32"
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is loaded: everything explicit, nothing left to a runtime's default."""

    device: str  # as the runtime names it: "cpu", "GPU.0"; an NVIDIA GPU is "nvidia:0"
    precision: str  # the runtime's: "fp32", "bf16", "fp16"; the graph's own is the variant
    threads: int  # of all streams together
    inputs: tuple[Port, ...]  # what the manifest promises; the graph must agree
    outputs: tuple[Port, ...]
    streams: int = 1  # how many calls may run at once, each with its part of the threads
    keep_engine: bool = False  # ``engine`` will be asked for: what was built must not be lost
    watched: bool = False  # every call is timed operation by operation, which slows it down
    batch: int = 1  # pictures that one call is expected to hold; any other number works too
    fixed_batch: bool = False  # every call holds just so many, so that shapes may be fixed


class EngineError(Exception):
    """A kept engine is not what this runtime takes back; the graph has to be built anew."""


class Backend(Protocol):
    """One inference runtime, closed by its Session; making one imports the runtime."""

    requires: ClassVar[tuple[str, ...]]  # as pip reads them; checked and printed from here
    answers: ClassVar[bool]  # whether it runs the network at all
    version: str  # the runtime's
    batch: int | None  # after load: the only batch that the graph takes, None for any
    renewed: bool  # after load: part of the engine did not fit and was made anew; keep it again

    def devices(self) -> tuple[str, ...]:
        """Return the devices of this machine that the runtime can use."""
        ...

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return the runtime precisions that a device computes in its own arithmetic."""
        ...

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """Make an ONNX graph ready to run.

        Parameters
        ----------
        engine
            What ``engine`` gave for the same graph, options, runtime and machine: opened instead of
            building again. Whoever keeps engines sees to it that they are whole.

        Raises
        ------
        BackendError
            This runtime, device or precision is not available here.
        BundleError
            The runtime refuses the graph, or the graph is not what the manifest promises.
        EngineError
            The runtime does not take the engine back.
        """

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """Run one batch; names are those of the graph.

        Inputs are C-contiguous, of the promised dtype and shape, and stay with the caller. Outputs
        are valid until the stream's next call. Different streams may run at once, on threads of the
        caller; one stream may not.
        """
        ...

    def placement(self) -> Placement:
        """Return what the loaded network really runs in; runs it once if only that can tell."""
        ...

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """Return what each operation took in every call of stream 0; none where nobody watched.

        Ends the watching.
        """
        ...

    def engine(self) -> bytes | None:
        """Return what ``load`` built, for a later ``load``; None where it cannot be handed over."""
        ...

    def close(self) -> None:
        """Release the runtime's memory; the backend cannot be used afterwards."""


def backend_class(name: str) -> type[Backend]:
    """Return the class of a backend; its runtime is imported only when one is made.

    Raises
    ------
    BackendError
        Rule ``backend-unknown``.
    """
    known = {**BACKENDS, **OPT_IN}
    if name not in known:
        raise BackendError(
            "backend-unknown", f"There is no backend of this name; known are {', '.join(known)}."
        )
    module, attribute = known[name].split(":")
    return cast("type[Backend]", getattr(importlib.import_module(module), attribute))


# A graph's tensor as its runtime tells it: name, dtype, and whole shape with None for any size.
Found: TypeAlias = tuple[str, str, Sequence["int | None"]]


def agreed_batch(inputs: Sequence[Found], outputs: Sequence[Found], options: Options) -> int | None:
    """Compare a graph with what the manifest promises; return its fixed batch, None for any.

    Raises
    ------
    BundleError
        Rule ``graph``: another name, dtype or shape than promised, or batches that differ.
    """
    batches = {
        batch
        for kind, found, promised in (
            ("input", inputs, options.inputs),
            ("output", outputs, options.outputs),
        )
        for batch in _port_batches(kind, found, promised)
    }
    fixed = {batch for batch in batches if batch is not None}
    if len(fixed) > 1:
        raise _differs(f"its tensors have batches of {' and '.join(map(str, sorted(fixed)))}")
    return next(iter(fixed), None)


def _port_batches(
    kind: str, found: Sequence[Found], promised: tuple[Port, ...]
) -> list[int | None]:
    """Check every tensor of one kind; return what each has as its batch."""
    by_name = {name: (dtype, shape) for name, dtype, shape in found}
    for port in promised:
        if port.name not in by_name:
            raise _differs(f"it has no {kind} {port.name!r}")
        dtype, shape = by_name[port.name]
        if dtype != port.dtype:
            raise _differs(f"{kind} {port.name!r} is {dtype}, promised {port.dtype}")
        agrees = all(a in (None, b) for a, b in zip(shape[1:], port.shape, strict=False))
        if len(shape) != len(port.shape) + 1 or not agrees:
            raise _differs(f"{kind} {port.name!r} is {_told(shape)}, promised {_told(port.shape)}")
    if len(by_name) != len(promised):
        raise _differs(f"it has {len(by_name)} {kind}s, promised are {len(promised)}")
    return [shape[0] for _, shape in by_name.values()]


def _told(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _differs(found: str) -> BundleError:
    return BundleError(
        "graph", f"The graph is not what the manifest promises: {found}. Export the bundle again."
    )
