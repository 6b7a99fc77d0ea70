"""Scenarios of a profile as rows for people: the frame deadline, and what LoadGen found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medge.bench.sections import Absent
from medge.bench.stats import percentile
from medge.console import percent_text

if TYPE_CHECKING:
    from medge.bench.result import Result
    from medge.bench.sections import Deadline, LoadgenRun

Row = tuple[str, str, str]

_NEUTRAL = (  # lines of a summary that speak neither for a run nor against it
    "Processed at least",
    "Would discard",
    "Early stopping 9",
    "Not enough queries processed for 99.0th",  # of SingleStream, whose figure is p90
    "1 warning",  # the audit's own settings were found
    "Run unsuccessful",
)


def deadline(result: Result) -> Iterator[Row]:
    """Say whether a cine at its frame rate is certified, and what became of its frames."""
    found = None if result.sections is None else result.sections.deadline
    if isinstance(found, Absent):
        yield ("deadline", "not measured", found.reason)
    elif found is not None:
        yield ("deadline", f"{found.fps:g} fps", _verdict(found))
        frames = found.on_time + found.late + found.dropped
        each = f"{found.on_time} on time, {found.late} late, {found.dropped} dropped"
        yield ("deadline", "frames", f"{frames}: {each}")
        bound = f"{percent_text(found.miss_ratio)}, at most {percent_text(found.miss_high_ratio)}"
        yield ("deadline", "missed", f"{bound} (one-sided 99 % bound)")
        yield ("deadline", "longest late run", f"{found.longest_late_run} frames")
        taken = [each for each in found.latency_ns if each is not None]
        if taken:
            told = ", ".join(
                f"{name} {_ms(percentile(taken, p))}"
                for name, p in (("p50", 0.5), ("p99", 0.99), ("slowest", 1.0))
            )
            yield ("deadline", "arrival to decision", f"{told} ms")
        if found.first_ns:
            count = len(found.first_ns)
            freezes = f"{count} freeze{'s' * (count > 1)}"
            value = f"{_ms(max(found.first_ns))} ms, the slowest of {freezes}"
            yield ("deadline", "after unfreeze", f"{value} of {found.freeze_ns / 1e9:g} s")
        yield ("deadline", "replayed", found.cine)


def loadgen(result: Result) -> Iterator[Row]:
    """Tell each run of LoadGen, its figure and whether it is valid."""
    runs = () if result.sections is None else result.sections.loadgen
    if not runs:
        return
    official = all(run.official for run in runs)
    settings = "mlperf.conf's" if official else "shortened, not official"
    yield ("LoadGen", "settings", f"{settings} (LoadGen {runs[0].version})")
    yield ("LoadGen", "note", "not an MLPerf result: MLCommons has verified none of this")
    for run in runs:
        name = run.scenario if run.mode == "PerformanceOnly" else f"{run.scenario} {run.mode}"
        yield ("LoadGen", name, f"{'VALID' if run.valid else 'INVALID'}: {_figure(run)}")
        if not run.valid:
            yield ("LoadGen", "", "; ".join(_why(run)))
    for said in dict.fromkeys(said for run in runs for said in run.deviations):
        yield ("LoadGen", "not official", said)
    pictures = dict.fromkeys(run.settings["pictures"] for run in runs if "pictures" in run.settings)
    for told in pictures:
        yield ("LoadGen", "pictures", told)
    folders = [run.folder for run in runs if run.folder is not None]
    if folders:
        yield ("LoadGen", "logs", folders[0].rpartition("/")[0])


def _verdict(found: Deadline) -> str:
    limit = f"p99 <= {_ms(found.deadline_ns)} ms"
    if found.certified:
        return f"certified: {limit}"
    if found.missing_frames:
        return f"not certified: {limit} needs {found.missing_frames} more frames on time"
    return f"missed: {limit} does not hold"


def _figure(run: LoadgenRun) -> str:
    if run.unit == "ns":
        return f"{run.metric} {_ms(run.value)} ms"
    if run.unit == "ratio":
        return f"{percent_text(run.value)} of {run.metric}"
    return f"{run.metric} {run.value:.4g} {run.unit}"


def _why(run: LoadgenRun) -> Iterator[str]:
    """Yield what LoadGen and the audits say against a run that is not valid."""
    for said in run.told:
        if not said.endswith(": Yes") and not said.startswith(_NEUTRAL):
            yield said.rstrip(".")


def _ms(time_ns: float) -> str:
    value = time_ns / 1e6
    return f"{value:.4f}" if value < 0.01 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
