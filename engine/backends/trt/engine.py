"""A plan opened and run, inside the process that may crash: own streams, locked memory, graphs."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from medge.engine.backends import Found, Options, agreed_batch
from medge.engine.backends.cuda_calls import Cuda, CudaError
from medge.engine.backends.trt.build import listener_of
from medge.engine.backends.trt.frames import AskOpen, Opened, PlanLostError
from medge.engine.backends.trt.lanes import (
    ANSWER,
    CALL,
    CUDA_FAILED,
    DONE,
    FAILED,
    Layout,
    layout_of,
)
from medge.engine.backends.trt.library import started, version_of
from medge.errors import BackendError, BundleError
from medge.profiles.cuda_driver import CudaGpu

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32"}
WARM_CALLS = 3  # the first compiles and places, the second records the graph, the third replays it


class RunFailedError(Exception):
    """The library did not take a call; it says no more than that."""


class Running:
    """An open plan: each lane has a context, a stream and a thread of its own."""

    def __init__(self, trt: Any, asked: AskOpen, gpu: CudaGpu) -> None:
        """Open the plan, run every lane on zeros, and begin to serve.

        Raises
        ------
        PlanLostError
            The library does not take the plan back.
        BundleError
            Rule ``graph``: the plan's tensors are not what the manifest promises.
        BackendError
            Rule ``runtime-failed``: it does not run here.
        """
        self._cuda = opened_cuda(gpu.ordinal, asked.flavour)
        self._logger = listener_of(trt)  # these must outlive what is made with them
        self._runtime = runtime = started(trt.Runtime, self._logger, asked.flavour)
        self._engine = engine = runtime.deserialize_cuda_engine(asked.plan)
        if engine is None:
            raise PlanLostError(
                f"{asked.flavour} {version_of(trt)} does not open the plan that was built for "
                "this GPU. Update NVIDIA's driver, or try --backend onnxruntime."
            )
        batch = _agreed(engine, asked)
        size = batch or asked.batches.best
        if size > asked.batches.most:
            raise BundleError(
                "fixed-batch",
                f"The graph takes {size} pictures at a time, and calls of {asked.batches.most} are "
                "asked for. Export the bundle with a free batch.",
            )
        self._cache, self._settings, stale = _runtime_config(trt, engine, asked.runtime_cache)
        self._recorder = _recorder_of(trt) if asked.watched else None
        try:
            self._lanes, pinned = self._warm_lanes(asked, size)
        except (CudaError, RunFailedError) as error:
            raise BackendError(
                "runtime-failed",
                f"{asked.flavour} opens the plan and cannot run it ({error}). Free GPU memory, or "
                "try --backend onnxruntime.",
            ) from None
        if self._recorder is not None:
            self._recorder.calls.clear()  # those of the warm-up
        self.opened = Opened(
            layers=layers_of(trt, engine, self._lanes[0].context),
            batch=batch,
            cuda_graph=all(lane.replays for lane in self._lanes),
            pinned=pinned,
            runtime_cache=bytes(self._cache.serialize()) if self._cache is not None else b"",
            renewed=stale,
        )
        for lane, descriptor in zip(self._lanes, asked.lanes, strict=True):
            serving = (self._cuda, lane, descriptor)
            threading.Thread(target=_serve, args=serving, daemon=True).start()

    def _warm_lanes(self, asked: AskOpen, size: int) -> tuple[list[_Lane], bool]:
        """Make every lane and run it on zeros; return also whether the memory is locked."""
        layout = layout_of(asked.inputs, asked.outputs, asked.batches.most)
        size_bytes = layout.size_bytes * len(asked.lanes)
        self._memory = memory = mmap.mmap(asked.memory, size_bytes)  # mapped as long as this lives
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        pinned = _pin(self._cuda, base, size_bytes)
        lanes = [
            _Lane(
                self._cuda,
                _context(self._engine, self._settings),
                layout=layout,
                start=base + index * layout.size_bytes,
                most=asked.batches.most,
                recorder=self._recorder if index == 0 else None,
            )
            for index in range(len(asked.lanes))
        ]
        for lane in lanes:
            for _ in range(WARM_CALLS):
                lane.run(size)
        return lanes, pinned

    def layers_ns(self) -> dict[str, tuple[int, ...]]:
        """Return what each layer took in every watched call."""
        calls = self._recorder.calls if self._recorder is not None else []
        names = dict.fromkeys(name for call in calls for name in call)
        return {name: tuple(call.get(name, 0) for call in calls) for name in names}


class _Lane:
    """What one call at a time needs on the GPU.

    ``replays`` says whether the last call was one CUDA graph: copies in, network, copies out. A
    graph holds for one number of pictures, and is recorded at the second call in a row with it.
    """

    def __init__(
        self, cuda: Cuda, context: Any, *, layout: Layout, start: int, most: int, recorder: Any
    ) -> None:
        self.context = context
        self.replays = False
        self._cuda = cuda
        self._layout = layout
        self._start = start
        self._stream = cuda.stream()
        self._recorder = recorder
        self._recordable = recorder is None
        self._count = 0
        self._graph = 0
        slots = (*layout.inputs, *layout.outputs)
        self._device = {slot.port.name: cuda.memory(most * slot.item_bytes) for slot in slots}
        for name, address in self._device.items():
            if not context.set_tensor_address(name, address):
                raise RunFailedError(f"the tensor {name!r} is not taken")
        if recorder is not None:
            context.profiler = recorder

    def run(self, count: int) -> None:
        """Answer the pictures that lie in the shared memory."""
        again = count == self._count
        if not again:
            self._resize(count)
        elif self._recordable and not self._graph:
            self._graph = self._recorded()
        self.replays = bool(self._graph)
        if self._recorder is not None:
            self._recorder.calls.append({})
        if self._graph:
            self._cuda.call("cuGraphLaunch", self._graph, self._stream)
        else:
            self._enqueue()
        self._cuda.call("cuStreamSynchronize", self._stream)

    def _resize(self, count: int) -> None:
        if self._graph:
            self._cuda.call("cuGraphExecDestroy", self._graph)
        self._graph, self._count = 0, 0  # 0 until every shape is taken
        for slot in self._layout.inputs:
            if not self.context.set_input_shape(slot.port.name, (count, *slot.port.shape)):
                raise RunFailedError(f"{count} pictures are not taken")
        self._count = count

    def _enqueue(self) -> None:
        call, stream = self._cuda.call, self._stream
        for slot in self._layout.inputs:
            host, size_bytes = self._start + slot.offset, self._count * slot.item_bytes
            call("cuMemcpyHtoDAsync_v2", self._device[slot.port.name], host, size_bytes, stream)
        if not self.context.execute_async_v3(stream):
            raise RunFailedError("the call is not taken")
        for slot in self._layout.outputs:
            host, size_bytes = self._start + slot.offset, self._count * slot.item_bytes
            call("cuMemcpyDtoHAsync_v2", host, self._device[slot.port.name], size_bytes, stream)

    def _recorded(self) -> int:
        """Record one call as a graph, 0 where the network cannot be recorded: then it runs plainly.

        Some networks cannot: those that wait in between, or whose kernels are still compiled.
        """
        self._recordable = False  # one attempt, unless it succeeds
        context = self.context
        capturable = getattr(context, "is_stream_capturable", None)  # TensorRT-RTX
        if capturable is not None and not capturable(self._stream):
            return 0
        try:
            graph = self._capture()
            ready = self._cuda.instantiated(graph) if graph else 0
        except CudaError:
            return 0
        self._recordable = bool(ready)
        return ready

    def _capture(self) -> int:
        """Return the graph of one call; 0 where not all of it was recorded, whatever was."""
        self._cuda.begin_capture(self._stream)
        whole = True
        try:
            self._enqueue()
        except (CudaError, RunFailedError):  # ending the recording succeeds all the same
            whole = False
        graph = self._cuda.end_capture(self._stream)
        if graph and not whole:
            self._cuda.call("cuGraphDestroy", graph)
        return graph if whole else 0


def layers_of(trt: Any, engine: Any, context: Any) -> str:
    """Return the inspector's account, with the shapes of a context."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def opened_cuda(ordinal: int, flavour: str) -> Cuda:
    """Return the driver with a GPU's context.

    Raises
    ------
    BackendError
        Rule ``cuda-failed``: it makes none.
    """
    try:
        return Cuda(ordinal)
    except CudaError as error:
        raise BackendError(
            "cuda-failed",
            f"{flavour} cannot use the GPU: {error}. Update NVIDIA's driver, or see what else uses "
            "the GPU.",
        ) from None


def _pin(cuda: Cuda, base: int, size_bytes: int) -> bool:
    """Lock the shared memory; unlocked it works too, with one more copy, which ``Opened`` tells."""
    try:
        cuda.pin(base, size_bytes)
    except CudaError:
        return False
    return True


def _agreed(engine: Any, asked: AskOpen) -> int | None:
    """Compare the plan's tensors with the manifest's; return its fixed batch, None for any."""
    found: dict[str, list[Found]] = {"INPUT": [], "OUTPUT": []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name).name
        shape = [None if size < 0 else size for size in tuple(engine.get_tensor_shape(name))]
        mode = engine.get_tensor_mode(name).name
        found[mode].append((name, _DTYPES.get(dtype, dtype.lower()), shape))
    options = Options(
        device=asked.device,
        precision="fp32",
        threads=1,
        inputs=asked.inputs,
        outputs=asked.outputs,
    )
    return agreed_batch(found["INPUT"], found["OUTPUT"], options)


def _runtime_config(trt: Any, engine: Any, kept: bytes) -> tuple[Any, Any, bool]:
    """Return TensorRT-RTX's cache of compiled kernels and its settings; two None elsewhere.

    And whether kept kernels were not taken: those of another card, or of a newer driver or one of
    another major version. They are compiled anew then.

    Kernels for a new number of pictures are compiled before the call goes on (EAGER), not beside
    it: else the same picture could be computed by other kernels a moment later.
    """
    if not hasattr(trt, "IRuntimeCache"):
        return None, None, False
    settings = engine.create_runtime_config()
    strategies = trt.DynamicShapesKernelSpecializationStrategy
    settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    cache = settings.create_runtime_cache()
    stale = bool(kept) and not cache.deserialize(kept)
    settings.set_runtime_cache(cache)
    return cache, settings, stale


def _context(engine: Any, settings: Any) -> Any:
    context = (
        engine.create_execution_context()
        if settings is None
        else engine.create_execution_context(settings)
    )
    if context is None:
        raise RunFailedError("it makes no context")
    return context


def _recorder_of(trt: Any) -> Any:
    """Return a profiler of this library that notes each layer's time in the latest call."""

    class Recorder(trt.IProfiler):  # type: ignore[misc]  # exists only once it is imported
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.calls: list[dict[str, int]] = []

        def report_layer_time(self, layer: str, time_ms: float) -> None:
            call = self.calls[-1]
            call[layer] = call.get(layer, 0) + round(1_000_000 * time_ms)

    return Recorder()


def _serve(cuda: Cuda, lane: _Lane, descriptor: int) -> None:
    """Answer calls until the other side closes the lane; end the process where that fails."""
    try:
        cuda.use()
        with socket.socket(fileno=descriptor) as calls:
            while len(said := calls.recv(CALL.size, socket.MSG_WAITALL)) == CALL.size:
                calls.sendall(ANSWER.pack(*_tried(lane.run, CALL.unpack(said)[0])))
    except BaseException:
        os._exit(1)  # else the other side would wait for a thread that is gone


def _tried(run: Callable[[int], None], count: int) -> tuple[int, int]:
    try:
        run(count)
    except CudaError as error:
        return CUDA_FAILED, error.code
    except RunFailedError:
        return FAILED, 0
    return DONE, 0
