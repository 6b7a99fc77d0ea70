"""Memory: how much there is, how much this process may use, and how fast it is by a short test."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from medge.profiles.cgroup import memory_limits
from medge.profiles.facts import Fact, Facts, Problem
from medge.profiles.kernel_files import ROOT, read_text

MEMINFO = "/proc/meminfo"
LEAST_BYTES = 1 << 30  # Python, a runtime and a ResNet-50 take half of it

TIME_LIMIT_NS = 400_000_000
_BUFFER_BYTES = (32 << 20, 512 << 20)  # of each buffer: least, most
_UNKNOWN_CACHE_BYTES = 32 << 20
_CACHES = 2  # times the last-level caches: four of them pass before a line is touched again

Buffer: TypeAlias = npt.NDArray[Any]


class Bandwidth(Struct, frozen=True):
    """What a copy in memory reached.

    Parameters
    ----------
    bytes_s
        Bytes read and written in a second, as STREAM counts a copy: the lines that a store fetches
        first are not counted (J. D. McCalpin, "Memory Bandwidth and Machine Balance", 1995).
    repeats
        How many copies were timed; ``bytes_s`` is that of the fastest, as in STREAM.
    """

    bytes_s: float
    threads: int
    buffer_bytes: int
    repeats: int


def memory_facts(root: Path = ROOT) -> Facts:
    """Return total and available memory, and the limit of a control group."""
    facts: Facts = {}
    told = _meminfo(root)
    for name, key in (("total", "MemTotal"), ("available", "MemAvailable"), ("swap", "SwapTotal")):
        if key in told:
            facts[name] = Fact(told[key], "bytes", f"{MEMINFO} {key}")
    limits = list(memory_limits(root))
    if limits:
        limit_bytes, file = min(limits)
        if "total" not in facts or limit_bytes < told["MemTotal"]:
            facts["limit"] = Fact(limit_bytes, "bytes", f"/{file.relative_to(root)}")
    return facts


def memory_problems(facts: Facts) -> Iterator[Problem]:
    """Yield a problem where there is too little memory to run a common network."""
    known = [facts[name].value for name in ("available", "limit") if name in facts]
    least = min((value for value in known if isinstance(value, int)), default=LEAST_BYTES)
    if least < LEAST_BYTES:
        yield Problem(
            "little-memory",
            f"This process can have {least / 1e6:.0f} MB of memory; a common network and its "
            "runtime need up to 1 GB.",
            "Close programs, or raise the memory limit of the container.",
        )


def measure_bandwidth(
    cache_bytes: int | None, threads: int, available_bytes: int | None
) -> Bandwidth | None:
    """Copy between buffers far larger than the last-level cache, for less than half a second.

    Parameters
    ----------
    cache_bytes
        All last-level caches together; None where it is not known.
    threads
        How many copy at once, each its part.
    available_bytes
        Memory that may be taken: both buffers stay below a quarter of it.

    Returns
    -------
    Bandwidth | None
        None where buffers that large cannot be had: the figure would be the cache's.
    """
    cache_bytes = cache_bytes or _UNKNOWN_CACHE_BYTES
    low, high = _BUFFER_BYTES
    buffer_bytes = max(_CACHES * cache_bytes, low)
    if buffer_bytes > min(high, high if available_bytes is None else available_bytes // 8):
        return None
    start_ns = time.perf_counter_ns()
    source = np.empty(buffer_bytes // 8, np.float64)
    target = np.empty_like(source)
    parts = list(zip(_parts(target, threads), _parts(source, threads), strict=True))
    times_ns: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        # Written once first: pages that were never written are all the same page of zeros.
        for written in [pool.submit(part.fill, 1.0) for pair in parts for part in pair]:
            written.result()
        while len(times_ns) < 2 or time.perf_counter_ns() - start_ns < TIME_LIMIT_NS:
            before_ns = time.perf_counter_ns()
            for done in [pool.submit(np.copyto, *part) for part in parts]:
                done.result()
            times_ns.append(time.perf_counter_ns() - before_ns)
    return Bandwidth(
        2 * source.nbytes / (min(times_ns) / 1e9), threads, buffer_bytes, len(times_ns)
    )


def bandwidth_fact(found: Bandwidth) -> Fact:
    """Say a bandwidth with how it was measured."""
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    return Fact(
        round(found.bytes_s / 1e9, 2),
        "GB/s",
        f"measured: fastest of {found.repeats} copies between two buffers of "
        f"{found.buffer_bytes / 1e6:.0f} MB, {threads}, bytes read plus bytes written",
    )


def _parts(buffer: Buffer, count: int) -> list[Buffer]:
    return np.array_split(buffer, count)


def _meminfo(root: Path) -> dict[str, int]:
    """Return the sizes that the kernel tells, in bytes."""
    found = re.findall(r"^(\w+): +(\d{1,15}) kB$", read_text(root / "proc/meminfo"), re.MULTILINE)
    return {key: int(number) << 10 for key, number in found}
