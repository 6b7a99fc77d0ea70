"""Resident memory of this process, as the kernel counts it page by page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from medge.errors import BackendError
from medge.profiles.kernel_files import ROOT, read_text

ROLLUP = "/proc/self/smaps_rollup"
STATUS = "/proc/self/status"


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
