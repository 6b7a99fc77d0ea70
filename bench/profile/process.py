"""Worker processes as their parent sees them: started, asked, and always ended."""

from __future__ import annotations

import time
import typing
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from medge.engine.child_process import Child, how_it_ended
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

    After an error other than those of medge it is gone, and ``lost`` says so.

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
        self._child = Child("medge.bench.profile.worker")
        self.pid = self._child.pid

    @property
    def lost(self) -> bool:
        """Whether the process is gone."""
        return self._child.lost

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
        self._child.close()

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
            self._child.write(line + b"\n", deadline)
            reply = msgspec.json.decode(self._child.read_line(deadline), type=Reply)
        except TimeoutError:
            self.close()
            raise BackendError(
                "worker-hangs",
                f"The process that measures gave no answer within {limit_s:g} s and was stopped. "
                "Choose another backend, or free the machine and begin again.",
            ) from None
        except (EOFError, OSError, msgspec.DecodeError):
            raise _crashed(self._child.ended()) from None
        except BaseException:  # Ctrl-C in between: the pipe is no longer in step
            self.close()
            raise
        if reply.fault is not None:
            kind = _ERRORS.get(reply.fault.exit_code, MedgeError)
            raise kind(reply.fault.rule, reply.fault.message)
        return reply.body


@cache
def _decoder(function: Callable[..., Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(typing.get_type_hints(function)["return"])


def _crashed(cause: int | None) -> BackendError:
    return BackendError(
        "worker-crash",
        f"The process that measures {how_it_ended(cause)}. Choose another backend or precision; "
        "if it had too little memory (SIGKILL), free some.",
    )
