"""What medge keeps on this machine: where, how much of it, and whether it can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from medge.engine.cache import cache_folder
from medge.engine.state import state_folder
from medge.errors import StorageError
from medge.profiles.facts import Fact, Facts, Problem


def kept_facts() -> Facts:
    """Return the state folder and the engine cache with their sizes."""
    facts: Facts = {}
    for name, folder, source in _folders():
        facts[f"{name}_folder"] = Fact(str(folder), "", source)
        facts[f"{name}_writable"] = Fact(_writable(folder), "", "access(2)")
        if folder.is_dir():
            facts[f"{name}_size"] = Fact(_size_bytes(folder), "bytes", "stat(2) of its files")
    return facts


def kept_problems(facts: Facts) -> Iterator[Problem]:
    """Yield a problem for each folder that cannot be written."""
    for name, what in (("state", "Results and sealed choices"), ("cache", "Built engines")):
        writable = facts.get(f"{name}_writable")
        if writable is None or not writable.value:
            folder = facts.get(f"{name}_folder")
            where = "no folder" if folder is None else folder.value
            yield Problem(
                f"{name}-folder",
                f"{what} cannot be kept: {where} cannot be written.",
                "Set MEDGE_HOME to a folder that only you can write.",
                'export MEDGE_HOME="$HOME/.medge"',
            )


def _folders() -> Iterator[tuple[str, Path, str]]:
    home = "MEDGE_HOME" if os.environ.get("MEDGE_HOME") else None
    with suppress(StorageError):  # a user without a home folder; told as a problem
        yield "state", state_folder(), home or "XDG_STATE_HOME or its default"
    yield "cache", cache_folder(), home or "XDG_CACHE_HOME or its default"


def _writable(folder: Path) -> bool:
    """Return whether a folder can be written, or made where it is not there yet."""
    for place in (folder, *folder.parents):
        if place.exists():
            return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def _size_bytes(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # another process removed it
                continue
    return total
