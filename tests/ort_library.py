"""A stand-in for ONNX Runtime with a CUDA provider, as far as Python sees it.

It holds what is asked of a GPU's session for the tests, and runs the graph on the CPU: that proves
control flow, nothing about CUDA.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from medge.engine.backends import Port
from medge.engine.backends.ort_cuda import CPU_PROVIDER, CUDA_PROVIDER, NO_CPU
from medge.engine.backends.silence import silent_onnxruntime
from medge.profiles.cuda_driver import CudaDriver, CudaGpu

onnxruntime = silent_onnxruntime()
LEFT_TO_CPU = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the "
    "default CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
)
PORTS = (Port("image", "float32", (1, 8, 8)),), (Port("scores", "float32", (2,)),)


def gpus(count: int) -> CudaDriver:
    return CudaDriver(
        state="ready",
        version="13.0",
        gpus=tuple(
            CudaGpu(
                ordinal=number,
                name="Made-up GPU",
                compute_capability="8.6",
                sm_count=20,
                memory_bytes=8 << 30,
            )
            for number in range(count)
        ),
    )


class OnCpu:
    """The library with a CUDA provider, as far as Python sees it; all of it runs on the CPU."""

    def __init__(self, *, refuses: str = "", leaves: tuple[str, ...] = ()) -> None:
        self.refuses = refuses  # what making a session fails with
        self.leaves = leaves  # operators that only the CPU has
        self.asked: list[tuple[Any, dict[str, str]]] = []  # providers, and session entries
        self.memory: list[tuple[tuple[int, ...], str, int]] = []
        self.OrtValue = SimpleNamespace(
            ortvalue_from_numpy=onnxruntime.OrtValue.ortvalue_from_numpy,
            ortvalue_from_shape_and_type=self._held,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", CUDA_PROVIDER, CPU_PROVIDER]

    def InferenceSession(  # noqa: N802  the library's name
        self, graph: bytes, options: Any, *, providers: Any, enable_fallback: int
    ) -> Any:
        assert enable_fallback == 0
        if providers == [CPU_PROVIDER]:
            return onnxruntime.InferenceSession(graph, options, providers=providers)
        strict = options.get_session_config_entry(NO_CPU)
        self.asked.append((providers, {NO_CPU: strict}))
        if self.refuses:
            raise RuntimeError(self.refuses)
        if self.leaves and strict == "1":
            raise RuntimeError(LEFT_TO_CPU)
        options.add_session_config_entry(NO_CPU, "0")  # here it is the CPU that runs all
        session = onnxruntime.InferenceSession(graph, options, providers=[CPU_PROVIDER])
        return _Named(session, providers[0][0], self.leaves)

    def _held(self, shape: tuple[int, ...], kind: Any, device: str, number: int) -> Any:
        self.memory.append((shape, device, number))
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind)


class _Named:
    """A session of the CPU that says it has another provider."""

    def __init__(self, session: Any, provider: str, leaves: tuple[str, ...]) -> None:
        self._session, self._provider, self._leaves = session, provider, leaves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [self._provider, CPU_PROVIDER]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [SimpleNamespace(op_type=name) for name in self._leaves]
        return [SimpleNamespace(ep_name=CPU_PROVIDER, get_nodes=lambda: nodes)]
