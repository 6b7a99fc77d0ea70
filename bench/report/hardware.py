"""Hardware: the sections of a report on the roofline, the layers, and other devices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from medge.bench.candidates import is_reference
from medge.bench.report import plots
from medge.bench.report.answers import interval_text
from medge.bench.report.blocks import Block, Figure, Paragraph, Quiet, Section, Table, table
from medge.bench.report.quantities import DASH, count, milliseconds, number, percent, size
from medge.bench.report.subject import NETWORK, BundleFacts, Entry, Hardware, Subject
from medge.bench.sections import Absent, Layers
from medge.bench.stats import percentile
from medge.profiles.estimate.plan import Plan, by_latency, plan
from medge.profiles.match import Cpu, Match, match_cpu
from medge.profiles.study import studies
from medge.profiles.target import targets

MOST_LAYERS = 20
MOST_DEVICES = 14
NONE = "\N{EM DASH}"
BYTES_OF_FP32 = 4  # what layers.json counts in


def roofline(subject: Subject) -> Section:
    """Tell how near the network comes to what the device could do."""
    bundle, hardware = subject.bundle, subject.hardware
    title = "Roofline"
    if bundle is None:
        told = "What the network computes is not known: the bundle is not at hand."
        return Section("roofline", title, (Quiet(told, "medge report --bundle PATH"),))
    peak = None if hardware is None else hardware.target.fp32_tflops
    bandwidth = None if hardware is None else hardware.target.memory_bandwidth_gb_s
    if hardware is None or peak is None or bandwidth is None:
        told = "Peak rate and memory bandwidth of this device are not known to the catalog."
        return Section("roofline", title, (Quiet(told),))
    timed = [entry for entry in subject.entries if math.isfinite(entry.picture_ns)]
    if not timed:
        return Section("roofline", title, (Quiet("No latency was measured.", "medge profile B"),))
    blocks = _roofline(bundle, hardware, timed, peak * 1e12, bandwidth * 1e9)
    return Section("roofline", title, tuple(blocks))


def _roofline(
    bundle: BundleFacts, hardware: Hardware, timed: list[Entry], peak: float, bytes_s: float
) -> Iterator[Block]:
    flops = sum(layer.flops for layer in bundle.network.layers)
    moved = sum(
        one.weight_bytes + one.input_bytes + one.output_bytes for one in bundle.network.layers
    )
    place = flops / moved
    points = [(entry.name, place, flops / entry.picture_ns * 1e9) for entry in timed]
    bound = "arithmetic" if place * bytes_s >= peak else "memory"
    yield Paragraph(
        f"One picture takes {number(flops / 1e6)} million operations and moves at least "
        f"{size(moved)} in fp32 (counted from the graph, layer by layer): "
        f"{number(place)} operations for each byte, so that {bound} would be the limit here."
    )
    told = f"fp32 peak {number(peak / 1e9)} GFLOP/s"
    yield Figure(
        "roofline-plot",
        "What was reached against what the device could do in fp32",
        f"{told}, {number(bytes_s / 1e9)} GB/s. "
        + "; ".join(f"{name}: {number(reached / 1e9)} GFLOP/s" for name, _, reached in points),
        plots.roofline(points, peak, bytes_s, told),
        (330, 360),
    )
    rows = [
        (
            name,
            f"{number(reached / 1e9)} GFLOP/s",
            percent(reached / peak),
            percent(reached / (place * bytes_s)),
            _against(entry),
        )
        for (name, _, reached), entry in zip(points, timed, strict=True)
    ]
    yield table(
        "Reached, measured, against both fp32 roofs, estimated",
        "configuration | >reached | >of peak arithmetic | >of memory's roof | note",
        rows,
    )
    target = hardware.target
    how = "measured while this was written" if hardware.measured else "published"
    yield Paragraph(
        f"The roof is estimated: {target.name}, {target.source}; memory bandwidth {how}. "
        "Values that stay in a cache move faster than memory, and fused layers move less, so that "
        "small networks can be above memory's roof."
    )


def _against(entry: Entry) -> str:
    candidate = entry.result.candidate
    if candidate is not None and is_reference(candidate):
        return "fp32, as the roof"
    return "narrower than fp32: its own roof is higher"


def layers(subject: Subject) -> Section:
    """Tell which operations take the time."""
    lead = subject.lead
    found = None if lead.sections is None else lead.sections.layers
    title = "Layers"
    if isinstance(found, Absent):
        return Section("layers", title, (Quiet(f"Not available: {found.reason}"),))
    if not isinstance(found, Layers) or not found.layers:
        quiet = Quiet("The time of each operation was not measured.", "medge profile B --full")
        return Section("layers", title, (quiet,))
    ordered = sorted(found.layers, key=lambda layer: -layer.time_ns)
    shown = ordered[:MOST_LAYERS]
    rows = [
        (one.name, one.kind, one.precision, milliseconds(one.time_ns), percent(one.share_ratio))
        for one in shown
    ]
    rest = len(ordered) - len(shown)
    kinds: Counter[str] = Counter()
    for layer in ordered:
        kinds[layer.kind] += layer.time_ns
    total = max(1, sum(kinds.values()))
    told = ", ".join(f"{kind} {percent(ns / total)}" for kind, ns in kinds.most_common(4))
    blocks: list[Block] = [
        Paragraph(
            f"{lead.name}, median of {count(found.runs, 'watched run')}, which are slower than "
            f"others; told by {found.source}. By kind: {told}."
        ),
        table(
            f"The {len(shown)} slowest of {count(len(ordered), 'operation')}, measured",
            "operation | kind | precision | >time | >part",
            rows,
        ),
    ]
    if rest:
        left = sum(one.time_ns for one in ordered[MOST_LAYERS:])
        blocks.append(
            Quiet(f"{count(rest, 'more operation')}, {percent(left / total)} of the time.",
                  "medge report --format trace")
        )  # fmt: skip
    return Section("layers", title, tuple(blocks))


def devices(subject: Subject) -> Section:
    """Put other devices beside this one: measured where results were imported, else estimated."""
    blocks: list[Block] = [_measured(subject)]
    if not subject.elsewhere:
        told = "No result of this bundle from another device is in the store."
        blocks.append(Quiet(told, "medge results import FILE"))
    blocks += _review(subject)
    return Section("devices", "Other devices and the review", tuple(blocks))


def _measured(subject: Subject) -> Table:
    rows = []
    for entry in (subject.lead, *subject.elsewhere):
        device, taken = entry.result.device, entry.measurement(NETWORK)
        times = (NONE, NONE)
        if taken is not None:
            bounds = taken.interval(0.5)
            middle = milliseconds(percentile(taken.samples_ns, 0.5))
            times = (middle, NONE if bounds is None else interval_text(bounds))
        rows.append((device.name, device.tier or NONE, entry.name, *times,
                     entry.result.taken[:10]))  # fmt: skip
    return table(
        "This bundle, measured, the network alone",
        "device | tier | configuration | >p50 | >95 % interval | >on",
        rows,
        marked=0,
    )


def _review(subject: Subject) -> Iterator[Block]:
    device = subject.lead.result.device
    near = match_cpu(Cpu(name=device.name, cores=device.cores, tier=device.tier))
    if near:
        yield table(
            "Hardware of the catalog that is nearest to this device, and the studies of the review "
            "that used it",
            "hardware | how near | studies",
            [_near(match) for match in near],
        )
    if subject.bundle is None:
        told = "Estimates for the review's hardware need the bundle."
        yield Quiet(told, "medge report --bundle PATH")
        return
    yield _estimated(subject.bundle)


def _near(match: Match) -> tuple[str, ...]:
    kind = "same product" if match.exact else "resembles it"
    if not match.refs:
        return match.target.name, kind, "none"
    used = "its architecture" if match.refs_of_architecture else "it"
    refs = ", ".join(str(ref) for ref in match.refs[:12])
    more = "" if len(match.refs) <= 12 else f" and {len(match.refs) - 12} more"
    return match.target.name, kind, f"{len(match.refs)} used {used}: references {refs}{more}"


def _estimated(bundle: BundleFacts) -> Table:
    """Estimate this network on the hardware that the review's studies used most."""
    used: Counter[str] = Counter()
    for study in studies().values():
        used.update(dict.fromkeys((*study.gpus, *((study.cpu,) if study.cpu else ())), 1))
    asked = [targets()[name] for name, _ in used.most_common(MOST_DEVICES)]
    plans = plan(bundle.name, bundle.network, asked)
    rows = [_estimate_row(one, used[one.target.id]) for one in by_latency(plans)]
    return table(
        "This network on hardware of the review's studies, estimated, fp32, one picture; the "
        "interval is made to hold 80 % of what is measured on such devices",
        "hardware | >studies | >estimated | >80 % interval | runtime or reason",
        rows,
    )


def _estimate_row(one: Plan, used: int) -> tuple[str, ...]:
    head = (one.target.name, str(used))
    if one.latency is None:
        return (*head, NONE, NONE, f"no estimate: {one.reason}")
    low, high = number(one.latency.low_ms), number(one.latency.high_ms)
    return (
        *head,
        f"{number(one.latency.latency_ms)} ms",
        f"{low}{DASH}{high} ms",
        str(one.runtime),
    )
