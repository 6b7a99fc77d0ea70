"""Limits of the control groups, version 1 and 2, that this process is in, as in a container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medge.profiles.kernel_files import ROOT, read_number, read_text, read_word

# Version 1 says "no limit" as the largest whole page; nothing real comes near.
NO_LIMIT_BYTES = 1 << 60


def cpu_quotas(root: Path = ROOT) -> Iterator[tuple[int, int, Path]]:
    """Yield every CPU quota above this process: quota and period in microseconds, and its file."""
    for version, folder in _folders(root, "cpu"):
        if version == 2:
            file = folder / "cpu.max"
            words = read_text(file).split()
        else:
            file = folder / "cpu.cfs_quota_us"
            words = [read_text(file).strip(), read_text(folder / "cpu.cfs_period_us").strip()]
        # No limit is "max" in version 2, -1 in version 1.
        if len(words) == 2 and all(_is_number(word) for word in words) and int(words[1]) > 0:
            yield int(words[0]), int(words[1]), file


def memory_limits(root: Path = ROOT) -> Iterator[tuple[int, Path]]:
    """Yield every limit on this process's memory: bytes and its file."""
    for version, folder in _folders(root, "memory"):
        file = folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")
        limit_bytes = read_number(file)
        if limit_bytes is not None and limit_bytes < NO_LIMIT_BYTES:
            yield limit_bytes, file


def allowed_cpu_list(root: Path = ROOT) -> tuple[str, Path] | None:
    """Return the kernel's list of the CPUs that the nearest group with one allows, and its file."""
    for version, folder in _folders(root, "cpuset"):
        names = ("cpuset.cpus.effective",) if version == 2 else ("cpuset.effective_cpus",)
        for name in (*names, "cpuset.cpus"):
            text = read_word(folder / name)
            if text is not None:
                return text, folder / name
    return None


def _folders(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield (version, folder) of the groups of this process for one controller, nearest first."""
    base = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        number, controllers, path = parts
        if number == "0":  # version 2, alone or beside version 1
            for mount in (base, base / "unified"):
                yield from ((2, folder) for folder in _upwards(mount, path))
        elif controller in controllers.split(","):
            for name in dict.fromkeys((controllers, controller)):
                yield from ((1, folder) for folder in _upwards(base / name, path))


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a group and of all its parents.

    In a container the path may be the host's, of which only the base can be seen.
    """
    group = PurePosixPath(path.lstrip("/"))
    if ".." not in group.parts:
        for part in (group, *group.parents):
            yield base / part
    yield base


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20
