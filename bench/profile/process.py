"""Worker processes as their parent sees them: started, asked, and always ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from medge.engine.prediction import Fault
from medge.errors import (
    BackendError,
    BundleError,
    DeadlineError,
    GateError,
    InputError,
    MedgeError,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from medge.bench.profile.loaded import Load, Loaded, LoadFacts

LOAD_LIMIT_S = 600.0  # a large network on a cold disk, built by a slow runtime
ASK_LIMIT_S = 120.0

_NULL = msgspec.Raw(b"null")
_ERRORS = {
    kind.exit_code: kind
    for kind in (
        UsageError,
        InputError,
        BundleError,
        BackendError,
        StorageError,
        DeadlineError,
        GateError,
    )
}

A = TypeVar("A")
R = TypeVar("R")


class Request(Struct, frozen=True):
    """One thing asked of a worker: ``package.module:function`` and what it is given, as JSON."""

    function: str
    body: msgspec.Raw


class Reply(Struct, frozen=True, omit_defaults=True):
    """What came of a request: the function's answer as JSON, or what stopped it."""

    body: msgspec.Raw = _NULL
    fault: Fault | None = None


class Worker:
    """One process that holds one loaded candidate; use it as a context manager or close it.

    It has no terminal and its own group, so that Ctrl-C is this side's to handle and one signal
    ends all of it. After an error other than those of medge it is gone, and ``lost`` says so.

    Attributes
    ----------
    pid
        Process number of the worker.
    started_ns
        ``perf_counter_ns`` right before it was started.
    facts
        What loading showed; set by ``load``.
    """

    facts: LoadFacts

    def __init__(self) -> None:
        self.started_ns = time.perf_counter_ns()
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "medge.bench.profile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a runtime's own words are no part of the answer
            cwd="/",  # so that no module of the user's folder is imported
            bufsize=0,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._rest = b""

    @property
    def lost(self) -> bool:
        """Whether the process is gone."""
        return self._process is None

    def load(self, asked: Load, limit_s: float = LOAD_LIMIT_S) -> LoadFacts:
        """Load a candidate, and keep what that showed in ``facts``.

        Raises
        ------
        MedgeError
            As ``ask``.
        """
        from medge.bench.profile.loaded import LoadFacts  # noqa: PLC0415 - its module needs an engine

        body = self._exchange(msgspec.json.encode(asked), limit_s)
        self.facts = msgspec.json.decode(body, type=LoadFacts)
        return self.facts

    def ask(self, function: Callable[[Loaded, A], R], asked: A, limit_s: float = ASK_LIMIT_S) -> R:
        """Run a function of ``medge.bench`` in the worker, on what it has loaded.

        Parameters
        ----------
        function
            A function at the top of its module, annotated: ``worker.py`` says how to write one.
        limit_s
            The process is ended when there is no answer after so many seconds.

        Raises
        ------
        MedgeError
            What the function raised; rule ``bug`` where that was no error of medge.
        BackendError
            Rule ``worker-crash``: the process died; ``worker-hangs``: it gave no answer in time.
        """
        request = Request(
            f"{function.__module__}:{function.__qualname__}",
            msgspec.Raw(msgspec.json.encode(asked)),
        )
        body = self._exchange(msgspec.json.encode(request), limit_s)
        answer: R = _decoder(function).decode(body)
        return answer

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

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _exchange(self, line: bytes, limit_s: float) -> msgspec.Raw:
        """Send one line and wait for the answer; whatever goes wrong ends the process."""
        deadline = time.monotonic() + limit_s
        try:
            self._write(line + b"\n", deadline)
            reply = msgspec.json.decode(self._line(deadline), type=Reply)
        except TimeoutError:
            self.close()
            raise BackendError(
                "worker-hangs",
                f"The process that measures gave no answer within {limit_s:g} s and was stopped. "
                "Choose another backend, or free the machine and begin again.",
            ) from None
        except (EOFError, OSError, msgspec.DecodeError):
            raise _crashed(self._ended()) from None
        except BaseException:  # Ctrl-C in between: the pipe is no longer in step
            self.close()
            raise
        if reply.fault is not None:
            kind = _ERRORS.get(reply.fault.exit_code, MedgeError)
            raise kind(reply.fault.rule, reply.fault.message)
        return reply.body

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
            _wait(requests, select.POLLOUT, deadline)
            rest = rest[os.write(requests, rest) :]

    def _line(self, deadline: float) -> bytes:
        _, answers = self._pipes()
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            _wait(answers, select.POLLIN, deadline)
            part = os.read(answers, 1 << 20)
            if not part:
                raise EOFError
            parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line


@cache
def _decoder(function: Callable[..., Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(typing.get_type_hints(function)["return"])


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise TimeoutError


def _crashed(cause: int | None) -> BackendError:
    known: Any = {int(each): each.name for each in signal.Signals}
    how = "ended without an answer" if cause is None else f"crashed with {known.get(cause, cause)}"
    return BackendError(
        "worker-crash",
        f"The process that measures {how}. Choose another backend or precision; if it had too "
        "little memory (SIGKILL), free some.",
    )
