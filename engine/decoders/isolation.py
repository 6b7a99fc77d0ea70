"""Isolation: GDCM decodes in a process of its own, which may crash, hang or eat memory there."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import zlib

from medge.engine.decoders import Picture
from medge.engine.decoders.worker import ANSWER, BEGUN, DECODED, DIED, READY, REQUEST
from medge.errors import InputError

LIMIT_S = 2.0  # for one frame
_GRACE_S = 2.0  # until the worker's own clock should have stopped it
_START_S = 30.0  # a cold disk may be slow
_MEMORY_BYTES = 2**32  # address space of the decoding process
_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031  # fcntl.h of Linux
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
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._number = 0

    @property
    def pid(self) -> int | None:
        """Process number of the supervisor, None when there is none."""
        return self._process.pid if self._process else None

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
        if self._process is None or self._owner != os.getpid():
            self._start()
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
            self._write(head + data, deadline)
            status, _ = self._answer(deadline)
            begun = status == BEGUN
            if begun:
                status, payload = self._answer(deadline)
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

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "medge.engine.decoders.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a codec's words may quote the file
            cwd="/",  # so that no module of the user's folder is imported
            bufsize=0,
            start_new_session=True,  # Ctrl-C is ours to handle; and one kill ends all of it
        )
        self._owner = os.getpid()
        self._number = 0
        requests, answers = self._pipes()
        os.set_blocking(requests, False)
        _widen(requests)
        _widen(answers)
        try:
            status, _ = self._answer(time.monotonic() + _START_S)
        except (OSError, EOFError):
            status = -1
        if status != READY:
            self._stop()
            raise InputError(
                "decoder-crash",
                f"{_NAME} could not be started in its process. Try: pip install --force-reinstall "
                '"medge[gdcm]".',
            )

    def _pipes(self) -> tuple[int, int]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError
        return process.stdin.fileno(), process.stdout.fileno()

    def _write(self, data: bytes, deadline: float) -> None:
        requests, _ = self._pipes()
        rest = memoryview(data)
        while rest:
            _wait(requests, select.POLLOUT, deadline)
            rest = rest[os.write(requests, rest) :]

    def _answer(self, deadline: float) -> tuple[int, bytes]:
        number, status, length, check = ANSWER.unpack(self._read(ANSWER.size, deadline))
        if status == DIED:
            number = self._number
        payload = self._read(length, deadline)
        # A child that dies while it writes leaves half an answer, and the next words follow it.
        if number != self._number or zlib.crc32(payload) != check:
            raise EOFError
        return status, payload

    def _read(self, count: int, deadline: float) -> bytes:
        _, answers = self._pipes()
        parts = []
        while count:
            _wait(answers, select.POLLIN, deadline)
            part = os.read(answers, min(count, _PIPE_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if self._owner != os.getpid():  # after a fork it is the other process's child
            process.returncode = 0
            return
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _widen(pipe: int) -> None:
    """Let a pipe hold a small frame at once, where the system allows."""
    import fcntl

    with contextlib.suppress(OSError):  # the pipe budget is spent; only speed depends on it
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise TimeoutError


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
