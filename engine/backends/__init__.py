"""Backends: inference runtimes behind one small shape; they see tensors and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy.typing as npt

Tensor: TypeAlias = npt.NDArray[Any]

BACKENDS = {  # the order means nothing: a sealed choice decides, else onnxruntime at fp32
    "onnxruntime": "medge.engine.backends.ort:OnnxRuntime",
    "openvino": "medge.engine.backends.ov:OpenVINO",
    "null": "medge.engine.backends.null:Null",  # answers at once: what remains is our own cost
}


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is loaded: everything explicit, nothing left to a runtime's default."""

    device: str  # as the runtime names it: "cpu", "GPU.0"
    precision: str  # runtime precision: "fp32" or "bf16"; the graph's own precision is the variant
    threads: int


class Backend(Protocol):
    """One inference runtime, closed by its Session."""

    requires: ClassVar[tuple[str, ...]]  # as pip reads them; checked and printed from here
    version: str

    def load(self, model: bytes, options: Options) -> None:
        """Make an ONNX graph ready to run; BackendError when this runtime or device cannot."""

    def infer(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run one batch; names are those of the graph, arrays are valid until the next call."""

    def close(self) -> None:
        """Release the runtime's memory; the backend cannot be used afterwards."""
