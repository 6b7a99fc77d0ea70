"""Timing: the sections of a report on latency, stages, the frame rate, starts and pauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medge.bench.measure import Measurement
from medge.bench.report import plots
from medge.bench.report.answers import NOT_STATED, interval_text
from medge.bench.report.blocks import Block, Figure, Paragraph, Quiet, Section, Table, table
from medge.bench.report.quantities import count, milliseconds, number, percent, percent_set
from medge.bench.report.subject import IN_FILE, NETWORK, STAGES, WHOLE, Entry, Subject
from medge.bench.sections import Absent, ColdStart, Deadline, IdleGap, LoadgenRun
from medge.bench.stats import interval_cases, percentile, worth
from medge.profiles.sensors.trace import Quantity, Trace, highest

MEDIAN = 0.5
TAIL = "infer-tail"  # as NETWORK, with the calls that a late percentile takes
PERCENTILES = (MEDIAN, 0.9, 0.95, 0.99, 0.999)
TITLES = {
    NETWORK: "the network alone",
    WHOLE: "from file to decision",
    TAIL: "alone, long run",
}
NAMES = {NETWORK: "the network alone", WHOLE: "a file to its decision"}
STEPS = ("python", "import", "open", "load", "self-test", "first")  # of a cold start, in order
PANELS: Mapping[Quantity, str] = {
    "clock": "highest clock, MHz",
    "temperature": "highest temperature, \N{DEGREE SIGN}C",
    "power": "power of the strongest rail, W",
}


def latency(subject: Subject) -> Section:
    """Tell how long the lead's calls took, and how that was spread over the run."""
    lead = subject.lead
    shown = [taken for stage in (WHOLE, NETWORK) if (taken := lead.measurement(stage))]
    blocks: list[Block] = []
    if not shown:
        blocks.append(Quiet("No latency was measured.", "medge profile B"))
    for taken in shown:
        blocks += _spread(taken)
    if shown:
        tail = lead.measurement(TAIL)
        blocks.append(_percentiles([*shown, *([] if tail is None else [tail])]))
        blocks += _at_other_times(shown)
        blocks += _over_time(shown[0], lead)
    return Section("latency", "Latency", tuple(blocks))


def _spread(taken: Measurement) -> Iterator[Block]:
    samples = taken.samples_ns
    if len(set(samples)) < 2:
        return
    marks = [
        (f"p{100 * p:g}", percentile(samples, p))
        for p in (MEDIAN, 0.9, 0.99)
        if p == MEDIAN or taken.interval(p) is not None
    ]
    told = ", ".join(f"{name} {milliseconds(mark)}" for name, mark in marks)
    yield Figure(
        f"spread-{taken.stage}",
        f"Latency of {NAMES[taken.stage]}: how often each time was taken",
        f"{count(len(samples), 'call')}; {told}; longest {milliseconds(max(samples))}.",
        plots.distribution(samples, marks),
        (250, 230),
    )


def _percentiles(shown: Sequence[Measurement]) -> Table:
    rows = []
    for p in PERCENTILES:
        row = [f"p{100 * p:g}"]
        for taken in shown:
            row += _percentile_cells(taken, p)
        rows.append(tuple(row))
    titles = " | ".join(f">{TITLES[taken.stage]} | >95 % interval" for taken in shown)
    return table(
        "Percentiles, measured: nearest rank, distribution-free intervals; where calls are too "
        "few, how many independent ones are needed, and found",
        f"percentile | {titles}",
        rows,
    )


def _at_other_times(shown: Sequence[Measurement]) -> Iterator[Block]:
    """Tell what the same took in earlier results, which the intervals of p50 count in."""
    for taken in shown:
        earlier_ns = taken.earlier_p50_ns
        if earlier_ns:
            low, high = milliseconds(min(earlier_ns)), milliseconds(max(earlier_ns))
            medians = low if len(earlier_ns) == 1 else f"{low} to {high}"
            yield Paragraph(
                f"The median of {NAMES[taken.stage]} was {medians} in "
                f"{count(len(earlier_ns), 'earlier result')} of the same on this machine, which "
                "its interval counts in."
            )


def _percentile_cells(taken: Measurement, p: float) -> tuple[str, str]:
    """Return a percentile and its interval; only the median stands without one."""
    samples = taken.samples_ns
    bounds = taken.interval(p)
    if bounds is not None:
        return milliseconds(percentile(samples, p)), interval_text(bounds)
    needed, found = interval_cases(p), int(worth(samples, p))
    value = milliseconds(percentile(samples, p)) if p == MEDIAN else NOT_STATED
    return value, f"needs {needed:,}, has {found:,}"


def _over_time(taken: Measurement, lead: Entry) -> Iterator[Block]:
    sensors = list(_sensors(lead))
    told = "; ".join(
        f"{title} {number(min(values))} to {number(max(values))}" for title, _, values in sensors
    )
    yield Figure(
        "timeline",
        "Every call in the order taken" + (", with what the sensors gave" if sensors else ""),
        f"{count(len(taken.samples_ns), 'call')} {TITLES[taken.stage]}, "
        f"{milliseconds(min(taken.samples_ns))} to {milliseconds(max(taken.samples_ns))}. {told}",
        plots.timeline(taken.samples_ns, None, sensors),
        (230 + 110 * len(sensors), 210 + 110 * len(sensors)),
    )
    if not sensors:
        yield Quiet(f"Clocks and temperature: {_no_sensors(lead)}")


def _sensors(lead: Entry) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield clock, temperature and power: a title with its unit, seconds, values."""
    trace = None if lead.sections is None else lead.sections.trace
    if not isinstance(trace, Trace):
        return
    for quantity, title in PANELS.items():
        values = highest(trace, quantity)
        pairs = [(at / 1e9, v) for at, v in zip(trace.at_ns, values, strict=False) if v is not None]
        if pairs:
            seconds, given = zip(*pairs, strict=True)
            yield title, list(seconds), list(given)


def _no_sensors(lead: Entry) -> str:
    trace = None if lead.sections is None else lead.sections.trace
    if isinstance(trace, Absent):
        return f"not available: {trace.reason}"
    if isinstance(trace, Trace):
        told = [f"{name}: {trace.missing[name]}" for name in PANELS if name in trace.missing]
        return "; ".join(told) or "no sensor gave a value"
    return "not recorded in this result."


def stages(subject: Subject) -> Section:
    """Tell where the time from file to decision goes."""
    lead = subject.lead
    whole = lead.measurement(WHOLE)
    found = [
        (NETWORK if name == IN_FILE else name, taken)
        for name in STAGES
        if (taken := lead.measurement(name))
    ]
    if len(found) < 2:
        quiet = Quiet("The stages from file to decision were not timed.", "medge profile B")
        return Section("stages", "Stages", (quiet,))
    medians = [(name, percentile(taken.samples_ns, 0.5)) for name, taken in found]
    whole_ns = None if whole is None else percentile(whole.samples_ns, 0.5)
    rows = [
        (name, *_stage_cells(taken), "" if not whole_ns else percent(middle / whole_ns))
        for (name, taken), (_, middle) in zip(found, medians, strict=True)
    ]
    if whole is not None:
        rows.append(("whole, file to decision", *_stage_cells(whole), ""))
    longest = max(medians, key=lambda pair: pair[1])
    told = f"Stage {longest[0]} takes most, {milliseconds(longest[1])}."
    told += " Medians of stages need not add up to the median of the whole."
    figure = Figure(
        "stages-waterfall",
        "Stages one after the other, median of each",
        "; ".join(f"{name} {milliseconds(ns)}" for name, ns in medians) + ".",
        plots.waterfall(medians, whole_ns),
        (60 + 34 * (len(rows)), 60 + 34 * (len(rows))),
    )
    columns = "stage | >p50 | >95 % interval | >p99 | >part of the whole"
    shown = table("Stages, measured", columns, rows)
    return Section("stages", "Stages", (Paragraph(told), figure, shown))


def _stage_cells(taken: Measurement) -> tuple[str, str, str]:
    middle, bounds = _percentile_cells(taken, 0.5)
    return middle, bounds, _percentile_cells(taken, 0.99)[0]


def rate(subject: Subject) -> Section:
    """Tell what a replayed cine and MLPerf's scenarios showed."""
    sections = subject.lead.sections
    found = None if sections is None else sections.deadline
    blocks: list[Block] = []
    if isinstance(found, Deadline):
        blocks += _replay(found)
    elif isinstance(found, Absent):
        blocks.append(Quiet(f"Frame deadline not available: {found.reason}"))
    else:
        blocks.append(Quiet("No cine was replayed at its frame rate.", "medge profile B --fps 30"))
    runs = () if sections is None else sections.loadgen
    if runs:
        blocks.append(_loadgen(runs))
    else:
        blocks.append(Quiet("MLPerf LoadGen was not run.", "medge profile B --loadgen"))
    return Section("rate", "Frame rate and load", tuple(blocks))


def _replay(found: Deadline) -> Iterator[Block]:
    frames = len(found.latency_ns)
    yield Paragraph(f"Replayed: {found.cine}.")
    yield Figure(
        "frames",
        f"A cine replayed at {found.fps:g} frames a second",
        f"{count(frames, 'frame')}: {found.on_time:,} on time, {found.late:,} late, "
        f"{found.dropped:,} dropped; deadline {milliseconds(found.deadline_ns)}.",
        plots.frames(found.latency_ns, found.deadline_ns),
        (250, 230),
    )
    rows = [
        ("frames", f"{frames:,}"),
        ("frames that may wait", f"{found.queue:,}"),
        ("on time", f"{found.on_time:,}"),
        ("late", f"{found.late:,}"),
        ("dropped, because newer ones had come", f"{found.dropped:,}"),
        ("missed", percent(found.miss_ratio)),
        ("missed, one-sided 99 % bound", percent(found.miss_high_ratio)),
        ("allowed to miss", percent_set(found.limit_ratio)),
        ("longest run of late frames", f"{found.longest_late_run:,}"),
        ("certified", "yes" if found.certified else "no"),
    ]
    if not found.certified and found.missing_frames:
        rows.append(("frames on time still needed", f"{found.missing_frames:,}"))
    if found.first_ns:
        first = milliseconds(percentile(found.first_ns, 0.5))
        first += f", longest {milliseconds(max(found.first_ns))}"
        rows.append((f"first decision after a pause of {found.freeze_ns / 1e9:g} s, median", first))
    yield table("Frame deadline, measured", "what | >value", [tuple(row) for row in rows])


def _loadgen(runs: Sequence[LoadgenRun]) -> Table:
    rows = [
        (
            run.scenario,
            run.mode,
            f"{number(run.value, 4)} {run.unit}",
            run.metric,
            _judged(run),
            "official" if run.official else "shortened",
        )
        for run in runs
    ]
    return table(
        f"MLPerf LoadGen {runs[0].version}, as its own summary says",
        "scenario | mode | >value | metric | result | settings",
        rows,
    )


def _judged(run: LoadgenRun) -> str:
    word = "VALID" if run.valid else "INVALID"
    return word if run.in_time else f"{word}, latency bound not kept"


def starts(subject: Subject) -> Section:
    """Tell how long a new process takes, and the first calls after a pause."""
    sections = subject.lead.sections
    blocks: list[Block] = []
    cold = None if sections is None else sections.cold_start
    if isinstance(cold, ColdStart):
        blocks.append(_cold(cold))
    elif isinstance(cold, Absent):
        blocks.append(Quiet(f"Cold start not available: {cold.reason}"))
    else:
        blocks.append(Quiet("Cold start was not measured.", "medge profile B"))
    gaps = () if sections is None else sections.idle_gaps
    if gaps:
        blocks += _pauses(gaps)
    else:
        blocks.append(Quiet("Calls after pauses were not measured.", "medge profile B --full"))
    return Section("starts", "Starts and pauses", tuple(blocks))


def _cold(cold: ColdStart) -> Table:
    known = [name for name in STEPS if name in cold.steps_ns]
    ordered = [*known, *(name for name in cold.steps_ns if name not in STEPS)]
    rows = [(name, milliseconds(cold.steps_ns[name])) for name in ordered]
    total = milliseconds(percentile(cold.total_ns, 0.5))
    rows.append((f"whole, median of {count(len(cold.total_ns), 'process', 'processes')}", total))
    if len(cold.total_ns) > 1:
        rows.append(("whole, longest", milliseconds(max(cold.total_ns))))
    return table(
        "Cold start, measured: from the start of a process to its first decision, files in the "
        "page cache",
        "step | >median",
        rows,
    )


def _pauses(gaps: Sequence[IdleGap]) -> Iterator[Block]:
    tried = sorted(gaps, key=lambda gap: gap.gap_ns)
    calls = min(len(row) for gap in tried for row in gap.calls_ns)
    shown = sorted({0, 1, calls - 1} & set(range(calls)))
    series = [(f"call {call + 1}", [_call_ns(gap, call) / 1e6 for gap in tried]) for call in shown]
    rows = [
        (
            f"{gap.gap_ns / 1e9:g} s",
            f"{len(gap.calls_ns)}",
            *(milliseconds(_call_ns(gap, call)) for call in shown),
        )
        for gap in tried
    ]
    told = "; ".join(f"after {row[0]} {row[2]}" for row in rows)
    yield Figure(
        "pauses",
        "The first calls after a pause, medians",
        f"First call: {told}.",
        plots.lines(
            series, [f"{gap.gap_ns / 1e9:g}" for gap in tried], ("pause, s", "latency, ms")
        ),
        (240, 230),
    )
    titles = " | ".join(f">call {call + 1}" for call in shown)
    yield table("Calls after a pause, medians, measured", f"pause | >times | {titles}", rows)


def _call_ns(gap: IdleGap, call: int) -> float:
    return float(np.median([row[call] for row in gap.calls_ns]))
