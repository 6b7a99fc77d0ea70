"""Streams of ONNX Runtime: bound inputs and outputs, on the CPU and on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from medge.engine.backends import Options, Tensor

if TYPE_CHECKING:
    import onnxruntime


class Stream:
    """What one call at a time needs on the CPU: the runtime reads and writes arrays in place."""

    def __init__(
        self, library: ModuleType, session: onnxruntime.InferenceSession, options: Options
    ) -> None:
        self.session = session
        self.binding = session.io_binding()
        self.run: Any = session.run_with_iobinding
        self.outputs: dict[str, Tensor] = {}
        self._bound: dict[str, Tensor] = {}
        self._library = library
        self._options = options

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Let the next call read these arrays; those of the call before stay bound."""
        for name, array in inputs.items():
            if self._bound.get(name) is not array:
                value = self._library.OrtValue.ortvalue_from_numpy(array)
                self.binding.bind_ortvalue_input(name, value)
                self._bound[name] = array  # also keeps its memory alive while it is bound
                self._bind_outputs(len(array))

    def _bind_outputs(self, batch: int) -> None:
        """Let the runtime write to arrays of this batch."""
        if any(len(output) == batch for output in self.outputs.values()):
            return
        self.outputs = {
            port.name: np.empty((batch, *port.shape), port.dtype) for port in self._options.outputs
        }
        for name, output in self.outputs.items():
            self.binding.bind_output(name, "cpu", 0, output.dtype, output.shape, output.ctypes.data)


class CudaStream(Stream):
    """The same on a GPU: inputs are copied into its memory before each call, outputs after it.

    Binding an array of the CPU to a graph on a GPU copies it once, when it is bound, and never
    looks at it again (``IOBinding::BindInput``): bound as above, every later picture would get the
    first one's answer. So memory of the GPU is bound, and written before each call.
    """

    def __init__(
        self,
        library: ModuleType,
        session: onnxruntime.InferenceSession,
        options: Options,
        ordinal: int,
    ) -> None:
        super().__init__(library, session, options)
        self._ordinal = ordinal
        self._held: dict[str, tuple[tuple[int, ...], Any]] = {}  # shape, and memory of the GPU

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Copy these arrays to the GPU; returns when they are there."""
        for name, array in inputs.items():
            shape, value = self._held.get(name, ((), None))
            if shape != array.shape:
                value = self._library.OrtValue.ortvalue_from_shape_and_type(
                    array.shape, array.dtype.type, "cuda", self._ordinal
                )
                self.binding.bind_ortvalue_input(name, value)
                self._held[name] = array.shape, value
                self._bind_outputs(len(array))
            value.update_inplace(array)
