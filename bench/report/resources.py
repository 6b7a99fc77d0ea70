"""Resources: the sections of a report on batches, memory, energy and heat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medge.bench.report import plots
from medge.bench.report.answers import NOT_STATED
from medge.bench.report.blocks import Block, Figure, Paragraph, Quiet, Section, Table, table
from medge.bench.report.quantities import count, milliseconds, number, size
from medge.bench.report.subject import Entry, Subject
from medge.bench.sections import Absent, Energy, LoadPoint, Memory, Soak
from medge.bench.stats import percentile, percentile_interval

NONE = "\N{EM DASH}"


def batches(subject: Subject) -> Section:
    """Tell how throughput grows with batch and streams, and what a picture then waits."""
    sections = subject.lead.sections
    points = () if sections is None else sections.sweep
    if not points:
        quiet = Quiet("Other batches and streams were not measured.", "medge profile B --full")
        return Section("batches", "Batches and streams", (quiet,))
    return Section("batches", "Batches and streams", (*_curve(points), _sweep(points)))


def _curve(points: Sequence[LoadPoint]) -> Iterator[Block]:
    groups: dict[int, list[LoadPoint]] = {}
    for point in points:
        if point.pictures_per_s is not None:
            groups.setdefault(point.streams, []).append(point)
    # A line joins batches of the same number of streams, where there are at least two.
    by_batch = {key: some for key, some in groups.items() if len(some) > 1}
    if not by_batch:
        return
    best = max((p for p in points if p.pictures_per_s), key=lambda p: p.pictures_per_s or 0.0)
    yield Paragraph(
        f"Most pictures a second: {number(best.pictures_per_s or 0.0)}, at batch {best.batch} in "
        f"{count(best.streams, 'stream')} with {count(best.threads, 'thread')}."
    )
    sizes = sorted({point.batch for some in by_batch.values() for point in some})
    series = []
    for streams, some in sorted(by_batch.items()):
        rates = {point.batch: point.pictures_per_s for point in some}
        series.append((count(streams, "stream"), [rates.get(batch) for batch in sizes]))
    yield Figure(
        "batches-curve",
        "Pictures a second against pictures in a batch",
        "; ".join(
            f"{name}: "
            + ", ".join(
                f"batch {batch} {number(rate)}"
                for batch, rate in zip(sizes, rates, strict=True)
                if rate is not None
            )
            for name, rates in series
        ),
        plots.lines(series, [str(batch) for batch in sizes], ("pictures in a batch", "pictures/s")),
        (250, 240),
    )


def _sweep(points: Sequence[LoadPoint]) -> Table:
    rows = [
        (str(point.batch), str(point.streams), str(point.threads), *_point(point))
        for point in points
    ]
    return table(
        "Batches and streams, measured; latency is of one call, all its pictures together",
        "batch | >streams | >threads | >pictures/s | >p50 | >p99 | note",
        rows,
    )


def _point(point: LoadPoint) -> tuple[str, str, str, str]:
    taken = point.measurement
    if taken is None or not taken.samples_ns:
        return NONE, NONE, NONE, point.reason or ""
    rate = NONE if point.pictures_per_s is None else number(point.pictures_per_s)
    middle, late = (_stated(taken.samples_ns, p) for p in (0.5, 0.99))
    return rate, middle, late, point.reason or ""


def _stated(samples_ns: Sequence[int], p: float) -> str:
    if p != 0.5 and percentile_interval(samples_ns, p) is None:
        return NOT_STATED
    return milliseconds(percentile(samples_ns, p))


def memory(subject: Subject) -> Section:
    """Tell what memory each candidate took, each in a process of its own."""
    found = [
        (entry, entry.sections.memory)
        for entry in subject.entries
        if entry.sections is not None and entry.sections.memory is not None
    ]
    rows = [_memory_row(entry, one) for entry, one in found if isinstance(one, Memory)]
    blocks: list[Block] = []
    if rows:
        blocks.append(
            table(
                "Memory of the process that ran one configuration, measured (resident set; PSS "
                "counts pages shared with other processes by their part)",
                "configuration | >before loading | >loaded | >peak | >loaded, PSS | "
                ">growth per 1,000 calls | >95 % interval | >calls",
                rows,
                marked=next((i for i, (e, _) in enumerate(found) if e is subject.lead), None),
            )
        )
    blocks += [
        Paragraph(
            f"{entry.name}: a process that it started, to compile or to run the network, took up "
            f"to {size(one.helpers_peak_rss_bytes)} more."
        )
        for entry, one in found
        if isinstance(one, Memory) and one.helpers_peak_rss_bytes
    ]
    blocks += _on_accelerator(found)
    for entry, one in found:
        if isinstance(one, Absent):
            blocks.append(Quiet(f"{entry.name}: not available: {one.reason}"))
    if not found:
        blocks.append(Quiet("Memory was not measured.", "medge profile B"))
    return Section("memory", "Memory", tuple(blocks))


def _memory_row(entry: Entry, found: Memory) -> tuple[str, ...]:
    return (
        entry.name,
        size(found.base_rss_bytes),
        size(found.loaded_rss_bytes),
        size(found.peak_rss_bytes),
        NONE if found.loaded_pss_bytes is None else size(found.loaded_pss_bytes),
        size(found.growth_bytes),
        f"{size(found.growth_low_bytes)} to {size(found.growth_high_bytes)}",
        f"{found.calls:,}",
    )


def _on_accelerator(found: Sequence[tuple[Entry, Memory | Absent]]) -> Iterator[Block]:
    """Yield what each process held on an accelerator; a reason that many share is told once."""
    held = [(entry, one.device_bytes) for entry, one in found if isinstance(one, Memory)]
    rows = [(entry.name, size(some)) for entry, some in held if not isinstance(some, Absent)]
    if rows:
        yield table("Memory on the accelerator, measured", "configuration | >held", rows)
    for reason in dict.fromkeys(some.reason for _, some in held if isinstance(some, Absent)):
        yield Quiet(f"Memory on an accelerator: {reason}.")


def energy(subject: Subject) -> Section:
    """Tell the energy of a picture, and what a long run did to clocks and latency."""
    blocks: list[Block] = []
    rows = []
    reasons: dict[str, list[str]] = {}
    for entry in subject.entries:
        found = None if entry.sections is None else entry.sections.energy
        if isinstance(found, Energy):
            rows.append(_energy_row(entry, found))
        elif isinstance(found, Absent):
            reasons.setdefault(found.reason, []).append(entry.name)
    if rows:
        blocks.append(
            table(
                "Energy of one picture, measured; net is less what the device takes while idle",
                "configuration | >net, mJ | >95 % interval | >raw, mJ | >idle, W | >busy, W | "
                "rails, source",
                rows,
            )
        )
    blocks += [Quiet(f"Energy not available: {reason}") for reason in reasons]
    if not rows and not reasons:
        blocks.append(Quiet("Energy was not measured.", "medge profile B"))
    soak = None if subject.lead.sections is None else subject.lead.sections.soak
    if isinstance(soak, Soak):
        blocks += _soak(soak)
    elif isinstance(soak, Absent):
        blocks.append(Quiet(f"Long run not available: {soak.reason}"))
    else:
        told = "Whether the rate is sustained when the device is hot was not measured."
        blocks.append(Quiet(told, "medge profile B --soak 30m --duty 12s/48s"))
    return Section("energy", "Energy and heat", tuple(blocks))


def _energy_row(entry: Entry, found: Energy) -> tuple[str, ...]:
    return (
        entry.name,
        number(found.net_mj),
        f"{number(found.net_low_mj)} to {number(found.net_high_mj)}",
        number(found.raw_mj),
        number(found.idle_w),
        number(found.busy_w),
        f"{', '.join(found.rails)}; {found.source}",
    )


def _soak(soak: Soak) -> Iterator[Block]:
    minutes = soak.minutes
    yield Paragraph(" ".join(_soak_told(soak)))
    if len(minutes) > 1:
        series: list[tuple[str, list[float | None]]] = [
            ("p50", [one.p50_ns / 1e6 for one in minutes])
        ]
        late = [None if one.p99_ns is None else one.p99_ns / 1e6 for one in minutes]
        if any(time is not None for time in late):
            series.append(("p99", late))
        yield Figure(
            "soak",
            "Latency in each minute of a long run",
            f"Median from {milliseconds(minutes[0].p50_ns)} to {milliseconds(minutes[-1].p50_ns)}.",
            plots.lines(series, [str(one.minute) for one in minutes], ("minute", "ms")),
            (220, 210),
        )
    rows = [
        (
            str(one.minute),
            f"{one.pictures:,}",
            milliseconds(one.p50_ns),
            NONE if one.p99_ns is None else milliseconds(one.p99_ns),
            NONE if one.clock_mhz is None else f"{one.clock_mhz:,.0f}",
            NONE if one.temperature_c is None else number(one.temperature_c),
            {True: "yes", False: "no", None: "not known"}[one.throttled],
        )
        for one in minutes
    ]
    yield table(
        "Minute by minute, measured",
        "minute | >pictures | >p50 | >p99 | >clock, MHz | >heat, \N{DEGREE SIGN}C | throttled",
        rows,
    )


def _soak_told(soak: Soak) -> Iterator[str]:
    yield (
        f"{count(len(soak.minutes), 'minute')} at {soak.duty_ns / 1e9:g} s of work and "
        f"{soak.rest_ns / 1e9:g} s of rest: {number(soak.sustained_per_s)} pictures a second of "
        "work are sustained."
    )
    if soak.interrupted:
        yield "It was ended before its time."
    if soak.ratio is not None:
        between = "too few calls to bound it"
        if soak.low is not None and soak.high is not None:
            between = f"{number(soak.low)} to {number(soak.high)}"
        yield f"The last minute's median is {number(soak.ratio)} times the first's ({between})."
    if soak.throttle_s is None:
        yield "It never throttled."
    elif isinstance(soak.throttle_s, Absent):
        yield f"Throttling could not be told: {soak.throttle_s.reason}"
    else:
        yield f"It throttled after {number(soak.throttle_s)} s."
