"""A stand-in for TensorRT: proves medge's control flow, nothing about TensorRT.

Its graph is a line of JSON, its network multiplies by a number and adds 1, on the driver of
tests/cuda_library.c. What of the real library it lacks, test_trt_surface.py and the contracts hold.
"""

import ctypes
import json
import os
import signal
import time
from types import SimpleNamespace

__version__ = "10.0.standin"

if os.environ.get("MEDGE_TEST_IMPORT") == "broken":
    raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file")
if os.environ.get("MEDGE_TEST_IMPORT") == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)


def members(**values: int) -> SimpleNamespace:
    return SimpleNamespace(**{k: SimpleNamespace(name=k, value=v) for k, v in values.items()})


NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
BuilderFlag = members(TF32=0)
ProfilingVerbosity = members(DETAILED=2)
LayerInformationFormat = members(JSON=1)
DataType = members(FLOAT=0)
TensorIOMode = members(INPUT=1, OUTPUT=2)
LayerType = members(CONVOLUTION=0)


class ILogger:
    WARNING = SimpleNamespace(value=2)


class IProfiler:
    pass


def tensor(name: str, batch: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, dtype=DataType.FLOAT, shape=(batch, 3, 2, 2))


class Network:
    num_inputs = num_outputs = num_layers = 1

    def __init__(self) -> None:
        self.told: dict = {}

    def get_input(self, _index: int) -> SimpleNamespace:
        return tensor("x", self.told["batch"])

    def get_output(self, _index: int) -> SimpleNamespace:
        return tensor("y", self.told["batch"])

    def get_layer(self, _index: int) -> SimpleNamespace:
        return SimpleNamespace(name="scale", type=LayerType.CONVOLUTION, num_outputs=1)


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Network, _logger: ILogger) -> None:
        self.network = network

    def parse(self, model: bytes) -> bool:
        self.network.told = json.loads(model)
        if self.network.told.get("build") == "crash":
            os.kill(os.getpid(), signal.SIGABRT)
        while self.network.told.get("build") == "hang":
            time.sleep(1)
        return True


class Config:
    def __init__(self) -> None:
        self.profiling_verbosity = None
        self.cache = SimpleNamespace(serialize=lambda: b"timings")

    def clear_flag(self, flag: SimpleNamespace) -> None:
        assert flag is BuilderFlag.TF32

    def create_timing_cache(self, kept: bytes) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: kept + b"timed ")

    def set_timing_cache(self, cache: SimpleNamespace, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self.cache = cache
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        return self.cache

    def add_optimization_profile(self, profile: "Profile") -> int:
        self.profile = profile
        return 0


class Profile:
    def set_shape(self, name: str, *shapes: tuple) -> None:
        assert name == "x"
        assert [len(shape) for shape in shapes] == [4, 4, 4]
        self.most = shapes[2][0]


class Builder:
    def __init__(self, logger: ILogger) -> None:
        assert isinstance(logger, ILogger)

    def create_network(self, flags: int) -> Network:
        assert flags == 2
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes:
        most = config.profile.most if network.told["batch"] < 0 else network.told["batch"]
        return json.dumps({**network.told, "most": most}).encode()


class Context:
    profiler = None

    def __init__(self, told: dict) -> None:
        self.told = told
        self.addresses: dict[str, int] = {}
        self.count = self.calls = 0
        self.network = ctypes.CDLL("libcuda.so.1").medge_test_network
        sizes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t]
        self.network.argtypes = [*sizes, ctypes.c_float, ctypes.c_void_p]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple) -> bool:
        self.count = shape[0]
        return name == "x" and shape[0] <= self.told["most"]

    def execute_async_v3(self, stream: int) -> bool:
        if self.profiler is not None:
            self.profiler.report_layer_time("scale", 0.25)
        self.calls += 1
        if self.calls == self.told.get("refused_call"):
            return False
        size = self.count * 3 * 2 * 2 * 4
        there, back = self.addresses["x"], self.addresses["y"]
        return self.network(there, back, size, self.told["scale"], stream) == 0


class Engine:
    num_io_tensors = 2

    def __init__(self, told: dict) -> None:
        self.told = told

    def get_tensor_name(self, index: int) -> str:
        return ("x", "y")[index]

    def get_tensor_dtype(self, _name: str) -> SimpleNamespace:
        return DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple:
        return tensor(name, self.told["batch"]).shape

    def get_tensor_mode(self, name: str) -> SimpleNamespace:
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def create_execution_context(self) -> Context:
        return Context(self.told)

    def create_engine_inspector(self) -> SimpleNamespace:
        layer = {
            "Name": "scale",
            "LayerType": "CaskConvolution",
            "Weights": {"Type": "Half", "Count": 1},
        }
        account = json.dumps({"Layers": [layer], "Bindings": ["x", "y"]})
        return SimpleNamespace(
            execution_context=None, get_engine_information=lambda _format: account
        )


class Runtime:
    def __init__(self, _logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            return Engine(json.loads(plan))
        except json.JSONDecodeError:
            return None
