"""ONNX Runtime on the CPU: one named provider, our threads, no output on stderr."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from medge.engine.backends import EngineError, Found, Options, Tensor, agreed_batch
from medge.engine.backends.ort_profile import placement_of, private_folder, timed_nodes_of
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.placement import Placement, TimedNode
from medge.errors import BackendError, BundleError

if TYPE_CHECKING:
    import onnxruntime

PROVIDER = "CPUExecutionProvider"
FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_NO_KERNEL = re.compile(r"implementation for (\w{1,64})\((\d{1,3})\)")


class OnnxRuntime:
    """Runs the graph with ``CPUExecutionProvider``; outputs are written into arrays kept here.

    One call is watched by the runtime's profiler, which tells what runs in which precision: the
    first of all where a session has one thread, else one in a session of its own. Streams with one
    thread each share a session and its weights; with more threads each has its own, because a
    session's threads serve one call at a time.
    """

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime>=1.17",)
    answers: ClassVar[bool] = True

    def __init__(self) -> None:
        self._library = silent_onnxruntime()
        self.version = str(self._library.__version__)
        self.batch: int | None = None
        self._session: onnxruntime.InferenceSession | None = None
        self._streams: list[_Stream] = []
        self._engine: bytes | None = None
        self._profile: bytes | None = None
        self._folder = ExitStack()  # of the profile, until it is read

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices."""
        return ("cpu",)

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions."""
        return ("fp32",)

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; an engine is the graph after the runtime's optimisations."""
        if options.device != "cpu" or options.precision != "fp32":
            raise BackendError(
                "backend-option",
                f"onnxruntime runs at fp32 on cpu here, not at {options.precision} on "
                f"{options.device}. Choose these, or another backend.",
            )
        self._library.set_default_logger_severity(FATAL)
        self._options = options
        several = options.threads // options.streams > 1
        apart = several and not options.watched
        if apart:
            self._look(model, engine)
        watched = not apart
        first = self._built_and_kept(model, engine, watched=watched)
        self._session = first = first or self._open(model, engine, watched=watched)
        self.batch = self._agreed_batch(first)
        sessions = [first] + [
            self._open(model, engine, watched=False) if several else first
            for _ in range(options.streams - 1)
        ]
        self._streams = [_Stream(self._library, session, options) for session in sessions]
        if not options.watched and not apart:
            self._streams[0].run = self._watched_run

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """See Backend.infer."""
        lane = self._streams[stream]
        try:
            for name, array in inputs.items():
                if lane.bound.get(name) is not array:
                    lane.bind(name, array)
            lane.run(lane.binding)
        except Exception as error:  # its classes have no base of their own
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
        return placement_of(self._profile or b"", PROVIDER)

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """See Backend.timed_nodes."""
        if not self._options.watched:
            return ()
        self._stop_profile()
        return timed_nodes_of(self._profile or b"")

    def engine(self) -> bytes | None:
        """See Backend.engine; handed over once, because it is as large as the network."""
        engine, self._engine = self._engine, None
        return engine

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
        self._streams = [_Stream(self._library, session, self._options)]
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
        if engine is not None or not self._options.keep_engine:
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
        onnxruntime = self._library
        options = _session_options(onnxruntime, self._options)
        if engine is not None:
            levels = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        if kept is not None:
            options.optimized_model_filepath = str(kept)
        if watched:
            self._watch(options)
        try:
            session = onnxruntime.InferenceSession(
                model if engine is None else engine, options, providers=[PROVIDER]
            )
        except Exception as error:  # its classes have no base of their own
            self._folder.close()
            if engine is not None:
                raise EngineError(type(error).__name__) from None
            raise _refusal(error, self.version) from None
        if session.get_providers() != [PROVIDER]:
            raise BackendError(
                "provider", f"onnxruntime did not take {PROVIDER}. Install it again."
            )
        session.disable_fallback()
        return session

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


class _Stream:
    """What one call at a time needs: bound inputs and outputs."""

    def __init__(
        self, library: ModuleType, session: onnxruntime.InferenceSession, options: Options
    ) -> None:
        self.session = session
        self.binding = session.io_binding()
        self.run: Any = session.run_with_iobinding
        self.bound: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._library = library
        self._options = options

    def bind(self, name: str, array: Tensor) -> None:
        """Let the runtime read from ``array`` itself, and write to arrays of the same batch."""
        self.binding.bind_ortvalue_input(name, self._library.OrtValue.ortvalue_from_numpy(array))
        self.bound[name] = array  # also keeps its memory alive while it is bound
        batch = len(array)
        if any(len(output) == batch for output in self.outputs.values()):
            return
        self.outputs = {
            port.name: np.empty((batch, *port.shape), port.dtype) for port in self._options.outputs
        }
        for port_name, output in self.outputs.items():
            self.binding.bind_output(
                port_name, "cpu", 0, output.dtype, output.shape, output.ctypes.data
            )


def _session_options(onnxruntime: ModuleType, asked: Options) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked.threads // asked.streams
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
