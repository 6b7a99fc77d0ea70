"""Turns: what is timed in a worker, and the timer that asks a worker for it."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct

from medge.bench.measure import Stopwatch
from medge.bench.procedure import Procedure
from medge.bench.profile.loaded import Loaded
from medge.bench.profile.process import Worker
from medge.engine.prediction import Result, Timings
from medge.errors import InputError, MedgeError
from medge.profiles.terms import Count, Positive

Span = Literal["infer", "file-to-decision"]
INFER: Span = "infer"
WHOLE: Span = "file-to-decision"
PARTS = {  # steps of a call from file to decision, and the stage that each is stored as
    "read": "read",
    "decode": "decode",
    "prepare": "prepare",
    "infer": "infer-in-file",  # "infer" alone is the network in a loop of its own
    "decide": "decide",
}

A = TypeVar("A")


class Turn(Struct, frozen=True):
    """One sample: the turn of round ``place``; the procedure's span says what is timed."""

    procedure: Procedure
    place: Count


class Window(Struct, frozen=True):
    """Calls that follow each other, each timed; no further one once the clock says ``until_ns``."""

    procedure: Procedure
    calls: Positive
    until_ns: Count


class Taken(Struct, frozen=True):
    """What the calls took, in their order; ``parts_ns`` are those of the last, as in ``PARTS``."""

    samples_ns: tuple[Count, ...]
    parts_ns: tuple[Count, ...] = ()


class Files(Struct, frozen=True):
    """Paths of the files that ``file-to-decision`` runs through, as the system's own bytes."""

    paths: tuple[bytes, ...]


class Sifted(Struct, frozen=True):
    """For each file the rule that refused it, None for one that can be timed."""

    rules: tuple[str | None, ...]


def turn(loaded: Loaded, asked: Turn) -> Taken:
    """Take one sample in the worker: lead-in, rest, and the timed call."""
    call = call_of(loaded, asked.procedure.span, asked.place - asked.procedure.lead_in)
    sample_ns = Stopwatch(call, asked.procedure).turn()
    return Taken((sample_ns,), call.parts_ns if isinstance(call, FileCall) else ())


def window(loaded: Loaded, asked: Window) -> Taken:
    """Time calls that follow each other, as for warming up."""
    call = call_of(loaded, asked.procedure.span)
    return Taken(tuple(Stopwatch(call, asked.procedure).window(asked.calls, asked.until_ns)))


def take_files(loaded: Loaded, asked: Files) -> Sifted:
    """Let the worker run through these files from now on; say which it refuses."""
    loaded.files = tuple(Path(os.fsdecode(path)) for path in asked.paths)
    rules = []
    for path in loaded.files:
        fault = _first(loaded, path).fault
        rules.append(None if fault is None else fault.rule)
    return Sifted(tuple(rules))


def call_of(loaded: Loaded, span: str, place: int = 0) -> InferCall | FileCall:
    """Return what is timed under a span; ``place`` is the file of the first call."""
    return InferCall(loaded) if span == INFER else FileCall(loaded, place)


class InferCall:
    """The network alone, on one golden case: copies in and out and both checks are inside."""

    def __init__(self, loaded: Loaded) -> None:
        self._infer, self._one = loaded.session.infer, loaded.one

    def __call__(self) -> None:
        """Run one picture."""
        self._infer(self._one)


class FileCall:
    """From the name of a file to the decision about its first frame; each call the next file."""

    def __init__(self, loaded: Loaded, place: int) -> None:
        self._loaded = loaded
        self._place = place
        self._last: Result | None = None

    def __call__(self) -> None:
        """Judge one file.

        Raises
        ------
        InputError
            It is refused, which it was not when the files were taken.
        """
        loaded = self._loaded
        self._last = _first(loaded, loaded.files[self._place % len(loaded.files)])
        self._place += 1
        fault = self._last.fault
        if fault is not None:
            raise InputError(fault.rule, fault.message)

    @property
    def parts_ns(self) -> tuple[int, ...]:
        """What the steps of the last call took."""
        times = Timings() if self._last is None else self._last.timings
        return tuple(getattr(times, f"{step}_ns") for step in PARTS)


class Turns:
    """The timer of one worker under one procedure.

    Attributes
    ----------
    fault
        What stopped the worker's candidate; None while it goes on.
    """

    def __init__(self, worker: Worker, procedure: Procedure) -> None:
        self._worker = worker
        self._procedure = procedure
        self._parts_ns = {stage: array("q") for stage in PARTS.values()}
        self.fault: MedgeError | None = None

    @property
    def parts_ns(self) -> dict[str, tuple[int, ...]]:
        """By stage the parts of the samples, in the same order; empty where there are none."""
        return {stage: tuple(taken) for stage, taken in self._parts_ns.items() if taken}

    def window(self, calls: int, until_ns: int) -> tuple[int, ...]:
        """See Timer.window."""
        taken = self._asked(window, Window(self._procedure, calls, max(0, until_ns)))
        return () if taken is None else taken.samples_ns

    def turn(self, place: int) -> int | None:
        """See Timer.turn."""
        taken = self._asked(turn, Turn(self._procedure, place))
        if taken is None:
            return None
        for column, part_ns in zip(self._parts_ns.values(), taken.parts_ns, strict=False):
            column.append(part_ns)
        return taken.samples_ns[0]

    def _asked(self, function: Callable[[Loaded, A], Taken], asked: A) -> Taken | None:
        try:
            return self._worker.ask(function, asked)
        except MedgeError as error:
            self.fault = error
            return None


def _first(loaded: Loaded, path: Path) -> Result:
    """Judge the first frame of a file; the file is let go of afterwards."""
    return next(loaded.classifier.stream(path, loaded.asked))
