"""Child processes: a module of medge in a process of its own, asked over pipes, always ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from types import TracebackType

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031  # fcntl.h of Linux
_REAP_LIMIT_S = 1.0


def started(
    module: str, *words: str, descriptors: tuple[int, ...] = (), asked: bool = True
) -> subprocess.Popen[bytes]:
    """Start ``python -m module``.

    It has no terminal and its own group, so that Ctrl-C is this side's to handle and one signal
    ends all of it.

    Parameters
    ----------
    descriptors
        What it inherits: shared memory and sockets.
    asked
        Whether its stdin is a pipe; else it is empty.
    """
    return subprocess.Popen(  # noqa: S603 - a module of ours, named in code
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a library's own words may quote a file, and answer nothing
        cwd="/",  # so that no module of the user's folder is imported
        bufsize=0,
        start_new_session=True,
        pass_fds=descriptors,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``started`` returned and all that it started; reap it."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_with_the_asker() -> None:
    """End this process, a started one, as soon as nobody can ask it any more.

    It is in a group of its own: who kills the one that started it does not reach it, and a library
    that computes for minutes does not read.
    """
    threading.Thread(target=_until_nobody_asks, daemon=True).start()


def _until_nobody_asks() -> None:
    poll = select.poll()
    poll.register(0, 0)  # the end of the other side is told unasked
    poll.poll()
    os._exit(0)


def how_it_ended(cause: int | None) -> str:
    """Say what a signal did: ``crashed with SIGSEGV``; None is an end without one."""
    known = {int(each): each.name for each in signal.Signals}
    return "ended without an answer" if cause is None else f"crashed with {known.get(cause, cause)}"


def read_exactly(descriptor: int, count: int) -> bytes | None:
    """Read so many bytes, on the other side; None when the pipe is closed first."""
    parts = []
    while count:
        part = os.read(descriptor, min(count, _PIPE_BYTES))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class Child:
    """One started process and its two pipes; use it as a context manager or close it.

    Attributes
    ----------
    pid
        Process number.
    """

    def __init__(self, module: str, descriptors: tuple[int, ...] = ()) -> None:
        self._process: subprocess.Popen[bytes] | None = started(module, descriptors=descriptors)
        self._owner = os.getpid()
        self._rest = b""
        self.pid = self._process.pid
        for pipe in self._pipes():
            os.set_blocking(pipe, False)

    @property
    def lost(self) -> bool:
        """Whether there is nobody to ask: it was ended, or is the child of who forked this one."""
        return self._process is None or self._owner != os.getpid()

    def widen(self) -> None:
        """Let each pipe hold a mebibyte at once, where the system allows."""
        for pipe in self._pipes():
            with contextlib.suppress(OSError):  # the pipe budget is spent; only speed depends on it
                fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)

    def write(self, data: bytes, deadline: float) -> None:
        """Write all of it.

        Raises
        ------
        TimeoutError
            ``time.monotonic`` reached the deadline first.
        EOFError, OSError
            The process is gone.
        """
        requests, _ = self._pipes()
        rest = memoryview(data)
        while rest:
            _wait(requests, select.POLLOUT, deadline)
            rest = rest[os.write(requests, rest) :]

    def read(self, count: int, deadline: float) -> bytes:
        """Read so many bytes; raises as ``write``."""
        _, answers = self._pipes()
        parts = []
        while count:
            part = _part(answers, count, deadline)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def read_line(self, deadline: float) -> bytes:
        """Read a line, without its end; raises as ``write``. Not to be mixed with ``read``."""
        _, answers = self._pipes()
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            parts.append(_part(answers, _PIPE_BYTES, deadline))
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line

    def ended(self) -> int | None:
        """Reap the process; return the signal that ended it, if one did before we do."""
        process = self._process
        if process is None:
            return None
        try:
            code: int | None = process.wait(timeout=_REAP_LIMIT_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            code = None
        self.close()
        return -code if code is not None and code < 0 else None

    def close(self) -> None:
        """End the process; a second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._owner == os.getpid():
            end(process)
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.returncode = 0  # after a fork it is the other process's child

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pipes(self) -> tuple[int, int]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError
        return process.stdin.fileno(), process.stdout.fileno()


def _wait(descriptor: int, event: int, deadline: float) -> None:
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


def _part(descriptor: int, count: int, deadline: float) -> bytes:
    _wait(descriptor, select.POLLIN, deadline)
    part = os.read(descriptor, min(count, _PIPE_BYTES))
    if not part:
        raise EOFError
    return part
