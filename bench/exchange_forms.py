"""Exports that other tools read: CSV for spreadsheets, JSON as pytest-benchmark saves it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from medge.bench.candidates import precision_name
from medge.bench.measure import Measurement
from medge.bench.result import Result, bundle_name
from medge.bench.sections import ColdStart, Energy, Memory
from medge.bench.stats import percentile

Numbered = tuple[int, Result]

_WHO = ("result", "taken", "bundle", "bundle_sha256", "device", "backend", "precision", "threads",
        "streams", "batch", "stage")  # fmt: skip
SAMPLE_COLUMNS = (*_WHO, "sample", "time_ns")
SUMMARY_COLUMNS = (
    *_WHO, "samples", "p50_ns", "p50_low_ns", "p50_high_ns", "p90_ns", "p95_ns", "p99_ns",
    "p99_low_ns", "p99_high_ns", "cold_start_p50_ns", "peak_rss_bytes", "energy_net_mj",
    "energy_raw_mj", "doubts",
)  # fmt: skip


def sample_rows(results: Iterable[Numbered]) -> Iterator[tuple[str, ...]]:
    """Yield one row a sample, in the order taken."""
    for number, result in results:
        for taken in result.measurements:
            who = _who(number, result, taken)
            for place, time_ns in enumerate(taken.samples_ns):
                yield (*who, str(place), str(time_ns))


def summary_rows(results: Iterable[Numbered]) -> Iterator[tuple[str, ...]]:
    """Yield one row a stage; intervals of 95 %, empty where the samples cannot state them."""
    for number, result in results:
        beside = _beside(result)
        for taken in result.measurements:
            middle = taken.interval(0.5)
            tail = taken.interval(0.99)
            found = [] if result.sections is None else result.sections.doubts.get(taken.stage, ())
            yield (
                *_who(number, result, taken),
                str(len(taken.samples_ns)),
                str(percentile(taken.samples_ns, 0.5)),
                *(("", "") if middle is None else (str(middle.low), str(middle.high))),
                *(str(percentile(taken.samples_ns, p)) for p in (0.9, 0.95, 0.99)),
                *(("", "") if tail is None else (str(tail.low), str(tail.high))),
                *beside,
                ";".join(doubt.name for doubt in found),
            )


def pytest_benchmark(results: Sequence[Numbered], version: str) -> dict[str, Any]:
    """Return results as pytest-benchmark 5 saves a run; ``pytest-benchmark compare`` reads it.

    One benchmark a stage, in seconds, grouped by stage; medge's own facts are in ``extra_info``.

    Parameters
    ----------
    version
        Of medge.
    """
    names = sorted({result.device.name for _, result in results})
    return {
        "machine_info": {"cpu": {"brand_raw": "; ".join(names)}},
        "commit_info": {},
        "benchmarks": [
            _benchmark(number, result, taken)
            for number, result in results
            for taken in result.measurements
        ],
        "datetime": max((result.taken for _, result in results), default=""),
        "version": f"medge {version}",
    }


def _who(number: int, result: Result, taken: Measurement) -> tuple[str, ...]:
    ran = result.candidate
    run: tuple[str, ...] = ("",) * 5
    if ran is not None:
        counts = (ran.threads, ran.streams, ran.batch)
        run = (ran.backend, precision_name(ran), *map(str, counts))
    return (
        str(number),
        result.taken,
        bundle_name(result),
        result.bundle_sha256,
        result.device.name,
        *run,
        taken.stage,
    )


def _beside(result: Result) -> tuple[str, ...]:
    """Return what a result has beside latencies, empty where it is not known."""
    sections = result.sections
    start = sections and sections.cold_start
    memory, energy = sections and sections.memory, sections and sections.energy
    return (
        str(percentile(start.total_ns, 0.5)) if isinstance(start, ColdStart) else "",
        str(memory.peak_rss_bytes) if isinstance(memory, Memory) else "",
        *((str(energy.net_mj), str(energy.raw_mj)) if isinstance(energy, Energy) else ("", "")),
    )


def _benchmark(number: int, result: Result, taken: Measurement) -> dict[str, Any]:
    ran, procedure = result.candidate, taken.procedure
    run = "" if ran is None else f"{ran.backend}-{precision_name(ran)}"
    name = f"{taken.stage}[{run}]" if run else taken.stage
    return {
        "group": taken.stage,
        "name": name,
        "fullname": f"{bundle_name(result).partition(' ')[0]}::{name}",
        "params": None,
        "param": run or None,
        "extra_info": {
            "result": number,
            "bundle_sha256": result.bundle_sha256,
            "device": result.device.name,
            "taken": result.taken,
        },
        "options": {
            "disable_gc": True,
            "timer": procedure.clock,
            "min_rounds": procedure.sampling.min_samples,
            "max_time": procedure.sampling.max_ns / 1e9,
            "min_time": 0.0,
            "warmup": bool(procedure.warm_up.max_calls),
        },
        "stats": _stats([time_ns / 1e9 for time_ns in taken.samples_ns], procedure.turn_calls),
    }


def _stats(data: list[float], calls: int) -> dict[str, Any]:
    """Return the figures of a benchmark as pytest-benchmark defines them, in seconds."""
    ordered = sorted(data)
    mean = statistics.mean(data)
    deviation = statistics.stdev(data) if len(data) > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    within = [value for value in ordered if low <= value <= high]
    far = sum(not mean - deviation <= value <= mean + deviation for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": len(data) - len(within),
        "stddev_outliers": far,
        "outliers": f"{far};{len(data) - len(within)}",
        "ld15iqr": within[0],
        "hd15iqr": within[-1],
        "ops": len(data) / sum(data),
        "total": sum(data),
        "data": data,
        "iterations": calls,
    }


def _quartiles(ordered: list[float]) -> tuple[float, float]:
    """Return the quartiles: medians of the halves, of an odd number of samples between two.

    An odd number's are weighted means, so that they lie as far out from either end.
    """
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    if not count % 2:
        half = count // 2
        return statistics.median(ordered[:half]), statistics.median(ordered[half:])
    quarter, rest = divmod(count, 4)
    at = quarter - 1 if rest == 1 else quarter
    weight = 0.25 if rest == 1 else 0.75
    backwards = ordered[::-1]
    low, high = (weight * side[at] + (1.0 - weight) * side[at + 1] for side in (ordered, backwards))
    return low, high
