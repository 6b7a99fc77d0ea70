"""What a cold start is asked and what it says; alone here, because its import is timed too."""

from __future__ import annotations

from msgspec import Struct

from medge.engine.sealed import Candidate


class Cold(Struct, frozen=True):
    """What a new process is to open and judge; paths are the system's own bytes."""

    folder: bytes
    file: bytes
    candidate: Candidate
    sealed: bool


class Moments(Struct, frozen=True):
    """``perf_counter_ns`` at the start and after each step; ``fault`` is a rule, "" if all went."""

    at_ns: tuple[int, ...]
    fault: str = ""
