"""OpenVINO: precision always stated and read back, telemetry blocked before the import."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from medge.engine.backends import Found, Options, Port, Tensor, agreed_batch
from medge.engine.backends.silence import silent_openvino
from medge.errors import BackendError, BundleError

if TYPE_CHECKING:
    import openvino

HINTS = {"fp32": "f32", "bf16": "bf16"}  # our word for a runtime precision and OpenVINO's

_MISSING_OPERATORS = re.compile(r"not support the following ONNX operations:\s*([\w.]{1,64})")


class OpenVINO:
    """Runs the graph on the device that was named; outputs are written into arrays kept here."""

    requires: ClassVar[tuple[str, ...]] = ("openvino>=2025.2",)
    answers: ClassVar[bool] = True

    def __init__(self) -> None:
        self._library = silent_openvino()
        self.batch: int | None = None
        self._request: openvino.InferRequest | None = None
        self._bound: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}

    def load(self, model: bytes, options: Options) -> None:
        """See Backend.load."""
        ov = self._library
        core = ov.Core()
        device = "CPU" if options.device == "cpu" else options.device
        _check_device(core, device, options.precision)
        try:
            graph = core.read_model(model)
            self.batch = _agreed_batch(graph, options)
            compiled = core.compile_model(graph, device, _properties(device, options))
        except RuntimeError as error:
            raise _refusal(error, ov.__version__.partition("-")[0]) from None
        _check_precision(compiled, options.precision)
        if device == "CPU":
            _check_threads(compiled, options.threads)
        self._options = options
        request = compiled.create_infer_request()
        self._request = request
        self._infer = request.infer

    def infer(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        try:
            for name, array in inputs.items():
                if self._bound.get(name) is not array:
                    self._bind(name, array)
            self._infer()
        except RuntimeError as error:
            raise BackendError(
                "runtime-failed",
                f"openvino failed while running the network ({type(error).__name__}). "
                "Free memory, or try --backend onnxruntime.",
            ) from None
        return self._outputs

    def close(self) -> None:
        """See Backend.close."""
        self._bound.clear()
        self._outputs = {}
        if self._request is not None:
            del self._infer
            self._request = None

    def _bind(self, name: str, array: Tensor) -> None:
        """Let the runtime read from ``array`` itself, and write to arrays of the same batch."""
        request = cast("openvino.InferRequest", self._request)
        if array.flags.writeable:
            request.set_tensor(name, self._library.Tensor(array, shared_memory=True))
            self._bound[name] = array  # also keeps its memory alive while it is bound
        else:  # openvino shares no read-only memory; the copy holds for this call alone
            request.set_tensor(name, self._library.Tensor(array, shared_memory=False))
            self._bound.pop(name, None)
        batch = len(array)
        if any(len(output) == batch for output in self._outputs.values()):
            return
        self._outputs = {
            port.name: np.empty((batch, *port.shape), port.dtype) for port in self._options.outputs
        }
        for port_name, output in self._outputs.items():
            request.set_tensor(port_name, self._library.Tensor(output, shared_memory=True))


def _check_device(core: openvino.Core, device: str, precision: str) -> None:
    present = core.available_devices
    if device not in present:
        raise BackendError(
            "device",
            f"openvino finds {', '.join(present) or 'no device'} here, not the device asked for. "
            "Choose one of these, or install the driver.",
        )
    able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if precision != "fp32" and HINTS[precision].upper() not in able:
        raise BackendError(
            "precision",
            f"{device} cannot compute in {precision}; openvino lists {', '.join(sorted(able))}. "
            "Choose --precision fp32.",
        )


def _properties(device: str, options: Options) -> dict[str, Any]:
    """Leave nothing to a default: OpenVINO's own precision is bf16 on some machines."""
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[options.precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if device == "CPU":
        # Pinned threads of two processes would share the first cores and leave others idle.
        properties |= {
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": options.threads,
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": True,
        }
    return properties


def _check_precision(compiled: openvino.CompiledModel, precision: str) -> None:
    """Read back the hint, and what the layers really run in."""
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    runs = {
        str(node.get_rt_info()["runtimePrecision"].astype(str))
        for node in compiled.get_runtime_model().get_ops()
        if "runtimePrecision" in node.get_rt_info()
    }
    narrow = runs & {"bf16", "f16"}
    expected = {"bf16"} if precision == "bf16" else set()
    if hint != HINTS[precision] or narrow != expected:
        raise BackendError(
            "precision",
            f"openvino was told {HINTS[precision]} and runs {hint} with layers in "
            f"{', '.join(sorted(runs))}. Choose another precision or --backend onnxruntime.",
        )


def _check_threads(compiled: openvino.CompiledModel, threads: int) -> None:
    found = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    if found != threads:
        raise BackendError(
            "threads",
            f"openvino runs {found} threads, {threads} were asked for. Ask for at most {found}.",
        )


def _agreed_batch(graph: openvino.Model, options: Options) -> int | None:
    return agreed_batch(
        [_found(node, options.inputs) for node in graph.inputs],
        [_found(node, options.outputs) for node in graph.outputs],
        options,
    )


def _found(node: Any, promised: Sequence[Port]) -> Found:
    """Describe a tensor; of its several names the promised one."""
    names = node.get_names()
    name = next((port.name for port in promised if port.name in names), node.get_any_name())
    shape = [size.get_length() if size.is_static else None for size in node.get_partial_shape()]
    return name, np.dtype(node.get_element_type().to_dtype()).name, shape


def _refusal(error: Exception, version: str) -> BundleError:
    """Say which kind of refusal it is; the runtime's own text is not passed on."""
    operator = _MISSING_OPERATORS.search(str(error))
    found = f"has no operator {operator[1]}" if operator else "refuses the graph"
    return BundleError(
        "graph",
        f"openvino {version} {found}. Choose --backend onnxruntime, or export the "
        "bundle again with an older opset.",
    )
