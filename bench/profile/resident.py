"""Resident memory of this process, as the kernel counts it page by page, and of its helpers."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from medge.errors import BackendError
from medge.profiles.kernel_files import ROOT, entries, read_text

ROLLUP = "/proc/self/smaps_rollup"
STATUS = "/proc/self/status"
WATCH_S = 0.05


class Resident(NamedTuple):
    """Bytes in memory now; ``pss_bytes`` shares pages that several processes map."""

    rss_bytes: int
    pss_bytes: int | None


def resident(root: Path = ROOT) -> Resident:
    """Return this process's memory.

    From smaps_rollup, whose sums are exact; where the kernel does not have it (before 4.14, or
    hidden) the resident set of /proc/self/status, whose counters may lag by some pages.

    Raises
    ------
    BackendError
        Rule ``memory-unknown``: the kernel tells neither.
    """
    rollup = read_text(root / ROLLUP[1:])
    rss_bytes = _field(rollup, "Rss")
    if rss_bytes is not None:
        return Resident(rss_bytes, _field(rollup, "Pss"))
    return Resident(_of_status(root, "VmRSS"), None)


def peak_rss_bytes(root: Path = ROOT) -> int:
    """Return the most that this process had in memory since it began (VmHWM).

    Raises
    ------
    BackendError
        Rule ``memory-unknown``.
    """
    return _of_status(root, "VmHWM")


def family(pid: int, root: Path = ROOT) -> frozenset[int]:
    """Return a process and all that it started and that live; of one that has ended its number."""
    parents: dict[int, int] = {}
    for file in entries(root / "proc", "[0-9]*/stat"):
        # "PID (NAME) STATE PARENT ...", and a name may hold brackets and blanks.
        after_name = read_text(file).rpartition(")")[2].split()
        if len(after_name) > 1:
            parents[int(file.parent.name)] = int(after_name[1])
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return frozenset(found)


def helpers_peak_rss_bytes(root: Path = ROOT) -> int:
    """Return the most that any one process had in memory that this one started and that lives.

    0 where there is none. The kernel's sum for children that have ended (getrusage) is of no use:
    it counts what they shared with this process before they became another program.
    """
    own = os.getpid()
    command = read_text(root / f"proc/{own}/cmdline")
    found = 0
    for pid in family(own, root) - {own}:
        folder = root / f"proc/{pid}"
        # The command is asked first: until a new process has its own it has this one's memory too.
        if read_text(folder / "cmdline") != command:
            found = max(found, _field(read_text(folder / "status"), "VmHWM") or 0)
    return found


class Helpers:
    """Watches the processes that are started meanwhile, such as a compiler that soon ends.

    Attributes
    ----------
    peak_rss_bytes
        The most that any one of them had in memory, so far.
    """

    def __init__(self, period_s: float = WATCH_S) -> None:
        self.peak_rss_bytes = 0
        self._period_s = period_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Helpers:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(self._period_s):
            self._look()

    def _look(self) -> None:
        self.peak_rss_bytes = max(self.peak_rss_bytes, helpers_peak_rss_bytes())


def source(root: Path = ROOT) -> str:
    """Return the file that ``resident`` reads."""
    return ROLLUP if _field(read_text(root / ROLLUP[1:]), "Rss") is not None else STATUS


def _of_status(root: Path, key: str) -> int:
    found = _field(read_text(root / STATUS[1:]), key)
    if found is None:
        raise BackendError(
            "memory-unknown",
            f"{STATUS} has no {key}: this kernel does not tell a process its own memory. Mount "
            "/proc as usual.",
        )
    return found


def _field(text: str, key: str) -> int | None:
    """Return a size in bytes; the kernel writes "Rss:   123 kB" and counts 1024 bytes a kB."""
    found = re.search(rf"^{key}:\s+(\d{{1,15}}) kB$", text, re.MULTILINE)
    return int(found[1]) << 10 if found else None
