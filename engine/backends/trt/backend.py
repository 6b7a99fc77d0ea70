"""TensorRT and TensorRT-RTX on NVIDIA GPUs, each in a process of its own; one class for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np
from msgspec import Struct

from medge.engine.backends import EngineError, Options, Tensor
from medge.engine.backends.trt.frames import (
    AskDevices,
    AskOpen,
    AskPlan,
    AskTimes,
    Devices,
    Opened,
    PlanLostError,
    Times,
)
from medge.engine.backends.trt.lanes import CUDA_FAILED, DONE, Lane, Lanes
from medge.engine.backends.trt.layers import nodes_of, timed_nodes_of
from medge.engine.backends.trt.library import Flavour, package_version
from medge.engine.backends.trt.plan import (
    BUILD_LIMIT_S,
    RTX_COMPUTE_CAPABILITIES,
    Batches,
    Plan,
    PlanRequest,
)
from medge.engine.backends.trt.process import Process
from medge.engine.cache import EngineCache, EngineFacts
from medge.engine.engine_facts import timing_facts
from medge.engine.placement import Placement, TimedNode, tally
from medge.errors import BackendError
from medge.profiles.cuda_driver import CudaGpu
from medge.profiles.cuda_gpus import nvidia_devices

OPEN_LIMIT_S = 600.0  # TensorRT-RTX compiles its kernels when a plan is first opened
CALL_LIMIT_S = 60.0
ALWAYS_WORTH_NS = 1 << 62  # what the timing cache saves is the next build's, and minutes


class KeptPlan(Struct, frozen=True, kw_only=True):
    """What a later load needs, and what is known of how it was built.

    ``runtime_cache`` holds kernels that TensorRT-RTX compiled on the GPU; ``driver_version`` is the
    newest CUDA of the driver then, recorded and not asked for again.
    """

    plan: bytes
    compute: tuple[str, ...]
    version: str
    runtime_cache: bytes = b""
    driver_version: str | None = None
    batch: int | None = None  # the graph's only one; a plan for one size may tell that of any graph


def kept_plan(plan: Plan, driver_version: str | None = None) -> KeptPlan:
    """Return a plan as the engine cache holds it, so that a session opens it."""
    return KeptPlan(
        plan=plan.plan,
        compute=plan.compute,
        version=plan.version,
        driver_version=driver_version,
        batch=plan.batch,
    )


class _NvidiaRuntime:
    """Builds and runs in a process that may crash; pictures pass through shared memory.

    A call of a few milliseconds would pay for a copy between processes; it does not, because the
    memory that the GPU reads is the memory that is written here.
    """

    flavour: ClassVar[Flavour]
    requires: ClassVar[tuple[str, ...]]
    answers: ClassVar[bool] = True

    def __init__(self) -> None:
        self.version = package_version(self.flavour) or ""
        self.batch: int | None = None
        self.renewed = False
        self._process: Process | None = None
        self._lanes: Lanes | None = None
        self._opened: Opened | None = None
        self._engine: bytes | None = None
        self._compute: tuple[str, ...] = ()

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices; none where there is no GPU that it takes.

        The package is imported only where there is one, in its own process.
        """
        if not nvidia_devices():
            return ()
        with Process(self.flavour) as process:
            offered = process.ask(AskDevices(self.flavour), Devices)
        return tuple(gpu.device for gpu in offered.gpus if self._takes(gpu))

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions; what is computed is the graph's own types and no others."""
        return ("fp32", "fp16")

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; an engine is a ``KeptPlan``."""
        if not options.device.startswith("nvidia:") or options.precision != "fp32":
            raise BackendError(
                "backend-option",
                f"{self.flavour} runs a graph in the graph's own types on an NVIDIA GPU, nvidia:0 "
                f"for the first, not at {options.precision} on {options.device}. Choose --device "
                "nvidia:0 and a variant of the bundle.",
            )
        self.close()  # a plan that was not taken back has left its process
        self._options = options
        self._most = options.batch
        least = options.batch if options.fixed_batch else 1
        batches = Batches(least, options.batch, options.batch)
        self._lanes = lanes = Lanes(options.inputs, options.outputs, self._most, options.streams)
        memory, *sockets = lanes.descriptors  # the same numbers in the other process
        self._process = process = Process(self.flavour, (memory, *sockets))
        lanes.handed_over()
        offered = process.ask(AskDevices(self.flavour), Devices)
        kept = self._kept(engine)
        if kept is None:
            plan = self._built(process, offered, model, batches)
            kept = kept_plan(plan, offered.driver_version)
        asked = AskOpen(
            flavour=self.flavour,
            device=options.device,
            plan=kept.plan,
            runtime_cache=kept.runtime_cache,
            inputs=options.inputs,
            outputs=options.outputs,
            batches=batches,
            memory=memory,
            lanes=tuple(sockets),
            watched=options.watched,
        )
        self._open(process, asked, kept, fresh=engine is None)

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """See Backend.infer; more pictures than the plan takes go in several calls."""
        if self._lanes is None or self._process is None:
            raise self._gone()
        lane = self._lanes.lanes[stream]
        count = len(next(iter(inputs.values())))
        if count <= self._most:
            return self._call(lane, inputs, count)
        parts = []
        for first in range(0, count, self._most):
            part = {name: array[first : first + self._most] for name, array in inputs.items()}
            size = min(self._most, count - first)
            parts.append({k: v.copy() for k, v in self._call(lane, part, size).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def placement(self) -> Placement:
        """See Backend.placement: what the inspector told when the plan was opened."""
        if self._opened is None:
            raise self._gone()
        return tally(nodes_of(self._opened.layers, self._compute))

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """See Backend.timed_nodes; shares only: the profiler slows what it watches."""
        if not self._options.watched or self._process is None or self._opened is None:
            return ()
        times = self._process.ask(AskTimes(), Times)
        return timed_nodes_of(self._opened.layers, times.layers_ns)

    def engine(self) -> bytes | None:
        """See Backend.engine; handed over once, because it is as large as the network."""
        engine, self._engine = self._engine, None
        return engine

    def close(self) -> None:
        """See Backend.close."""
        process, self._process = self._process, None
        lanes, self._lanes = self._lanes, None
        self._engine = self._opened = None
        if process is not None:
            process.close()
        if lanes is not None:
            lanes.close()

    def _kept(self, engine: bytes | None) -> KeptPlan | None:
        if engine is None:
            return None
        try:
            return msgspec.msgpack.decode(engine, type=KeptPlan)
        except msgspec.DecodeError as error:
            raise EngineError(type(error).__name__) from None

    def _built(self, process: Process, offered: Devices, model: bytes, batches: Batches) -> Plan:
        options = self._options
        gpu = next((gpu for gpu in offered.gpus if gpu.device == options.device), None)
        if gpu is None:
            raise BackendError(
                "device",
                f"{self.flavour} finds {', '.join(each.device for each in offered.gpus)} here, "
                "not the device asked for. Choose one of these.",
            )
        request = PlanRequest(
            flavour=self.flavour,
            inputs=options.inputs,
            outputs=options.outputs,
            batches=batches,
            compute_capabilities=self._ahead_for(gpu),
            device=options.device,
        )
        if self.flavour == "tensorrt-rtx":
            return process.ask(AskPlan(request, model), Plan, BUILD_LIMIT_S)
        return self._timed(process, request, model, timing_facts(gpu, self.version))

    def _timed(
        self, process: Process, request: PlanRequest, model: bytes, facts: EngineFacts
    ) -> Plan:
        """Build with the times that earlier builds on such a GPU took of its kernels."""
        cache = EngineCache()
        known = msgspec.structs.replace(request, timing_cache=cache.find(facts) or b"")
        plan = process.ask(AskPlan(known, model), Plan, BUILD_LIMIT_S)
        cache.keep(facts, plan.timing_cache, build_ns=ALWAYS_WORTH_NS)
        return plan

    def _ahead_for(self, gpu: CudaGpu) -> tuple[str, ...] | None:
        """Return for what TensorRT-RTX compiles: the plan is that of `medge compile --target`."""
        if self.flavour == "tensorrt":
            return None
        if not self._takes(gpu):
            raise BackendError(
                "device",
                f"{gpu.device} has compute capability {gpu.compute_capability}; tensorrt-rtx "
                f"compiles for {', '.join(RTX_COMPUTE_CAPABILITIES)}. Choose --backend tensorrt or "
                "onnxruntime.",
            )
        return (gpu.compute_capability,)

    def _takes(self, gpu: CudaGpu) -> bool:
        """Whether the runtime has code for a GPU, as far as that is known before it is asked."""
        rtx = self.flavour == "tensorrt-rtx"
        return not rtx or gpu.compute_capability in RTX_COMPUTE_CAPABILITIES

    def _open(self, process: Process, asked: AskOpen, kept: KeptPlan, *, fresh: bool) -> None:
        try:
            self._opened = opened = process.ask(asked, Opened, OPEN_LIMIT_S)
        except PlanLostError as error:
            if fresh:
                raise
            raise EngineError(error.rule) from None
        self.batch = kept.batch
        self._compute = kept.compute
        self.renewed = opened.renewed
        if self._options.keep_engine or opened.renewed:
            made = msgspec.structs.replace(kept, runtime_cache=opened.runtime_cache)
            self._engine = msgspec.msgpack.encode(made)

    def _call(self, lane: Lane, inputs: Mapping[str, Tensor], count: int) -> Mapping[str, Tensor]:
        """Run at most as many pictures as the plan takes."""
        process = self._process
        if process is None:
            raise self._gone()
        for name, array in inputs.items():
            np.copyto(lane.inputs[name][:count], array)
        try:
            status, code = lane.run(count, CALL_LIMIT_S)
        except TimeoutError:
            raise process.hung(CALL_LIMIT_S) from None
        except (EOFError, OSError):
            raise process.crashed() from None
        except BaseException:  # Ctrl-C in between: the lane is no longer in step
            self.close()
            raise
        if status != DONE:
            told = f"CUDA error {code}" if status == CUDA_FAILED else "it does not say why"
            raise BackendError(
                "runtime-failed",
                f"{self.flavour} failed while running the network ({told}). Free GPU memory, or "
                "try --backend onnxruntime.",
            )
        return {name: view[:count] for name, view in lane.outputs.items()}

    def _gone(self) -> BackendError:
        return BackendError(
            "runtime-failed",
            f"The process of {self.flavour} is gone. Open the session again.",
        )


class TensorRT(_NvidiaRuntime):
    """TensorRT 8.6 to 11, as NVIDIA's index or JetPack installs it; builds on the GPU."""

    flavour: ClassVar[Flavour] = "tensorrt"
    requires: ClassVar[tuple[str, ...]] = ("tensorrt>=8.6",)


class TensorRTRTX(_NvidiaRuntime):
    """TensorRT-RTX: builds anywhere, compiles its kernels on the GPU when a plan is opened."""

    flavour: ClassVar[Flavour] = "tensorrt-rtx"
    requires: ClassVar[tuple[str, ...]] = ("tensorrt-rtx>=1.2",)
