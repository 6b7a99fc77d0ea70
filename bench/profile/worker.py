"""Worker: the process in which one candidate is measured, and nothing else.

Run as ``python -m medge.bench.profile.worker``. The other side is ``process.Worker``: one JSON
document a line, a request on stdin, its answer on stdout. What a runtime prints goes nowhere.

**How to add something that a worker can be asked.** Write, in any module of ``medge.bench``, a
function that takes what is loaded and a msgspec ``Struct``, and returns one::

    class Pauses(Struct, frozen=True): ...
    class Paused(Struct, frozen=True): ...

    def pause(loaded: Loaded, asked: Pauses) -> Paused: ...

and ask it of a worker: ``paused = worker.ask(pause, Pauses(...), limit_s=60)``. Nothing is to be
registered: the request names the function, the worker imports its module and reads the types from
its annotations (so these must be imported for real, not only for type checkers). ``loaded`` is a
``loaded.Loaded``: bundle, candidate, session, classifier, golden inputs. Take times with
``time.perf_counter_ns`` inside the function; ``perf_counter_ns`` counts alike in all processes of
a machine (CLOCK_MONOTONIC). Errors of medge come out of ``ask`` as what they are; a crash, a
timeout or a bug comes out as an error too, and the worker is gone then.

It ends when its stdin is closed, and so with its parent, whatever it is doing.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import typing
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import Any

import msgspec

from medge.bench.profile.loaded import Load, Loaded, load
from medge.bench.profile.process import Reply, Request
from medge.engine.prediction import Fault
from medge.errors import MedgeError

_OURS = "medge.bench."


def answer(loaded: Loaded, request: Request) -> msgspec.Raw:
    """Run the function that a request names; return what it returned, as JSON."""
    function, decoder = _found(request.function)
    return _encoded(function(loaded, decoder.decode(request.body)))


def told(error: BaseException) -> Fault:
    """Say what stopped a request; a bug by its class and place, never by its text."""
    if isinstance(error, MedgeError):
        return Fault(rule=error.rule, exit_code=error.exit_code, message=error.message)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
    return Fault(
        rule="bug",
        exit_code=MedgeError.exit_code,
        message=f"{type(error).__name__}{place}. This is a fault of medge; please report it.",
    )


def main() -> None:
    """Load what the first request names, then answer one request after the other."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing may mix with answers
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    loaded: Loaded | None = None
    while True:
        line = requests.get()
        try:
            if loaded is None:
                loaded, facts = load(msgspec.json.decode(line, type=Load))
                reply = Reply(body=_encoded(facts))
            else:
                reply = Reply(body=answer(loaded, msgspec.json.decode(line, type=Request)))
        except Exception as error:  # told to the parent, which decides
            reply = Reply(fault=told(error))
        _write(answers, msgspec.json.encode(reply) + b"\n")


def _listen(requests: SimpleQueue[bytes]) -> None:
    """Hand requests over as they come; end the process with its parent.

    On a thread of its own, so that it ends in the middle of a long call too. It waits in the
    kernel, without Python's lock, and costs a call nothing.
    """
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


@cache
def _found(name: str) -> tuple[Callable[[Loaded, Any], object], msgspec.json.Decoder[Any]]:
    """Import a function and learn what it takes; once, because turns are asked for by thousands."""
    module, _, attribute = name.partition(":")
    if not module.startswith(_OURS):
        raise ValueError("a worker runs functions of medge.bench only")
    function = getattr(importlib.import_module(module), attribute)
    kinds = typing.get_type_hints(function)
    kinds.pop("return", None)
    _, kind = kinds.values()
    return function, msgspec.json.Decoder(kind)


def _encoded(body: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(body))


def _write(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main()
