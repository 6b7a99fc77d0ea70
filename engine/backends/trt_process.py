"""A TensorRT process as medge sees it: started, asked, timed, and always ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import TypeVar

import msgspec

from medge.engine.backends.trt_frames import FRAME_CAP_BYTES, LENGTH, Ask, Reply, error_of
from medge.engine.backends.trt_library import Flavour
from medge.errors import BackendError

START_LIMIT_S = 120.0  # a cold disk, and a driver that starts a sleeping GPU

T = TypeVar("T")


class Process:
    """One process of one flavour; use it as a context manager or close it.

    It has no terminal and its own group, so that Ctrl-C is this side's to handle and one signal
    ends all of it. After a crash, a hang or Ctrl-C it is gone.

    Parameters
    ----------
    descriptors
        What it inherits: shared memory and sockets.
    """

    def __init__(self, flavour: Flavour, descriptors: tuple[int, ...] = ()) -> None:
        self._flavour = flavour
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "medge.engine.backends.trt_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library's own words are no part of the answer
            cwd="/",  # so that no module of the user's folder is imported
            bufsize=0,
            start_new_session=True,
            pass_fds=descriptors,
        )
        self.pid = self._process.pid

    def ask(self, asked: Ask, kind: type[T], limit_s: float = START_LIMIT_S) -> T:
        """Ask, and wait for the answer.

        Raises
        ------
        MedgeError
            What the other side raised.
        BackendError
            Rule ``runtime-crash``: the process died. Rule ``runtime-hangs``: there was no answer
            after ``limit_s`` seconds, and the process was ended.
        """
        deadline = time.monotonic() + limit_s
        try:
            said = msgspec.msgpack.encode(asked)
            self._write(LENGTH.pack(len(said)), deadline)
            self._write(said, deadline)
            length = LENGTH.unpack(self._read(LENGTH.size, deadline))[0]
            if length > FRAME_CAP_BYTES:
                raise EOFError
            reply = msgspec.msgpack.decode(self._read(length, deadline), type=Reply)
        except TimeoutError:
            raise self.hung(limit_s) from None
        except (EOFError, OSError, msgspec.DecodeError):
            raise self.crashed() from None
        except BaseException:  # Ctrl-C in between: the pipe is no longer in step
            self.close()
            raise
        if reply.fault is not None:
            raise error_of(reply.fault)
        return msgspec.msgpack.decode(reply.body, type=kind)

    def hung(self, limit_s: float) -> BackendError:
        """End the process; return what to tell."""
        self.close()
        return BackendError(
            "runtime-hangs",
            f"{self._flavour} gave no answer within {limit_s:g} s and was stopped. Look at what "
            "else uses the GPU, or try --backend onnxruntime.",
        )

    def crashed(self) -> BackendError:
        """Reap the process; return what to tell."""
        cause = self._ended()
        known = {int(each): each.name for each in signal.Signals}
        how = "ended without an answer" if cause is None else f"crashed with {known.get(cause)}"
        if cause == signal.SIGKILL:
            step = "Free memory: that is what the system kills for."
        else:
            step = "Install it again for this driver, or try --backend onnxruntime."
        return BackendError(
            "runtime-crash",
            f"{self._flavour} {how} in its own process; nothing else was harmed. {step}",
        )

    def close(self) -> None:
        """End the process; a second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ended(self) -> int | None:
        """Reap the process; return the signal that ended it, if one did before we do."""
        process = self._process
        if process is None:
            return None
        try:
            code: int | None = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            code = None
        self.close()
        return -code if code is not None and code < 0 else None

    def _pipes(self) -> tuple[int, int]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError
        return process.stdin.fileno(), process.stdout.fileno()

    def _write(self, data: bytes, deadline: float) -> None:
        requests, _ = self._pipes()
        os.set_blocking(requests, False)
        rest = memoryview(data)
        while rest:
            wait_for(requests, select.POLLOUT, deadline)
            rest = rest[os.write(requests, rest) :]

    def _read(self, count: int, deadline: float) -> bytes:
        _, answers = self._pipes()
        parts = []
        while count:
            wait_for(answers, select.POLLIN, deadline)
            part = os.read(answers, min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a descriptor is ready.

    Raises
    ------
    TimeoutError
        ``time.monotonic`` reached the deadline first.
    """
    poll = select.poll()
    poll.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise TimeoutError
