"""A TensorRT process as medge sees it: started, asked, timed, and always ended."""

from __future__ import annotations

import signal
import time
from types import TracebackType
from typing import TypeVar

import msgspec

from medge.engine.backends.trt.frames import FRAME_CAP_BYTES, LENGTH, Ask, Reply, error_of
from medge.engine.backends.trt.library import Flavour
from medge.engine.child_process import Child, how_it_ended
from medge.errors import BackendError

START_LIMIT_S = 120.0  # a cold disk, and a driver that starts a sleeping GPU

T = TypeVar("T")


class Process:
    """One process of one flavour; use it as a context manager or close it.

    After a crash, a hang or Ctrl-C it is gone.

    Parameters
    ----------
    descriptors
        What it inherits: shared memory and sockets.
    """

    def __init__(self, flavour: Flavour, descriptors: tuple[int, ...] = ()) -> None:
        self._flavour = flavour
        self._child = Child("medge.engine.backends.trt.worker", descriptors)
        self.pid = self._child.pid

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
            self._child.write(LENGTH.pack(len(said)), deadline)
            self._child.write(said, deadline)
            length = LENGTH.unpack(self._child.read(LENGTH.size, deadline))[0]
            if length > FRAME_CAP_BYTES:
                raise EOFError
            reply = msgspec.msgpack.decode(self._child.read(length, deadline), type=Reply)
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
        cause = self._child.ended()
        if cause == signal.SIGKILL:
            step = "Free memory: that is what the system kills for."
        else:
            step = "Install it again for this driver, or try --backend onnxruntime."
        return BackendError(
            "runtime-crash",
            f"{self._flavour} {how_it_ended(cause)} in its own process; nothing else was harmed. "
            f"{step}",
        )

    def close(self) -> None:
        """End the process; a second time does nothing."""
        self._child.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
