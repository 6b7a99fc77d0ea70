"""ONNX Runtime on the CPU: one named provider, our threads, no output on stderr."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from medge.engine.backends import Found, Options, Tensor, agreed_batch
from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BackendError, BundleError

if TYPE_CHECKING:
    import onnxruntime

PROVIDER = "CPUExecutionProvider"
FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_NO_KERNEL = re.compile(r"implementation for (\w{1,64})\((\d{1,3})\)")


class OnnxRuntime:
    """Runs the graph with ``CPUExecutionProvider``; outputs are written into arrays kept here."""

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime>=1.17",)
    answers: ClassVar[bool] = True

    def __init__(self) -> None:
        self._library = silent_onnxruntime()
        self.batch: int | None = None
        self._session: onnxruntime.InferenceSession | None = None
        self._bound: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}

    def load(self, model: bytes, options: Options) -> None:
        """See Backend.load."""
        if options.device != "cpu" or options.precision != "fp32":
            raise BackendError(
                "backend-option",
                f"onnxruntime runs at fp32 on cpu here, not at {options.precision} on "
                f"{options.device}. Choose these, or another backend.",
            )
        onnxruntime = self._library
        onnxruntime.set_default_logger_severity(FATAL)
        try:
            session = onnxruntime.InferenceSession(
                model, _session_options(onnxruntime, options.threads), providers=[PROVIDER]
            )
        except Exception as error:  # its classes have no base of their own
            raise _refusal(error, onnxruntime.__version__) from None
        if session.get_providers() != [PROVIDER]:
            raise BackendError(
                "provider", f"onnxruntime did not take {PROVIDER}. Install it again."
            )
        session.disable_fallback()
        self.batch = agreed_batch(
            [_found(node) for node in session.get_inputs()],
            [_found(node) for node in session.get_outputs()],
            options,
        )
        self._session = session
        self._options = options
        self._binding = session.io_binding()
        self._run = session.run_with_iobinding

    def infer(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        try:
            for name, array in inputs.items():
                if self._bound.get(name) is not array:
                    self._bind(name, array)
            self._run(self._binding)
        except Exception as error:  # its classes have no base of their own
            raise BackendError(
                "runtime-failed",
                f"onnxruntime failed while running the network ({type(error).__name__}). "
                "Free memory, or try --backend openvino.",
            ) from None
        return self._outputs

    def close(self) -> None:
        """See Backend.close."""
        self._bound.clear()
        self._outputs = {}
        if self._session is not None:
            del self._binding, self._run
            self._session = None

    def _bind(self, name: str, array: Tensor) -> None:
        """Let the runtime read from ``array`` itself, and write to arrays of the same batch."""
        self._binding.bind_ortvalue_input(name, self._library.OrtValue.ortvalue_from_numpy(array))
        self._bound[name] = array  # also keeps its memory alive while it is bound
        batch = len(array)
        if any(len(output) == batch for output in self._outputs.values()):
            return
        self._outputs = {
            port.name: np.empty((batch, *port.shape), port.dtype) for port in self._options.outputs
        }
        for port_name, output in self._outputs.items():
            self._binding.bind_output(
                port_name, "cpu", 0, output.dtype, output.shape, output.ctypes.data
            )


def _session_options(onnxruntime: ModuleType, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = FATAL
    # Threads that spin between layers are 5-10 % faster at batch 1. Between frames they would burn
    # the core that decodes the next frame, so they stop when a run ends (measured: equal latency).
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _found(node: Any) -> Found:
    shape = [size if isinstance(size, int) else None for size in node.shape]
    return node.name, str(_DTYPES.get(node.type, node.type)), shape


def _refusal(error: Exception, version: str) -> BundleError:
    """Say which kind of refusal it is; the runtime's own text is not passed on."""
    kernel = _NO_KERNEL.search(str(error))
    if kernel:
        found = f"has no kernel for operator {kernel[1]} of opset {kernel[2]}"
    else:
        found = f"refuses the graph ({type(error).__name__})"
    return BundleError(
        "graph",
        f"onnxruntime {version} {found}. Export the bundle again with an older opset, or update "
        "onnxruntime.",
    )
