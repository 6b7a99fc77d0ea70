"""Isolation: GDCM decodes in a process of its own, which may crash, hang or eat memory there."""

from __future__ import annotations

import atexit
import signal
import threading
import time
import zlib

from medge.engine.child_process import Child
from medge.engine.decoders import Picture
from medge.engine.decoders.worker import ANSWER, BEGUN, DECODED, DIED, READY, REQUEST
from medge.errors import InputError

LIMIT_S = 2.0  # for one frame
_GRACE_S = 2.0  # until the worker's own clock should have stopped it
_START_S = 30.0  # a cold disk may be slow
_MEMORY_BYTES = 2**32  # address space of the decoding process
_TIMED_OUT = frozenset((signal.SIGALRM, signal.SIGXCPU))
_NAME = "GDCM"


class _NotBegun(Exception):  # noqa: N818  a state, not an error
    """The process ended before it took up the frame."""


class Worker:
    """Owns the worker process: starts it when needed, and again after it died."""

    def __init__(self, limit_s: float = LIMIT_S, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._limit_s = limit_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._number = 0

    @property
    def pid(self) -> int | None:
        """Process number of the supervisor, None when there is none."""
        return self._child.pid if self._child else None

    def decode(self, data: bytes, syntax: int, picture: Picture, precision: int) -> bytes:
        """Decode one frame of ``1.2.840.10008.1.2.4.<syntax>``.

        Raises
        ------
        InputError
            ``decode-failed``, ``decoder-timeout``, ``decoder-crash``; the next frame is safe.
        """
        with self._lock:
            try:
                status, payload = self._ask(data, syntax, picture, precision)
            except _NotBegun:  # it died between two frames, which is not this one's fault
                self._stop()
                try:
                    status, payload = self._ask(data, syntax, picture, precision)
                except _NotBegun:
                    raise _crashed(None) from None
        return self._judge(status, payload)

    def close(self) -> None:
        """End the process; a later ``decode`` starts another."""
        with self._lock:
            self._stop()

    def _judge(self, status: int, payload: bytes) -> bytes:
        if status == DECODED:
            return payload
        if status == DIED:
            cause = int(payload)
            raise _slow(self._limit_s) if cause in _TIMED_OUT else _crashed(cause)
        if payload == b"MemoryError":
            raise InputError(
                "memory", f"{_NAME} needs more than {self._memory_bytes} bytes for this frame."
            )
        raise InputError(
            "decode-failed",
            f"{_NAME} could not decode the frame ({payload.decode('ascii', 'replace')}): its data "
            "are damaged. Obtain the file again.",
        )

    def _ask(self, data: bytes, syntax: int, picture: Picture, precision: int) -> tuple[int, bytes]:
        """Send one frame and wait for its answer; whatever goes wrong ends the process."""
        if self._child is None or self._child.lost:
            self._stop()
            self._child = self._started()
        child = self._child
        self._number = self._number % 0xFFFFFFFF + 1
        head = REQUEST.pack(
            self._number,
            len(data),
            self._limit_s,
            self._memory_bytes,
            syntax,
            picture.rows,
            picture.columns,
            picture.samples,
            picture.bits_allocated,
            precision,
        )
        deadline = time.monotonic() + self._limit_s + _GRACE_S
        begun = False
        try:
            child.write(head + data, deadline)
            status, _ = self._answer(child, deadline)
            begun = status == BEGUN
            if begun:
                status, payload = self._answer(child, deadline)
                return status, payload
        except (OSError, EOFError) as error:
            self._stop()
            if begun:
                slow = isinstance(error, TimeoutError)  # which is an OSError, too
                raise (_slow(self._limit_s) if slow else _crashed(None)) from None
        except BaseException:  # Ctrl-C in between: the pipe is no longer in step
            self._stop()
            raise
        raise _NotBegun

    def _started(self) -> Child:
        child = Child("medge.engine.decoders.worker")
        child.widen()
        self._number = 0
        try:
            status, _ = self._answer(child, time.monotonic() + _START_S)
        except (OSError, EOFError):
            status = -1
        except BaseException:  # Ctrl-C
            child.close()
            raise
        if status != READY:
            child.close()
            raise InputError(
                "decoder-crash",
                f"{_NAME} could not be started in its process. Try: pip install --force-reinstall "
                '"medge[gdcm]".',
            )
        return child

    def _answer(self, child: Child, deadline: float) -> tuple[int, bytes]:
        number, status, length, check = ANSWER.unpack(child.read(ANSWER.size, deadline))
        if status == DIED:
            number = self._number
        payload = child.read(length, deadline)
        # A child that dies while it writes leaves half an answer, and the next words follow it.
        if number != self._number or zlib.crc32(payload) != check:
            raise EOFError
        return status, payload

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _slow(limit_s: float) -> InputError:
    return InputError(
        "decoder-timeout",
        f"{_NAME} needs more than {limit_s:g} s for this frame and was stopped. The file is "
        "damaged, or the machine overloaded.",
    )


def _crashed(cause: int | None) -> InputError:
    how = f"was stopped by signal {cause}" if cause else "stopped without an answer"
    return InputError(
        "decoder-crash", f"{_NAME} {how} while it decoded this frame. Obtain the file again."
    )


_SHARED = Worker()
atexit.register(_SHARED.close)


def shared_worker() -> Worker:
    """Return this process's one worker; nothing runs before it is first asked to decode."""
    return _SHARED
