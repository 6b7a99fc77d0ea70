"""Parse and build, inside the process that may crash: an ONNX graph in, a plan out."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from medge.engine.backends import Found, Options, agreed_batch
from medge.engine.backends.trt.library import MODULES, started, version_of
from medge.engine.backends.trt.plan import Plan, PlanRequest
from medge.engine.backends.trt.words import PlanRefusedError, Reason, reason_of
from medge.errors import BundleError

_COMPUTE = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED", "EINSUM")


@cache
def listener_of(trt: Any) -> Any:
    """Return the logger of this library that keeps warnings and errors and prints nothing.

    There is one in a process: the library remembers the first that it is given.
    """

    class Listener(trt.ILogger):  # type: ignore[misc]  # the class exists only once it is imported
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.words: list[str] = []

        def log(self, severity: Any, words: str) -> None:
            if severity.value <= trt.ILogger.WARNING.value:  # the worst is 0
                self.words.append(words)

    return Listener()


def build(trt: Any, request: PlanRequest, model: bytes) -> Plan:
    """Return what the library makes of a graph.

    Raises
    ------
    PlanRefusedError
        It does not take the graph.
    BundleError
        Rule ``graph``: the graph is not what the manifest promises.
    """
    start = time.perf_counter()
    logger = listener_of(trt)
    logger.words.clear()
    builder = started(trt.Builder, logger, request.flavour)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    parsed = bool(parser.parse(model))
    if not parsed or _misread(logger):
        raise _refusal_of_parser(trt, request, parser, logger)
    batch = _agreed(network, request)
    config = builder.create_builder_config()
    compute = _compute_layers(trt, network)
    timed = _configure(trt, request, config, network)
    if batch is None:
        _add_profile(request, builder, config, network)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise _refused(trt, request, "", reason_of("", "\n".join(logger.words)))
    return Plan(
        plan=bytes(serialised),
        compute=compute,
        batch=batch,
        seconds=time.perf_counter() - start,
        package=MODULES[request.flavour],
        version=version_of(trt),
        timing_cache=bytes(config.get_timing_cache().serialize()) if timed else b"",
    )


def _network_flags(trt: Any) -> int:
    """Ask for the graph's own types: every TensorRT from 10.0 can, 11 cannot do otherwise.

    TensorRT 8 knows no strong types and wants to be told that the batch is in the graph.
    """
    kinds = trt.NetworkDefinitionCreationFlag
    name = "STRONGLY_TYPED" if hasattr(kinds, "STRONGLY_TYPED") else "EXPLICIT_BATCH"
    return 1 << int(getattr(kinds, name))


def _agreed(network: Any, request: PlanRequest) -> int | None:
    options = Options(
        device=request.device,
        precision="fp32",
        threads=1,
        inputs=request.inputs,
        outputs=request.outputs,
    )
    inputs = [_found(network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [_found(network.get_output(index)) for index in range(network.num_outputs)]
    return agreed_batch(inputs, outputs, options)


def _found(tensor: Any) -> Found:
    names = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32"}
    dtype = names.get(tensor.dtype.name, tensor.dtype.name.lower())
    return tensor.name, dtype, [None if size < 0 else size for size in tuple(tensor.shape)]


def _configure(trt: Any, request: PlanRequest, config: Any, network: Any) -> bool:
    """State everything; return whether kernels are timed, so that a timing cache is of use."""
    # fp32 means fp32: left alone, TensorRT multiplies it in TF32, with 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if request.compute_capabilities:
        asked = sorted(set(request.compute_capabilities), key=float)
        config.num_compute_capabilities = len(asked)
        for index, capability in enumerate(asked):
            member = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
            config.set_compute_capability(member, index)
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        _allow_types_of(trt, config, network)
        # TensorRT 8 gives each context a profile of its own, and there is one for all streams.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if request.flavour == "tensorrt-rtx":  # it chooses kernels without timing any
        return False
    known = config.create_timing_cache(request.timing_cache)
    if known is None:  # it does not take these times back
        known = config.create_timing_cache(b"")
    return bool(config.set_timing_cache(known, False))


def _allow_types_of(trt: Any, config: Any, network: Any) -> None:
    """Let TensorRT 8 use the types that are in the graph, and hold it to them.

    What reads a DequantizeLinear is left alone: there Q and DQ say what it is computed in, and its
    own output, a float until the library joins them, would say otherwise.
    """
    types = {
        layer.get_output(index).dtype.name
        for layer in _layers(network)
        for index in range(layer.num_outputs)
    }
    if "HALF" in types:
        config.set_flag(trt.BuilderFlag.FP16)
    if "INT8" in types:
        config.set_flag(trt.BuilderFlag.INT8)
    if "HALF" in types:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        integers = {
            layer.get_output(0).name
            for layer in _layers(network)
            if layer.type.name == "DEQUANTIZE"
        }
        for layer in filter(_computes, _layers(network)):
            read = {layer.get_input(index).name for index in range(layer.num_inputs)}
            if layer.get_output(0).dtype.name in ("FLOAT", "HALF") and not read & integers:
                layer.precision = layer.get_output(0).dtype


def _add_profile(request: PlanRequest, builder: Any, config: Any, network: Any) -> None:
    """State how many pictures a call may hold."""
    sizes = {port.name: port.shape for port in request.inputs}
    batches = request.batches
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(
            name,
            *((batch, *sizes[name]) for batch in (batches.least, batches.best, batches.most)),
        )
    config.add_optimization_profile(profile)


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def _computes(layer: Any) -> bool:
    return layer.type.name in _COMPUTE


def _compute_layers(trt: Any, network: Any) -> tuple[str, ...]:
    return tuple(layer.name for layer in _layers(network) if _computes(layer))


def _misread(logger: Any) -> bool:
    """Whether it took the graph as something that it is not, with a warning and no more."""
    return any(reason_of("", words) == "uint8" for words in logger.words)


def _refusal_of_parser(trt: Any, request: PlanRequest, parser: Any, logger: Any) -> BundleError:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = [(_operator(error), reason_of(error.code().name, error.desc())) for error in errors]
    for operator, reason in sorted(told, key=lambda each: not each[0]):  # one with a name first
        return _refused(trt, request, operator, reason)
    if _misread(logger):
        return _refused(trt, request, "QuantizeLinear", "uint8")
    return _refused(trt, request, "", "no-graph")


def _operator(error: Any) -> str:
    return str(error.node_operator()) if hasattr(error, "node_operator") else ""


def _refused(trt: Any, request: PlanRequest, operator: str, reason: Reason) -> PlanRefusedError:
    return PlanRefusedError(f"{request.flavour} {version_of(trt)}", operator, reason)
