"""Soundness: what the numbers of a result owe each other, asked of every result from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from medge.bench.measure import Measurement
from medge.bench.result import Result
from medge.bench.sections import Deadline, Energy, Memory, Sections
from medge.profiles.sensors.trace import Trace

LONGEST_NS = 86_400 * 10**9  # one call of a day
EARLIEST = datetime(2024, 1, 1, tzinfo=timezone.utc)


def faults(result: Result) -> Iterator[str]:
    """Yield what cannot have been measured, in words that end a sentence."""
    yield from _moment(result.taken)
    if result.device.cpus < 1 or result.device.cores < 1:
        yield "its device has no CPU"
    if not result.measurements and result.sections is None and not result.drifts:
        yield "it holds no measurement"
    for one in result.measurements:
        yield from _samples(one)
    if result.sections is not None:
        yield from _sections(result.sections)


def _moment(taken: str) -> Iterator[str]:
    try:
        moment = datetime.strptime(taken, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        yield "there is no such date as it was taken on"
        return
    # A device whose clock is a day ahead is wrong; time zones are not the reason, it is UTC.
    if not EARLIEST <= moment <= datetime.now(timezone.utc) + timedelta(days=1):
        yield "it was taken before medge existed, or in the future, by a clock that was not set"


def _samples(one: Measurement) -> Iterator[str]:
    stage = one.stage
    if not one.samples_ns:
        yield f"stage {stage!r} has no sample"
        return
    if min(one.samples_ns) <= 0 or max(one.samples_ns) > LONGEST_NS:
        yield f"a sample of stage {stage!r} is not above 0 ns and below a day"
    if any(not 0 < middle <= LONGEST_NS for middle in one.earlier_p50_ns):
        yield f"an earlier median of stage {stage!r} is not above 0 ns and below a day"
    if any(not 0 <= taken <= LONGEST_NS for taken in one.warm_up_ns):
        yield f"a warm-up call of stage {stage!r} is not between 0 ns and a day"


def _sections(sections: Sections) -> Iterator[str]:
    for part in (sections.trace, sections.energy, sections.memory, sections.deadline):
        match part:
            case Trace():
                yield from _trace(part)
            case Energy():
                ordered = _rising(part.raw_low_mj, part.raw_mj, part.raw_high_mj)
                if not (ordered and _rising(part.net_low_mj, part.net_mj, part.net_high_mj)):
                    yield "its energy lies outside its own interval"
            case Memory():
                yield from _memory(part)
            case Deadline():
                yield from _deadline(part)
            case _:
                pass
    for point in sections.sweep:
        if point.measurement is not None:
            yield from _samples(point.measurement)


def _trace(trace: Trace) -> Iterator[str]:
    if len(trace.values) != len(trace.channels) or any(
        len(row) != len(trace.at_ns) for row in trace.values
    ):
        yield "its sensors have more or fewer readings than moments"
    if any(later < earlier for earlier, later in zip(trace.at_ns, trace.at_ns[1:], strict=False)):
        yield "the clock of its sensors goes back"


def _memory(memory: Memory) -> Iterator[str]:
    if not _rising(memory.growth_low_bytes, memory.growth_bytes, memory.growth_high_bytes):
        yield "its growth of memory lies outside its own interval"


def _deadline(deadline: Deadline) -> Iterator[str]:
    latencies = deadline.latency_ns
    late = sum(taken is not None and taken > deadline.deadline_ns for taken in latencies)
    counted = (deadline.on_time, deadline.late, deadline.dropped)
    dropped = latencies.count(None)
    if counted != (len(latencies) - late - dropped, late, dropped):
        yield "its frames on time, late and dropped are not those of its latencies"


def _rising(low: float, value: float, high: float) -> bool:
    return low <= value <= high
