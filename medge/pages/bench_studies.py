"""The studies of the review beside this machine: a table, a page of Markdown, rows, one object."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from medge.bench.matrix.network_times import RUNTIMES, NetworkTime, procedure
from medge.bench.matrix.review import Part, Review, StudyRow, Summary
from medge.bench.stats import Interval, median_interval, percentile
from medge.console import rows_text
from medge.pages.estimate import terminal_width
from medge.profiles.device import describe
from medge.profiles.estimate.plan import Plan
from medge.profiles.network import Network
from medge.profiles.study import CITATION, Study
from medge.profiles.target import targets

COMMAND = "medge bench --studies --format md -o docs/studies-measured.md"
COLUMNS = ("ref", "network", "ort ms", "ov ms", "the study's device", "estimated ms")
CSV_COLUMNS = (
    "ref", "first_author", "year", "model", "architecture", "network", "assumption", "reason",
    *(f"{runtime}_{what}" for runtime in RUNTIMES for what in ("p50_ms", "reason")),
    "device", "device_name", "estimate_runtime", "estimate_ms", "low_ms", "high_ms",
    "estimate_reason",
)  # fmt: skip
MD_WIDTH = 105
MEASURED = (
    "ort ms, ov ms: measured here, batch 1, fp32, untrained weights: latency only, the answers "
    "mean nothing. ort is ONNX Runtime, ov OpenVINO; the figure is p50. Several networks of one "
    "study run one after the other: their times are added, and ≥ says that a part of the study is "
    "not in it."
)
ESTIMATED = (
    "estimated ms: for the study's own device, as `medge estimate` says it, batch 1, fp32, and "
    "the interval that is made to hold 80 % of what is measured; ends are added like times."
)


def review_object(found: Review) -> dict[str, Any]:
    """Return every study with its times, estimates and reasons in plain JSON types."""
    return {
        "schema": "medge.bench-studies/1",
        "source": CITATION,
        "device": msgspec.to_builtins(describe()),
        "procedure": msgspec.to_builtins(procedure()),
        "weights": "untrained",
        "summary": dataclasses.asdict(found.summary),
        "studies": [
            {
                "ref": row.study.ref,
                "model": row.study.model,
                "sized": row.sized,
                "parts": [_part_object(found, row, part) for part in row.parts],
                "devices": list(row.devices),
                "device_reason": None if row.devices else device_reason(row.study),
            }
            for row in found.rows
        ],
        "networks": [msgspec.to_builtins(each) for each in found.times.values()],
    }


def _part_object(found: Review, row: StudyRow, part: Part) -> dict[str, Any]:
    network = part.network
    return {
        "architecture": part.architecture,
        "network": None if network is None else network.id,
        "assumption": part.assumption,
        "reason": part.reason,
        "measured": {}
        if network is None
        else {runtime: _time_object(found, network, runtime) for runtime in RUNTIMES},
        "estimated": {}
        if network is None
        else {device: _plan_object(found.estimates[network.id, device]) for device in row.devices},
    }


def _time_object(found: Review, network: Network, runtime: str) -> dict[str, Any]:
    time = found.times.get((network.id, runtime))
    if time is None or time.measurement is None:
        return {"p50_ms": None, "reason": reason_of(found, network, runtime)}
    interval = bounds(time)
    return {
        "p50_ms": p50_ms(time),
        "interval_95_ms": None if interval is None else [interval.low / 1e6, interval.high / 1e6],
        "samples": len(time.measurement.samples_ns),
        "peak_rss_bytes": time.peak_rss_bytes,
        "runtime_version": time.runtime_version,
        "taken": time.taken,
    }


def _plan_object(each: Plan) -> dict[str, Any]:
    if each.latency is None:
        return {"latency_ms": None, "runtime": each.runtime, "reason": each.reason}
    return {
        "latency_ms": each.latency.latency_ms,
        "interval_80_ms": [each.latency.low_ms, each.latency.high_ms],
        "runtime": each.runtime,
        "notes": list(each.latency.notes),
    }


def csv_rows(found: Review) -> Iterator[tuple[str, ...]]:
    """Yield one row for each part of a study on each of its devices, at least one a part."""
    for row in found.rows:
        study = row.study
        for part in row.parts:
            head = (
                str(study.ref),
                study.first_author,
                str(study.year),
                study.model,
                part.architecture,
                "" if part.network is None else part.network.id,
                part.assumption or "",
                part.reason or "",
                *_measured_cells(found, part.network),
            )
            for device in row.devices or ("",):
                yield (*head, *_estimated_cells(found, row, part.network, device))


def _measured_cells(found: Review, network: Network | None) -> Iterator[str]:
    for runtime in RUNTIMES:
        time = None if network is None else found.times.get((network.id, runtime))
        if network is None:
            yield from ("", "")
        elif time is not None and time.measurement is not None:
            yield from (f"{p50_ms(time):.4g}", "")
        else:
            yield from ("", reason_of(found, network, runtime))


def _estimated_cells(
    found: Review, row: StudyRow, network: Network | None, device: str
) -> tuple[str, ...]:
    if not device:
        return ("", "", "", "", "", "", device_reason(row.study))
    name = targets()[device].name
    if network is None:
        return (device, name, "", "", "", "", "")
    each = found.estimates[network.id, device]
    latency = each.latency
    if latency is None:
        return (device, name, each.runtime or "", "", "", "", each.reason or "")
    figures = (latency.latency_ms, latency.low_ms, latency.high_ms)
    return (device, name, each.runtime or "", *(f"{figure:.4g}" for figure in figures), "")


def page_text(found: Review, form: str, *, terminal: bool) -> str:
    """Return a table with what it means above and every reason below; ``form`` table or md."""
    device = describe()
    machine = f"{device.name}, {device.cores} cores"
    versions = sorted({f"{t.runtime} {t.runtime_version}" for t in found.times.values()})
    lines = [
        f"{len(found.rows)} studies of the review beside this machine.",
        MEASURED,
        ESTIMATED,
        _counted(found.summary),
        f"Machine: {machine}; {', '.join(versions) or 'no runtime was timed'}{_when(found)}.",
    ]
    if form == "md":
        lines[0] = f"# Studies of the review, measured and estimated\n\nMade by `{COMMAND}`."
        lines.append(f"Source of the studies: {CITATION}.")
    table = rows_text(form, COLUMNS, table_rows(found), terminal=terminal)
    return "\n\n".join([_paragraphs(lines, form), table.rstrip("\n"), _notes(found, form)]) + "\n"


def _counted(summary: Summary) -> str:
    return (
        f"Of {summary.sized} that name a network with its size, {summary.measured} are measured on "
        f"both runtimes; of {summary.on_gpu} of these with a named GPU, {summary.told} have an "
        "estimate or the reason for none."
    )


def _when(found: Review) -> str:
    """Return the days on which the times were taken."""
    days = sorted({time.taken[:10] for time in found.times.values()})
    return "" if not days else f"; {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def table_rows(found: Review) -> Iterator[tuple[str, ...]]:
    """Yield one row for each device of a study, one where it names none."""
    for row in found.rows:
        named = " + ".join(network.name for network in row.networks) or row.study.model
        measured = [_sum_text(found, row, runtime) for runtime in RUNTIMES]
        head = (str(row.study.ref), named, *measured)
        if not row.devices:
            yield (*head, "-", "-")
        for place, device in enumerate(row.devices):
            shown = head if place == 0 else (head[0], "", "", "")
            yield (*shown, _short(targets()[device].name), _estimate_text(found, row, device))


def _sum_text(found: Review, row: StudyRow, runtime: str) -> str:
    times = [found.times.get((network.id, runtime)) for network in row.networks]
    values = [p50_ms(time) for time in times if time is not None and time.measurement is not None]
    if not times or len(values) < len(times):
        return "-"
    return f"{'' if row.whole else '≥ '}{_number(math.fsum(values))}"


def _estimate_text(found: Review, row: StudyRow, device: str) -> str:
    plans = [found.estimates[network.id, device] for network in row.networks]
    told = [each.latency for each in plans if each.latency is not None]
    if not plans or len(told) < len(plans):
        return "-"
    low, middle, high = (
        math.fsum(getattr(each, name) for each in told)
        for name in ("low_ms", "latency_ms", "high_ms")
    )
    return f"{'' if row.whole else '≥ '}{_number(middle)} ({_number(low)} to {_number(high)})"


def _notes(found: Review, form: str) -> str:
    """Say why there is no figure where there is none, and what was taken for granted."""
    groups = {
        "No network to measure": _grouped(_without_network(found)),
        "Taken for granted": _grouped(_assumed(found)),
        "Not measured": _grouped(_not_measured(found)),
        "No device to estimate for": _grouped(
            (device_reason(row.study), str(row.study.ref)) for row in found.rows if not row.devices
        ),
        "No estimate": _grouped(_abstained(found)),
        "Estimated with": _grouped(_runtimes_of(found)),
        "Estimated for one GPU": _grouped(_together(found)),
    }
    blocks = []
    for title, lines in groups.items():
        if not lines:
            continue
        if form == "md":
            told = (_wrapped(f"- {line}", "  ", MD_WIDTH) for line in lines)
            blocks.append(f"**{title}**\n\n" + "\n".join(told))
        else:
            told = (_wrapped(f"  {line}", "    ") for line in lines)
            blocks.append(f"{title}:\n" + "\n".join(told))
    return "\n\n".join(blocks)


def _without_network(found: Review) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        for part in row.parts:
            if part.reason is not None:
                yield f"{part.architecture}: {part.reason}", str(row.study.ref)


def _assumed(found: Review) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        for part in row.parts:
            if part.assumption is not None:
                yield part.assumption, str(row.study.ref)


def _not_measured(found: Review) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        for network in row.networks:
            for runtime in RUNTIMES:
                time = found.times.get((network.id, runtime))
                if time is None or time.measurement is None:
                    reason = reason_of(found, network, runtime)
                    yield f"{network.name} on {runtime}: {reason}", str(row.study.ref)


def _abstained(found: Review) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        for device in row.devices:
            if not row.networks:
                yield "none of its networks has known layers", str(row.study.ref)
            for network in row.networks:
                each = found.estimates[network.id, device]
                if each.latency is None:
                    yield f"{network.name} on {device}: {each.reason}", str(row.study.ref)


def _runtimes_of(found: Review) -> Iterator[tuple[str, str]]:
    for (_, device), each in found.estimates.items():
        if each.latency is not None:
            yield f"{each.runtime}", device


def _together(found: Review) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        if (row.study.gpu_count or 1) > 1 and row.networks:
            yield f"the study used {row.study.gpu_count} together", str(row.study.ref)


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return each reason once, behind all that it is the reason for."""
    found: dict[str, dict[str, None]] = {}
    for reason, what in pairs:
        found.setdefault(reason, {})[what] = None
    return [f"{', '.join(names)}: {reason}" for reason, names in found.items()]


def device_reason(study: Study) -> str:
    """Say why there is no device to estimate for."""
    if study.cpu_stated is not None:
        return f"only a processor that cannot be identified ({study.cpu_stated})"
    if study.cloud is not None:
        return f"only a cloud ({study.cloud})"
    return "hardware is stated, no device of it" if study.hardware_named else "none is named"


def reason_of(found: Review, network: Network, runtime: str) -> str:
    """Say why a network has no time on a runtime."""
    time = found.times.get((network.id, runtime))
    said = None if time is None else time.reason
    return said or found.missing.get((network.id, runtime)) or "it was not asked for"


def p50_ms(time: NetworkTime) -> float:
    """Return the median of what was timed."""
    return percentile(_samples(time), 0.5) / 1e6


def bounds(time: NetworkTime) -> Interval | None:
    """Bound the median from both sides at 95 %; None where the samples cannot."""
    return median_interval(_samples(time))


def _samples(time: NetworkTime) -> Sequence[int]:
    if time.measurement is None:
        raise ValueError("only what was measured has samples")
    return time.measurement.samples_ns


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ").removeprefix("Intel ")


def _number(value: float) -> str:
    """Write three digits, and no exponent."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _paragraphs(lines: Sequence[str], form: str) -> str:
    if form == "md":
        return "\n\n".join(
            line if line.startswith("#") else _wrapped(line, width=MD_WIDTH) for line in lines
        )
    return "\n".join(_wrapped(line) for line in lines)


def _wrapped(line: str, indent: str = "", width: int | None = None) -> str:
    return textwrap.fill(
        line,
        width or max(40, terminal_width()),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,  # ids of devices and networks have them
    )
