"""Build an engine with the TensorRT of this machine, and run it on the first GPU (Python 3.6)."""

import ctypes
import hashlib
import importlib
import os
import time
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
CUDA_LIBRARIES = (
    *("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"),
    *("libcudart.so.10.2", "/usr/local/cuda/lib64/libcudart.so"),
)
BLOCKING_EVENT = 1  # cudaEventBlockingSync: a thread that waits does not keep a core busy
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
SM_COUNT, MAJOR, MINOR = 16, 75, 76  # cudaDeviceAttr
WORKSPACE_PART = 4  # a quarter of the memory, which a Jetson's CPU and GPU share
NOT_USABLE = "finds no GPU that it can use; look whether its driver is loaded"
TYPES = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "INT8": "i1", "UINT8": "u1"}
NO_GPU = (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice
EVENTS = ("copy_in_ns", "compute_ns", "copy_out_ns")  # between four CUDA events

Json = Dict[str, Any]


class RefusedError(Exception):
    """What keeps a graph from being measured: a short stable name, and a sentence."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


class Cuda:
    """CUDA's runtime library, as far as copying and timing need it."""

    def __init__(self) -> None:
        self._library = self._load()

    @staticmethod
    def _load() -> Any:
        for name in CUDA_LIBRARIES:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue  # the next name is tried; none at all is told below
        raise RefusedError("no-cuda", "CUDA's runtime library is not found; install JetPack's CUDA")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that answers with an error number."""
        status = getattr(self._library, name)(*arguments)
        if status in NO_GPU:
            raise RefusedError(
                "no-gpu", "CUDA finds no GPU that it can use; look whether its driver is loaded"
            )
        if status:
            raise RefusedError("cuda", f"{name} answers with error {status}")

    def pointer(self, name: str, *arguments: Any) -> Any:
        """Call a function that makes something; return it."""
        made = ctypes.c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        return made

    def number(self, name: str, *arguments: Any) -> int:
        """Call a function that tells a number."""
        told = ctypes.c_int()
        self.call(name, ctypes.byref(told), *arguments)
        return told.value

    def pinned(self, count_bytes: int) -> Tuple[Any, Any]:
        """Return the address of memory that the GPU reads itself, and its bytes."""
        made = self.pointer("cudaHostAlloc", ctypes.c_size_t(count_bytes), 0)
        held: Any = (ctypes.c_byte * count_bytes).from_address(made.value)
        return made, np.frombuffer(held, dtype=np.uint8)

    def elapsed_ns(self, start: Any, end: Any) -> int:
        """Return the time between two events; CUDA tells it in steps of half a microsecond."""
        told = ctypes.c_float()
        self.call("cudaEventElapsedTime", ctypes.byref(told), start, end)
        return round(told.value * 1e6)

    def gpu(self) -> Json:
        """Return what CUDA tells of the first GPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        major, minor, count = (
            self.number("cudaDeviceGetAttribute", key, 0) for key in (MAJOR, MINOR, SM_COUNT)
        )
        return {
            "compute_capability": f"{major}.{minor}",
            "sm_count": count,
            "memory_bytes": total.value,
            "cuda": self.number("cudaRuntimeGetVersion"),
        }


class Buffer:
    """One input or output: pinned memory here, memory of the GPU, and its bytes as an array."""

    def __init__(self, cuda: Cuda, name: str, shape: Tuple[int, ...], dtype: Any) -> None:
        self.name = name
        self.bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.host, raw = cuda.pinned(self.bytes)
        self.array = raw.view(dtype).reshape(shape)
        self.device = cuda.pointer("cudaMalloc", ctypes.c_size_t(self.bytes))


class TensorRT:
    """Builds with the TensorRT of this machine, 8.2 or later, and runs on the first GPU."""

    def __init__(self, flavour: str, build: Json) -> None:
        try:
            self.trt: Any = importlib.import_module(MODULES[flavour])
        except ImportError as absent:
            missing = absent.name or MODULES[flavour]
            raise RefusedError(
                "no-tensorrt",
                f"{missing} cannot be imported; install JetPack's python3-libnvinfer",
            ) from None
        self.version = str(self.trt.__version__)
        found, least = (_key(words) for words in (self.version, build["tensorrt"]))
        if flavour == "tensorrt" and found[:2] < least[:2]:
            raise RefusedError(
                "tensorrt-old",
                "TensorRT {} is here, these graphs need {}; make the build bundle for this "
                "JetPack".format(self.version, build["tensorrt"]),
            )
        self.logger = self.trt.Logger(self.trt.Logger.WARNING)  # it writes to stdout or stderr
        if hasattr(self.trt, "init_libnvinfer_plugins"):  # TensorRT 10's parser no longer does it
            self.trt.init_libnvinfer_plugins(self.logger, "")
        self.typed = hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def plan(self, raw: bytes, graph: Json) -> bytes:
        """Parse and build; return the engine's bytes."""
        trt = self.trt
        try:
            builder = trt.Builder(self.logger)
        except TypeError:  # the bindings' word for a driver that offers no GPU
            raise RefusedError("no-gpu", f"TensorRT {NOT_USABLE}") from None
        name = "STRONGLY_TYPED" if self.typed else "EXPLICIT_BATCH"
        network = builder.create_network(1 << int(getattr(trt.NetworkDefinitionCreationFlag, name)))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(raw):
            error = parser.get_error(0) if parser.num_errors else None
            place = -1 if error is None else error.node()
            kind = graph["nodes"][place] if 0 <= place < len(graph["nodes"]) else "its border"
            raise RefusedError("parse", f"TensorRT does not take {kind} (node {place})")
        config = builder.create_builder_config()
        self._configure(config, network, graph)
        made = builder.build_serialized_network(network, config)
        if made is None:
            raise RefusedError("build", "TensorRT can build no engine; its words are printed above")
        return bytes(made)

    def _configure(self, config: Any, network: Any, graph: Json) -> None:
        """State precision and memory; what this release does not know it does not need."""
        trt = self.trt
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32, not 10 bits of mantissa
        workspace = _memory_bytes() // WORKSPACE_PART
        if hasattr(config, "set_memory_pool_limit"):
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        else:
            config.max_workspace_size = workspace
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if self.typed or graph["precision"] == "fp32":
            return
        half = graph["precision"] == "fp16"
        config.set_flag(trt.BuilderFlag.FP16 if half else trt.BuilderFlag.INT8)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        kept = set(graph["kept_fp32"])
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            if layer.name in kept:
                layer.precision = trt.float32

    def load(self, raw: bytes, graph: Json, told: Json) -> "GpuSession":
        """Build, and open what was built; ``told`` gains what is known of it."""
        start = time.perf_counter()
        plan = self.plan(raw, graph)
        told["build_s"] = time.perf_counter() - start
        told["plan_bytes"] = len(plan)
        told["plan_sha256"] = hashlib.sha256(plan).hexdigest()
        cuda = Cuda()
        told["gpu"] = cuda.gpu()
        runtime = self.trt.Runtime(self.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise RefusedError(
                "no-gpu",
                "the engine cannot be opened on this GPU; look whether its driver is loaded",
            )
        form = self.trt.LayerInformationFormat.JSON
        inspector = engine.create_engine_inspector()
        told["layers"] = inspector.get_engine_information(form)
        return GpuSession(self.trt, cuda, engine)


class GpuSession:
    """An engine with its buffers, one stream and the events that tell times apart."""

    def __init__(self, trt: Any, cuda: Cuda, engine: Any) -> None:
        self.cuda, self.engine = cuda, engine
        self.context = engine.create_execution_context()
        self.stream = cuda.pointer("cudaStreamCreate")
        self.events = [
            cuda.pointer("cudaEventCreateWithFlags", BLOCKING_EVENT) for _ in range(len(EVENTS) + 1)
        ]
        self.inputs: Dict[str, Buffer] = {}
        self.outputs: Dict[str, Buffer] = {}
        for name, given, shape, dtype in _ports(trt, engine):
            # trt.nptype of TensorRT 8 asks for np.bool, which newer numpy has not.
            made = Buffer(cuda, name, tuple(shape), np.dtype(TYPES[dtype.name]))
            (self.inputs if given else self.outputs)[name] = made
        if hasattr(self.context, "execute_async_v3"):
            for port in self._ports():
                self.context.set_tensor_address(port.name, port.device.value)
        else:
            self.bindings = [int(port.device.value) for port in self._ports()]

    def _ports(self) -> List[Buffer]:
        known = dict(self.inputs, **self.outputs)
        engine = self.engine
        if hasattr(engine, "num_io_tensors"):
            return [known[engine.get_tensor_name(i)] for i in range(engine.num_io_tensors)]
        return [known[engine.get_binding_name(i)] for i in range(engine.num_bindings)]

    def run(self, inputs: Json) -> Json:
        """Return the outputs of one call; they are overwritten by the next."""
        for name, port in self.inputs.items():
            port.array[...] = inputs[name]
        self.call()
        return {name: port.array for name, port in self.outputs.items()}

    def call(self) -> Dict[str, int]:
        """Copy in, compute, copy out, wait; return the times."""
        cuda, stream, events = self.cuda, self.stream, self.events
        cuda.call("cudaEventRecord", events[0], stream)
        for port in self.inputs.values():
            size = ctypes.c_size_t(port.bytes)
            cuda.call("cudaMemcpyAsync", port.device, port.host, size, TO_DEVICE, stream)
        cuda.call("cudaEventRecord", events[1], stream)
        start = time.perf_counter()
        if hasattr(self.context, "execute_async_v3"):
            done = self.context.execute_async_v3(stream.value)
        else:
            done = self.context.execute_async_v2(self.bindings, stream.value)
        enqueued = time.perf_counter() - start
        if not done:
            raise RefusedError("enqueue", "TensorRT could not start the engine")
        cuda.call("cudaEventRecord", events[2], stream)
        for port in self.outputs.values():
            size = ctypes.c_size_t(port.bytes)
            cuda.call("cudaMemcpyAsync", port.host, port.device, size, TO_HOST, stream)
        cuda.call("cudaEventRecord", events[3], stream)
        cuda.call("cudaEventSynchronize", events[3])
        times = {"enqueue_ns": int(enqueued * 1e9)}
        for place, name in enumerate(EVENTS):
            times[name] = cuda.elapsed_ns(events[place], events[place + 1])
        return times


def _ports(trt: Any, engine: Any) -> Iterator[Tuple[str, bool, Any, Any]]:
    """Yield name, whether it is an input, shape and type; the calls changed with TensorRT 8.5."""
    if hasattr(engine, "num_io_tensors"):
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            yield name, given, engine.get_tensor_shape(name), engine.get_tensor_dtype(name)
        return
    for index in range(engine.num_bindings):
        given = engine.binding_is_input(index)
        shape, dtype = engine.get_binding_shape(index), engine.get_binding_dtype(index)
        yield engine.get_binding_name(index), given, shape, dtype


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _key(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
