"""What two results have beside latencies, compared: memory, energy, decisions, deadlines."""

from __future__ import annotations

from collections.abc import Iterator

from medge.bench.effect import Effect, bounded_effect, rank_effect, rate_effect, reading_effect
from medge.bench.result import Result
from medge.bench.sections import Absent, ColdStart, Deadline, Energy, Memory
from medge.engine.evidence import Drift

Told = Effect | str | None  # compared, why not, or nobody has it


def other_effects(
    a: Result, b: Result, confidence: float, allowance_ratio: float
) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    """Return what both sides have, compared, and why the rest was left out.

    Parameters
    ----------
    confidence
        Of each interval by itself.
    allowance_ratio
        What two sessions may differ by although nothing was changed. It bounds memory, which is one
        reading a side, and widens the others that are ratios.
    """
    told = tuple(_all(a, b, confidence, allowance_ratio))
    return (
        tuple(one for one in told if isinstance(one, Effect)),
        tuple(one for one in told if isinstance(one, str)),
    )


def _all(a: Result, b: Result, confidence: float, allowance_ratio: float) -> Iterator[Told]:
    sections = a.sections, b.sections
    starts, memories, energies, deadlines = (
        tuple(getattr(side, name, None) for side in sections)
        for name in ("cold_start", "memory", "energy", "deadline")
    )
    yield _starts(starts, confidence, allowance_ratio)
    yield from _memories(memories, confidence, allowance_ratio)
    yield _energies(energies, confidence, allowance_ratio)
    yield _flips(a.drifts, b.drifts, confidence)
    yield _misses(deadlines, confidence)


def _starts(found: tuple[object, ...], confidence: float, allowance_ratio: float) -> Told:
    match found:
        case (ColdStart() as a, ColdStart() as b) if a.total_ns and b.total_ns:
            return rank_effect("cold-start", a.total_ns, b.total_ns, confidence, allowance_ratio)
    return _why_not("cold-start", found)


def _memories(
    found: tuple[object, ...], confidence: float, allowance_ratio: float
) -> Iterator[Told]:
    match found:
        case (Memory() as a, Memory() as b):
            readings = {"memory": (a.peak_rss_bytes, b.peak_rss_bytes)}
            if not isinstance(a.device_bytes, Absent) and not isinstance(b.device_bytes, Absent):
                readings["device-memory"] = (a.device_bytes, b.device_bytes)
            for metric, (before, after) in readings.items():
                yield reading_effect(
                    metric,
                    "bytes",
                    float(before),
                    float(after),
                    confidence=confidence,
                    allowance_ratio=allowance_ratio,
                )
        case _:
            yield _why_not("memory", found)


def _energies(found: tuple[object, ...], confidence: float, allowance_ratio: float) -> Told:
    match found:
        case (Energy() as a, Energy() as b):
            if (a.source, a.rails) != (b.source, b.rails):
                return f"energy: A is that of {_rails(a)}, B that of {_rails(b)}"
            return bounded_effect(
                "energy",
                "mJ",
                (a.net_low_mj, a.net_mj, a.net_high_mj),
                (b.net_low_mj, b.net_mj, b.net_high_mj),
                confidence=confidence,
                allowance_ratio=allowance_ratio,
            )
    return _why_not("energy", found)


def _flips(a: tuple[Drift, ...], b: tuple[Drift, ...], confidence: float) -> Told:
    for before in a:
        for after in b:
            if (before.data_sha256, before.against) == (after.data_sha256, after.against):
                counts = (before.flips, before.cases), (after.flips, after.cases)
                return rate_effect("flips", *counts, confidence)
    if a and b:
        return "flips: A and B were judged on other images or against another precision"
    return _why_not("flips", (a[:1] or None, b[:1] or None))


def _misses(found: tuple[object, ...], confidence: float) -> Told:
    match found:
        case (Deadline() as a, Deadline() as b):
            if (a.fps, a.deadline_ns, a.queue) != (b.fps, b.deadline_ns, b.queue):
                return "misses: A and B were held to other deadlines"
            of_a, of_b = ((one.late + one.dropped, len(one.latency_ns)) for one in (a, b))
            return rate_effect("misses", of_a, of_b, confidence)
    return _why_not("misses", found)


def _why_not(metric: str, found: tuple[object, ...]) -> str | None:
    """Say which side lacks a figure that the other has, or that was asked for in vain."""
    if all(one is None for one in found):
        return None
    reasons = [
        f"{side}: {one.reason if isinstance(one, Absent) else 'not measured'}"
        for side, one in zip("AB", found, strict=True)
        if one is None or isinstance(one, Absent)
    ]
    return f"{metric}: {'; '.join(reasons) or 'nothing was measured'}"


def _rails(energy: Energy) -> str:
    return f"{', '.join(energy.rails)} ({energy.source})"
