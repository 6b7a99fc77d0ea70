"""OpenVINO's compiler in a process of its own, which some quantized graphs make crash.

Run as ``python -m medge.engine.backends.ov_compile`` it is that process: one job after another on
stdin, a blob on stdout for each, until stdin ends or nobody asks for a while.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import struct
import threading
import time

import msgspec
from msgspec import Struct

from medge.engine.backends.silence import silent_openvino
from medge.engine.child_process import Child, how_it_ended, read_exactly
from medge.errors import BackendError, BundleError

LIMIT_S = 600.0  # a large network on a slow processor
IDLE_S = 5.0  # its memory is given back soon after the last graph

_LENGTH = struct.Struct("<Q")
_BEGUN = b"\x01"


class Job(Struct, frozen=True):
    """What to compile, and how; ``shapes`` fixes those of some inputs."""

    model: bytes
    device: str
    properties: dict[str, str | int | bool]
    shapes: dict[str, list[int]]


class Compiled(Struct, frozen=True):
    """OpenVINO's blob, or what it said instead."""

    blob: bytes = b""
    error: str | None = None


class _NotBegunError(Exception):
    """The process ended before it took up the job."""


class Compiler:
    """Owns the process: starts it when needed, and again after it has ended."""

    def __init__(self, module: str = "medge.engine.backends.ov_compile") -> None:
        self._module = module
        self._lock = threading.Lock()
        self._child: Child | None = None

    def blob(self, job: Job, limit_s: float = LIMIT_S) -> bytes:
        """Compile; return what ``Core.import_model`` takes.

        Raises
        ------
        RuntimeError
            In OpenVINO's words, which are not to be passed on.
        BundleError
            Rule ``graph``: the compiler crashed.
        BackendError
            Rule ``runtime-hangs``: no answer after ``limit_s`` seconds. Rule ``runtime-crash``: the
            system killed it.
        """
        said = msgspec.msgpack.encode(job)
        with self._lock:
            try:
                answer = self._ask(said, limit_s)
            except _NotBegunError:  # it went home between two jobs, which is not this one's fault
                try:
                    answer = self._ask(said, limit_s)
                except _NotBegunError:
                    raise _crashed(None) from None
        if answer.error is not None:
            raise RuntimeError(answer.error)
        return answer.blob

    def close(self) -> None:
        """End the process; a later job starts another."""
        with self._lock:
            self._stop()

    def _ask(self, said: bytes, limit_s: float) -> Compiled:
        if self._child is None or self._child.lost:
            self._stop()
            self._child = Child(self._module)
        child, begun = self._child, False
        deadline = time.monotonic() + limit_s
        try:
            child.write(_LENGTH.pack(len(said)) + said, deadline)
            child.read(len(_BEGUN), deadline)
            begun = True
            length = _LENGTH.unpack(child.read(_LENGTH.size, deadline))[0]
            return msgspec.msgpack.decode(child.read(length, deadline), type=Compiled)
        except TimeoutError:
            self._stop()
            raise BackendError(
                "runtime-hangs",
                f"openvino compiled for {limit_s:g} s without an end and was stopped. Free the "
                "machine, or choose --backend onnxruntime.",
            ) from None
        except (EOFError, OSError, msgspec.DecodeError):
            cause = child.ended()
            self._stop()
            if not begun:
                raise _NotBegunError from None
            raise _crashed(cause) from None
        except BaseException:  # Ctrl-C in between: the pipe is no longer in step
            self._stop()
            raise

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _crashed(cause: int | None) -> BundleError | BackendError:
    if cause == signal.SIGKILL:
        return BackendError(
            "runtime-crash",
            "openvino was killed while it compiled the graph, as the system does when memory is "
            "short. Free memory, or choose --backend onnxruntime.",
        )
    return BundleError(
        "graph",
        f"openvino {how_it_ended(cause)} while it compiled the graph, in a process of its own. "
        "Choose another precision or --backend onnxruntime.",
    )


_SHARED = Compiler()
atexit.register(_SHARED.close)


def shared_compiler() -> Compiler:
    """Return this process's one compiler; nothing runs before it is first asked."""
    return _SHARED


def main() -> None:
    """Answer jobs on stdin with blobs on stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints goes nowhere
    core = silent_openvino().Core()
    while select.select([0], [], [], IDLE_S)[0]:
        head = read_exactly(0, _LENGTH.size)
        said = None if head is None else read_exactly(0, _LENGTH.unpack(head)[0])
        if said is None:
            return
        answers.write(_BEGUN)
        answers.flush()
        job = msgspec.msgpack.decode(said, type=Job)
        try:
            graph = core.read_model(job.model)
            if job.shapes:
                graph.reshape(job.shapes)
            exported = core.compile_model(graph, job.device, job.properties).export_model()
            answer = Compiled(exported if isinstance(exported, bytes) else exported.getvalue())
        except RuntimeError as error:
            answer = Compiled(error=str(error))
        told = msgspec.msgpack.encode(answer)
        answers.write(_LENGTH.pack(len(told)) + told)
        answers.flush()


if __name__ == "__main__":
    main()
