"""OpenVINO: precision always stated and read back, telemetry blocked before the import."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Struct

from medge.engine.backends import EngineError, Found, Options, Port, Tensor, agreed_batch
from medge.engine.backends.ov_compile import Job, shared_compiler
from medge.engine.backends.silence import silent_openvino
from medge.engine.placement import PRECISIONS, Node, Placement, TimedNode, tally
from medge.errors import BackendError, BundleError

if TYPE_CHECKING:
    import openvino

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # a runtime precision, and OpenVINO's word

# Convolutions and matrix products: OpenVINO's operators, and the layers its CPU and GPU make of
# them. A layer of another type holds them too where it was fused from several operators.
OPERATORS = frozenset(
    {
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
        "MatMul",
    }
)
LAYERS = frozenset(
    {
        "Convolution",
        "Deconvolution",
        "FullyConnected",
        "MatMul",
        "Gemm",
        "ScaledDotProductAttention",
    }
)
NOT_EXECUTED = frozenset({"", "Const", "Constant", "Input", "Parameter", "Output", "Result"})

_QUANTIZED = (b"uantizeLinear", b"QLinear")  # of operators' names, as ONNX files spell them

_MISSING_OPERATORS = re.compile(r"not support the following ONNX operations:\s*([\w.]{1,64})")


class _Engine(Struct, frozen=True):
    """What a later load needs: OpenVINO's own blob, and the facts that are not in it."""

    blob: bytes
    batch: int | None
    compute: tuple[str, ...]  # names of the graph's convolutions and matrix products


class OpenVINO:
    """Runs the graph on the device that was named; outputs are written into arrays kept here.

    Where every call holds the same number of pictures, shapes are fixed before the graph is
    compiled: with free ones every layer of every call asks for its shape anew, a third of the time
    of a network of a millisecond (docs/decisions/choosing.md).

    Quantized graphs are compiled in a process of their own: OpenVINO's passes for them have
    crashed (docs/decisions/openvino.md).
    """

    requires: ClassVar[tuple[str, ...]] = ("openvino>=2025.2",)
    answers: ClassVar[bool] = True
    renewed = False

    def __init__(self) -> None:
        self._library = silent_openvino()
        self.version = str(self._library.__version__).partition("-")[0]
        self.batch: int | None = None
        self._streams: list[_Stream] = []
        self._compiled: openvino.CompiledModel | None = None
        self._watch: _Watch | None = None
        self._blob: bytes | None = None

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; an engine is the compiled model that OpenVINO exports."""
        ov = self._library
        core = ov.Core()
        device = "CPU" if options.device == "cpu" else options.device
        _check_device(core, device, options.precision)
        properties = _properties(device, options)
        if engine is None:
            compiled = self._build(core, model, device, properties, options)
        else:
            compiled = self._open(core, engine, device, properties)
        self._read_placement(compiled)
        _check_precision(compiled, options.precision, self._placement)
        if device == "CPU":
            _check_threads(compiled, options)
        self._compiled = compiled
        self._streams = [
            _Stream(ov, compiled.create_infer_request(), options) for _ in range(options.streams)
        ]
        if options.watched:
            self._watch = watch = _Watch(compiled, self._streams[0])
            self._streams[0].run = watch.run

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices."""
        present = self._library.Core().available_devices
        return tuple("cpu" if name == "CPU" else name for name in present)

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions."""
        name = "CPU" if device == "cpu" else device
        able = self._library.Core().get_property(name, "OPTIMIZATION_CAPABILITIES")
        return tuple(precision for precision in HINTS if precision.upper() in able)

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        lane = self._streams[stream]
        try:
            for name, array in inputs.items():
                if lane.bound.get(name) is not array:
                    lane.bind(name, array)
            lane.run()
        except RuntimeError as error:
            raise BackendError(
                "runtime-failed",
                f"openvino failed while running the network ({type(error).__name__}). "
                "Free memory, or try --backend onnxruntime.",
            ) from None
        return lane.outputs

    def placement(self) -> Placement:
        """See Backend.placement."""
        return self._placement

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """See Backend.timed_nodes."""
        watch, self._watch = self._watch, None
        if watch is None:
            return ()
        self._streams[0].run = watch.request.infer
        return watch.nodes()

    def engine(self) -> bytes | None:
        """See Backend.engine."""
        if self._compiled is None:
            return None
        blob, self._blob = self._blob, None
        if blob is None:
            try:
                exported = self._compiled.export_model()
            except RuntimeError:  # not every device can
                return None
            blob = exported if isinstance(exported, bytes) else exported.getvalue()
        return msgspec.msgpack.encode(_Engine(blob, self.batch, tuple(sorted(self._compute))))

    def close(self) -> None:
        """See Backend.close."""
        self._streams = []
        self._compiled = None
        self._watch = None

    def _build(
        self,
        core: openvino.Core,
        model: bytes,
        device: str,
        properties: dict[str, Any],
        options: Options,
    ) -> openvino.CompiledModel:
        try:
            graph = core.read_model(model)
            self.batch = _agreed_batch(graph, options)
            self._compute = {
                node.get_friendly_name()
                for node in graph.get_ops()
                if node.get_type_name() in OPERATORS
            }
            shapes: dict[str, list[int]] = {}
            if options.fixed_batch and self.batch is None:
                shapes = {port.name: [options.batch, *port.shape] for port in options.inputs}
            if device == "CPU" and any(word in model for word in _QUANTIZED):
                blob = shared_compiler().blob(Job(model, device, properties, shapes))
                self._blob = blob if options.keep_engine else None
                return core.import_model(io.BytesIO(blob), device, properties)
            if shapes:
                graph.reshape(shapes)
            return core.compile_model(graph, device, properties)
        except RuntimeError as error:
            raise _refusal(error, self.version) from None

    def _open(
        self, core: openvino.Core, engine: bytes, device: str, properties: dict[str, Any]
    ) -> openvino.CompiledModel:
        try:
            kept = msgspec.msgpack.decode(engine, type=_Engine)
            self.batch, self._compute = kept.batch, set(kept.compute)
            return core.import_model(io.BytesIO(kept.blob), device, properties)
        except (RuntimeError, msgspec.DecodeError) as error:
            raise EngineError(type(error).__name__) from None

    def _read_placement(self, compiled: openvino.CompiledModel) -> None:
        told = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
        self._placement = tally(
            _node(facts, self._compute)
            for facts in told
            if _text(facts, "layerType") not in NOT_EXECUTED
        )


class _Stream:
    """What one call at a time needs: a request with its bound inputs and outputs."""

    def __init__(
        self, library: ModuleType, request: openvino.InferRequest, options: Options
    ) -> None:
        self.run: Callable[[], object] = request.infer
        self.bound: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.request = request
        self._library = library
        self._options = options

    def bind(self, name: str, array: Tensor) -> None:
        """Let the runtime read from ``array`` itself, and write to arrays of the same batch."""
        request = self.request
        if array.flags.writeable:
            request.set_tensor(name, self._library.Tensor(array, shared_memory=True))
            self.bound[name] = array  # also keeps its memory alive while it is bound
        else:  # openvino shares no read-only memory; the copy holds for this call alone
            request.set_tensor(name, self._library.Tensor(array, shared_memory=False))
            self.bound.pop(name, None)
        batch = len(array)
        if any(len(output) == batch for output in self.outputs.values()):
            return
        self.outputs = {
            port.name: np.empty((batch, *port.shape), port.dtype) for port in self._options.outputs
        }
        for port_name, output in self.outputs.items():
            request.set_tensor(port_name, self._library.Tensor(output, shared_memory=True))


class _Watch:
    """Notes what each layer took, after every call of one stream."""

    def __init__(self, compiled: openvino.CompiledModel, stream: _Stream) -> None:
        self.request = stream.request
        self._precisions = {
            node.get_friendly_name(): _text(node.get_rt_info(), "runtimePrecision")
            for node in compiled.get_runtime_model().get_ops()
        }
        self._calls: list[dict[tuple[str, str], int]] = []

    def run(self) -> None:
        """Run once, and note."""
        self.request.infer()
        call: dict[tuple[str, str], int] = {}
        for layer in self.request.get_profiling_info():
            if layer.status == layer.Status.EXECUTED:
                time_us = layer.real_time // timedelta(microseconds=1)
                call[layer.node_name, layer.node_type] = 1000 * time_us
        self._calls.append(call)

    def nodes(self) -> tuple[TimedNode, ...]:
        """Return all layers that ran, in the order in which they first did."""
        seen = dict.fromkeys(key for call in self._calls for key in call)
        return tuple(
            TimedNode(
                name,
                kind,
                PRECISIONS.get(precision := self._precisions.get(name, "untold"), precision),
                tuple(call.get((name, kind), 0) for call in self._calls),
            )
            for name, kind in seen
        )


def _check_device(core: openvino.Core, device: str, precision: str) -> None:
    present = core.available_devices
    if device not in present:
        raise BackendError(
            "device",
            f"openvino finds {', '.join(present) or 'no device'} here, not the device asked for. "
            "Choose one of these, or install the driver.",
        )
    able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if precision != "fp32" and precision.upper() not in able:
        raise BackendError(
            "precision",
            f"{device} cannot compute in {precision}; openvino lists {', '.join(sorted(able))}. "
            "Choose --precision fp32.",
        )


def _properties(device: str, options: Options) -> dict[str, Any]:
    """Leave nothing to a default: OpenVINO's own precision is bf16 on some machines."""
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[options.precision],
        "PERFORMANCE_HINT": "LATENCY" if options.streams == 1 else "THROUGHPUT",
    }
    if options.watched:
        properties["PERF_COUNT"] = True
    if device == "CPU":
        # Pinned threads of two processes would share the first cores and leave others idle.
        properties |= {
            "NUM_STREAMS": str(options.streams),
            "INFERENCE_NUM_THREADS": options.threads,
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": True,
        }
    return properties


def _node(facts: Mapping[str, Any], compute: set[str]) -> Node:
    """Read one layer; fused ones name all operators that they came from."""
    kind = _text(facts, "layerType")
    origins = compute.intersection(_text(facts, "originalLayersNames").split(","))
    return Node(
        kind=kind,
        precision=_text(facts, "runtimePrecision"),
        layers=max(len(origins), int(kind in LAYERS)),
    )


def _text(facts: Mapping[str, Any], key: str) -> str:
    return str(facts[key].astype(str)) if key in facts else ""


def _check_precision(
    compiled: openvino.CompiledModel, precision: str, placement: Placement
) -> None:
    """Read back the hint, and whether layers run in a precision that nobody asked for."""
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    runs = {name for counts in placement.nodes.values() for name in counts}
    narrow = runs & {"bf16", "fp16"}
    if hint != HINTS[precision] or narrow != {precision} - {"fp32"}:
        raise BackendError(
            "precision",
            f"openvino was told {precision} and runs {PRECISIONS.get(hint, hint)} with layers in "
            f"{', '.join(sorted(runs))}. Choose another precision or --backend onnxruntime.",
        )


def _check_threads(compiled: openvino.CompiledModel, options: Options) -> None:
    for name, asked in (
        ("INFERENCE_NUM_THREADS", options.threads),
        ("NUM_STREAMS", options.streams),
    ):
        found = int(compiled.get_property(name))
        if found != asked:
            what = "threads" if name == "INFERENCE_NUM_THREADS" else "streams"
            raise BackendError(
                "threads",
                f"openvino runs {found} {what}, {asked} were asked for. Ask for at most {found}.",
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
