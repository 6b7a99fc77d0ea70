"""ONNX Runtime on CPUs and NVIDIA GPUs: one named provider, our threads, no output on stderr."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from medge.engine.backends import EngineError, Found, Options, Tensor, agreed_batch
from medge.engine.backends.ort_cuda import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    NO_CPU,
    RECORD,
    check_left_to_cpu,
    check_providers,
    cuda_devices,
    cuda_options,
    gpu_failure,
    is_gpu_failure,
    left_to_cpu,
    require_cuda,
)
from medge.engine.backends.ort_profile import placement_of, private_folder, timed_nodes_of
from medge.engine.backends.ort_streams import CudaStream, Stream
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.placement import Placement, TimedNode
from medge.errors import BackendError, BundleError
from medge.profiles.device_names import ordinal

if TYPE_CHECKING:
    import onnxruntime

FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_NO_KERNEL = re.compile(r"implementation for (\w{1,64})\((\d{1,3})\)")


class OnnxRuntime:
    """Runs the graph with one provider, the CPU's or CUDA's, and writes to arrays kept here.

    One call is watched by the runtime's profiler, which tells what runs in which precision: the
    first of all where a session has one thread, else one in a session of its own. Streams with one
    thread each share a session and its weights; with more threads each has its own, because a
    session's threads serve one call at a time. So has each stream of a GPU, because a session has
    one CUDA stream. On a GPU fp32 is fp32, not TF32, and int8 is computed in floating point.
    """

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime>=1.17",)
    answers: ClassVar[bool] = True
    renewed = False
    provider: ClassVar[str] = CUDA_PROVIDER  # on a GPU

    def __init__(self) -> None:
        self._library = silent_onnxruntime()
        self.version = str(self._library.__version__)
        self.batch: int | None = None
        self._session: onnxruntime.InferenceSession | None = None
        self._streams: list[Stream] = []
        self._gpu: int | None = None
        self._engine: bytes | None = None
        self._profile: bytes | None = None
        self._folder = ExitStack()  # of the profile, until it is read

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices."""
        return ("cpu", *cuda_devices(self._library))

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions."""
        return ("fp32",) if device == "cpu" else ("fp32", "fp16")

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; an engine is the graph after the runtime's optimisations."""
        self._gpu = ordinal(options.device)
        if (options.device != "cpu" and self._gpu is None) or options.precision != "fp32":
            raise BackendError(
                "backend-option",
                "onnxruntime runs graphs as they are, on cpu and on nvidia:0 and so on, not at "
                f"{options.precision} on {options.device}. Choose these, or another backend.",
            )
        if self._gpu is not None:
            require_cuda(self._library, options.device)
        self._library.set_default_logger_severity(FATAL)
        self._options = options
        several = self._gpu is None and options.threads // options.streams > 1
        apart = several and not options.watched
        if apart:
            self._look(model, engine)
        watched = not apart
        first = self._built_and_kept(model, engine, watched=watched)
        self._session = first = first or self._open(model, engine, watched=watched)
        self.batch = self._agreed_batch(first)
        own = several or self._gpu is not None
        sessions = [first] + [
            self._open(model, engine, watched=False) if own else first
            for _ in range(options.streams - 1)
        ]
        self._streams = [self._stream(session) for session in sessions]
        if not options.watched and not apart:
            self._streams[0].run = self._watched_run

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        lane = self._streams[stream]
        try:
            lane.feed(inputs)
            lane.run(lane.binding)
        except Exception as error:  # its classes have no base of their own
            if self._gpu is not None:
                raise gpu_failure(error) from None
            raise BackendError(
                "runtime-failed",
                f"onnxruntime failed while running the network ({type(error).__name__}). "
                "Free memory, or try --backend openvino.",
            ) from None
        return lane.outputs

    def placement(self) -> Placement:
        """See Backend.placement."""
        if self._profile is None:
            self._run_once()
        if self._gpu is None:
            return placement_of(self._profile or b"", CPU_PROVIDER)
        # The profiler's times are those of launching kernels, not of the kernels.
        return placement_of(self._profile or b"", self.provider, timed=False)

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """See Backend.timed_nodes."""
        if not self._options.watched:
            return ()
        self._stop_profile()
        return timed_nodes_of(self._profile or b"") if self._gpu is None else ()

    def engine(self) -> bytes | None:
        """See Backend.engine; handed over once, because it is as large as the network."""
        engine, self._engine = self._engine, None
        return engine if self._gpu is None else b""  # building there is as fast as opening

    def close(self) -> None:
        """See Backend.close."""
        self._stop_profile()
        self._streams = []
        self._session = None
        self._engine = None

    def _look(self, model: bytes, engine: bytes | None) -> None:
        """Watch one run of a session that is closed again.

        A session of several threads that was ever profiled grows by some 260 bytes a call from then
        on, 28 MB an hour at 30 frames a second (onnxruntime 1.31.1; docs/decisions/placement.md).
        """
        self._session = session = self._open(model, engine, watched=True)
        self.batch = self._agreed_batch(session)
        self._streams = [self._stream(session)]
        try:
            self._run_once()
        finally:
            self._streams, self._session = [], None

    def _run_once(self) -> None:
        """Run on nothing, under the profiler, and end it."""
        try:
            self.infer(
                {
                    port.name: np.zeros((self.batch or 1, *port.shape), port.dtype)
                    for port in self._options.inputs
                }
            )
        finally:
            self._stop_profile()

    def _agreed_batch(self, session: onnxruntime.InferenceSession) -> int | None:
        return agreed_batch(
            [_found(node) for node in session.get_inputs()],
            [_found(node) for node in session.get_outputs()],
            self._options,
        )

    def _built_and_kept(
        self, model: bytes, engine: bytes | None, *, watched: bool
    ) -> onnxruntime.InferenceSession | None:
        """Build so that the optimised graph is left; None where it cannot be, or is not asked for.

        A disk that is full looks like a graph that is refused, so that the graph gets its chance.
        """
        if engine is not None or not self._options.keep_engine or self._gpu is not None:
            return None
        try:
            with private_folder(in_memory=False) as folder:
                kept = folder / "optimised.onnx"
                session = self._open(model, None, watched=watched, kept=kept)
                self._engine = kept.read_bytes()
                return session
        except (OSError, BundleError):
            return None

    def _open(
        self,
        model: bytes,
        engine: bytes | None,
        *,
        watched: bool,
        kept: Path | None = None,
    ) -> onnxruntime.InferenceSession:
        """Make a session, one that is watched or not."""
        options = _session_options(self._library, self._options)
        if engine is not None:
            levels = self._library.GraphOptimizationLevel
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        if kept is not None:
            options.optimized_model_filepath = str(kept)
        if watched:
            self._watch(options)
        try:
            session = self._made(model if engine is None else engine, options)
        except (BackendError, BundleError):
            self._folder.close()
            raise
        except Exception as error:  # its classes have no base of their own
            self._folder.close()
            if engine is not None:
                raise EngineError(type(error).__name__) from None
            if self._gpu is not None and is_gpu_failure(error):
                raise gpu_failure(error) from None
            raise _refusal(error, self.version) from None
        session.disable_fallback()
        return session

    def _made(
        self, graph: bytes, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        """Make a session of one provider; on a GPU, the CPU may have sizes and nothing else."""
        make = self._library.InferenceSession
        if self._gpu is None:
            session = make(graph, options, providers=[CPU_PROVIDER], enable_fallback=0)
            if session.get_providers() != [CPU_PROVIDER]:
                raise BackendError(
                    "provider", f"onnxruntime did not take {CPU_PROVIDER}. Install it again."
                )
            return session
        providers = self._providers(self._gpu)
        options.add_session_config_entry(NO_CPU, "1")
        try:
            session = make(graph, options, providers=providers, enable_fallback=0)
        except Exception as error:  # its classes have no base of their own
            if not left_to_cpu(error):
                raise
            options.add_session_config_entry(NO_CPU, "0")
            options.add_session_config_entry(RECORD, "1")
            session = make(graph, options, providers=providers, enable_fallback=0)
            check_providers(session.get_providers(), self.provider)
            check_left_to_cpu(session)
        check_providers(session.get_providers(), self.provider)
        return session

    def _providers(self, gpu: int) -> list[tuple[str, dict[str, str]]]:
        """Return the providers of a session on a GPU, the one that is asked for first."""
        return [(CUDA_PROVIDER, cuda_options(gpu))]

    def _stream(self, session: onnxruntime.InferenceSession) -> Stream:
        if self._gpu is None:
            return Stream(self._library, session, self._options)
        return CudaStream(self._library, session, self._options, self._gpu)

    def _watch(self, options: onnxruntime.SessionOptions) -> None:
        """Turn the profiler on; without a place to write to, nothing will be known of what runs."""
        try:
            folder = self._folder.enter_context(private_folder())
        except OSError:
            self._profile = b""
            return
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")

    def _watched_run(self, binding: Any) -> None:
        """Run once under the profiler, then never again."""
        first = self._streams[0]
        first.run = first.session.run_with_iobinding
        try:
            first.run(binding)
        finally:
            self._stop_profile()

    def _stop_profile(self) -> None:
        if self._session is None or self._profile is not None:
            return
        with self._folder:
            profile = Path(self._session.end_profiling())
            try:
                self._profile = profile.read_bytes()
            except OSError:  # a full disk costs the knowledge, not the answer
                self._profile = b""


def _session_options(onnxruntime: ModuleType, asked: Options) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    on_cpu = ordinal(asked.device) is None
    options.intra_op_num_threads = asked.threads // asked.streams if on_cpu else 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = FATAL
    for entry, value in _spinning(onnxruntime.__version__).items():
        options.add_session_config_entry(entry, value)
    return options


def _spinning(version: str) -> dict[str, str]:
    """Return how the runtime's threads wait: between layers in a loop, between frames asleep.

    Left alone they loop for some 30 ms after a run, which takes a core from decoding the next
    frame. Stopped at once, every run has to wake them: networks of 1 ms took twice as long
    (docs/decisions/choosing.md). onnxruntime bounds the loop's time since 1.26.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (1, 26):
        return {"session.force_spinning_stop": "1"}
    return {
        "session.intra_op.spin_duration_us": "1000",
        "session.intra_op.spin_backoff_max": "8",
    }


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
