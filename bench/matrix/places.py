"""Places: a device as a runtime names it, and the CPUs that its process may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from medge.errors import UsageError
from medge.profiles.cuda_gpus import devices_offered
from medge.profiles.device_names import NULL, devices_typed, ordinal
from medge.profiles.terms import Count, Text

CPU = "cpu"
EVERY = "all"
_PINNED = re.compile(r"cpu:(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)", re.IGNORECASE)


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a cell runs; ``cpus`` None lets its process use all that this one may."""

    device: Text
    cpus: tuple[Count, ...] | None = None

    @property
    def name(self) -> str:
        """Return it as it is typed: ``nvidia:0``, ``cpu``, ``cpu:0-3``."""
        return self.device if self.cpus is None else f"{self.device}:{list_text(self.cpus)}"


def read_places(typed: Sequence[str]) -> tuple[Place, ...] | None:
    """Read what was typed behind ``--device``; None where every device is meant.

    Raises
    ------
    UsageError
        Rule ``bench-cpus``: CPUs that this process may not use. Rule ``device-list``: a list of
        GPUs that is none.
    BackendError
        Rule ``cuda-driver`` and the like: every NVIDIA GPU is meant, and there is none.
    """
    if any(word.lower() == EVERY for word in typed):
        return None
    words = (each for word in typed for each in devices_typed(word, devices_offered))
    return tuple(dict.fromkeys(_place(word) for word in words))


def apart(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return those that can work at once without sharing a device or a CPU that they are pinned to.

    A process on unpinned CPUs shares them with all others, so it is left out.
    """
    taken: set[int] = set()
    chosen = []
    for place in places:
        cpus = set(place.cpus or ())
        if (place.device == CPU and not cpus) or cpus & taken:
            continue
        taken |= cpus
        chosen.append(place)
    return tuple(chosen)


@contextmanager
def pinned(place: Place) -> Iterator[None]:
    """Let processes that are started within run on the place's CPUs only.

    What a process may use is handed down when it is started, so that every thread of a runtime has
    it; pinned afterwards, threads that exist would stay where they are.
    """
    if place.cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, place.cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def list_text(cpus: Sequence[int]) -> str:
    """Return CPUs as the kernel lists them: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _place(word: str) -> Place:
    if word.lower() == CPU:
        return Place(device=CPU)
    if ordinal(word) is not None or ordinal(word, NULL) is not None:
        return Place(device=word)
    found = _PINNED.fullmatch(word)
    if found is None:
        return Place(device=word.upper())
    allowed = os.sched_getaffinity(0)
    cpus: set[int] = set()
    for part in found[1].split(","):
        low, _, high = part.partition("-")
        if int(high or low) - int(low) > 4096:
            raise _no_cpus(word, allowed)
        cpus |= set(range(int(low), int(high or low) + 1))
    if not cpus or not cpus <= allowed:
        raise _no_cpus(word, allowed)
    return Place(device=CPU, cpus=tuple(sorted(cpus)))


def _no_cpus(word: str, allowed: set[int]) -> UsageError:
    return UsageError(
        "bench-cpus",
        f"--device {word[:40]} names CPUs that this process may not use. It may use "
        f"cpu:{list_text(sorted(allowed))}.",
    )
