"""Memory of a worker: what the network took, the highest, and whether it grows with the calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from medge.bench.profile.growth import MIN_POINTS, slope
from medge.bench.profile.loaded import Loaded, LoadFacts
from medge.bench.profile.process import Worker
from medge.bench.profile.resident import (
    family,
    helpers_peak_rss_bytes,
    peak_rss_bytes,
    resident,
    source,
)
from medge.bench.profile.turns import WHOLE, call_of
from medge.bench.sections import Absent, Memory
from medge.engine.sealed import Candidate
from medge.profiles.nvml import PACKAGE, installed, pynvml
from medge.profiles.terms import Count, Positive

POINTS = 25
CALLS = 1000  # growth is told for so many
ON_CPU = "it runs on the CPU, which has no memory of its own"


class Grow(Struct, frozen=True):
    """Work for so long in all, and read the memory after each of ``POINTS`` equal parts."""

    for_ns: Count


class Grown(Struct, frozen=True):
    """Calls so far and bytes in memory then, point by point; the highest of it and its helpers."""

    calls: tuple[Positive, ...]
    rss_bytes: tuple[Count, ...]
    peak_rss_bytes: Count
    source: str
    helpers_peak_rss_bytes: Count = 0


def grow(loaded: Loaded, asked: Grow) -> Grown:
    """Run files from their bytes to a decision, and see whether memory grows with them."""
    call = call_of(loaded, WHOLE)
    calls: list[int] = []
    rss_bytes: list[int] = []
    done, start = 0, time.perf_counter_ns()
    for point in range(POINTS):
        until_ns = start + asked.for_ns * (point + 1) // POINTS
        while True:
            call()
            done += 1
            if time.perf_counter_ns() >= until_ns:
                break
        calls.append(done)
        rss_bytes.append(resident().rss_bytes)
    return Grown(
        tuple(calls), tuple(rss_bytes), peak_rss_bytes(), source(), helpers_peak_rss_bytes()
    )


def memory(worker: Worker, candidate: Candidate, for_ns: int) -> Memory:
    """Measure the memory of a worker's process; the last thing that is asked of it.

    Raises
    ------
    MedgeError
        The candidate failed meanwhile.
    """
    grown = worker.ask(grow, Grow(for_ns), limit_s=10 * for_ns / 1e9 + 600)
    return told(worker.facts, grown, device_bytes(candidate, worker.pid))


def told(facts: LoadFacts, grown: Grown, device: int | Absent) -> Memory:
    """Return the section of what a worker told."""
    assert len(grown.calls) >= MIN_POINTS  # noqa: S101 - POINTS of this file
    per_call = slope(grown.calls, grown.rss_bytes)
    return Memory(
        base_rss_bytes=facts.base_rss_bytes,
        loaded_rss_bytes=facts.loaded_rss_bytes,
        peak_rss_bytes=grown.peak_rss_bytes,
        base_pss_bytes=facts.base_pss_bytes,
        loaded_pss_bytes=facts.loaded_pss_bytes,
        growth_bytes=CALLS * per_call.value,
        growth_low_bytes=CALLS * per_call.low,
        growth_high_bytes=CALLS * per_call.high,
        calls=grown.calls[-1],
        source=grown.source,
        device_bytes=device,
        helpers_peak_rss_bytes=max(facts.helpers_peak_rss_bytes, grown.helpers_peak_rss_bytes),
    )


def device_bytes(
    candidate: Candidate, pid: int, library: Callable[[], Any] | None = None
) -> int | Absent:
    """Return what a process and its children hold on NVIDIA GPUs, or why that is not known.

    Runtimes that may crash run in a child of the process that is measured.

    Parameters
    ----------
    library
        Returns the module pynvml; default: the installed one.
    """
    if candidate.device == "cpu":
        return Absent(reason=ON_CPU)
    if library is None and not installed():
        return Absent(reason=f"{PACKAGE} is not installed: pip install 'medge[nvidia]'")
    nvml = (library or pynvml)()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Absent(reason=f"NVML did not start (error {error.value}); `medge doctor` says more")
    try:
        return _held(nvml, family(pid))
    except nvml.NVMLError as error:
        return Absent(reason=f"NVML does not tell the memory of processes (error {error.value})")
    finally:
        with suppress(nvml.NVMLError):  # what it told holds, however it ends
            nvml.nvmlShutdown()


def _held(nvml: Any, pids: frozenset[int]) -> int | Absent:
    """Add up what processes hold on each GPU; inside a container their numbers may be others."""
    found = [
        process.usedGpuMemory
        for index in range(nvml.nvmlDeviceGetCount())
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(
            nvml.nvmlDeviceGetHandleByIndex(index)
        )
        if process.pid in pids
    ]
    if not found or None in found:
        return Absent(reason="NVML names no process of this number with its memory")
    return int(sum(found))
