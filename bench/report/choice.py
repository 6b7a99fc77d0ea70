"""Choice: the sections of a report on the candidates beside each other, and on their decisions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from medge.bench.measure import Measurement
from medge.bench.report import plots
from medge.bench.report.answers import NOT_STATED, interval_text, ratio_of
from medge.bench.report.blocks import Block, Figure, Quiet, Section, Table, table
from medge.bench.report.quantities import (
    DASH,
    count,
    milliseconds,
    number,
    percent,
    percent_set,
    setting,
    size,
    told_apart,
)
from medge.bench.report.subject import NETWORK, REFERENCE, Entry, Subject
from medge.bench.sections import Energy, Memory
from medge.bench.stats import Interval, percentile
from medge.engine.evidence import Drift

WORDS = {"yes": "may run", "no": "may not run", "open": "not proven"}
MAY = {"yes": "yes", "no": "no", "open": "not proven"}
NONE = "\N{EM DASH}"
ALONE = "Only one configuration was measured; each --candidate adds one."


def candidates(subject: Subject) -> Section:
    """Put every candidate beside the others: precision, latency, drift, memory, energy."""
    columns = {
        "configuration": _names(subject),
        **_latencies(subject),
        ">times as long": [_times_as_long(subject.lead, entry) for entry in subject.entries],
        ">peak memory": [_memory(entry) for entry in subject.entries],
        ">energy": [_energy(entry) for entry in subject.entries],
        "may run": [MAY[entry.standing[0]] for entry in subject.entries],
        "because": [entry.standing[1] for entry in subject.entries],
    }
    told = {title: cells for title, cells in columns.items() if set(cells) != {NONE}}
    shown = table(
        "Every configuration measured here, the fastest first; times are of the network alone for "
        "one picture, ratios to the answer's time with a 99 % interval where rounds were shared",
        " | ".join(told),
        list(zip(*told.values(), strict=True)),
        marked=subject.entries.index(subject.lead),
    )
    blocks: list[Block] = [*_drawn(subject), shown]
    if len(subject.entries) == 1:
        blocks.append(Quiet(ALONE, "medge profile B --candidate BACKEND:PRECISION"))
    return Section("candidates", "Configurations", tuple(blocks))


def _names(subject: Subject) -> list[str]:
    """Return the names; results of the same configuration are told apart by their numbers."""
    names = [entry.name for entry in subject.entries]
    return [
        entry.name if names.count(entry.name) == 1 else f"{entry.name}, result {entry.number}"
        for entry in subject.entries
    ]


def _latencies(subject: Subject) -> dict[str, list[str]]:
    rows = []
    for entry in subject.entries:
        taken = entry.measurement(NETWORK)
        rows.append((NONE, NONE, NONE) if taken is None else _times(taken))
    titles = (">p50", ">95 % interval", ">p99")
    return {title: [row[place] for row in rows] for place, title in enumerate(titles)}


def _times(taken: Measurement) -> tuple[str, str, str]:
    samples, batch = taken.samples_ns, taken.procedure.batch
    bounds = taken.interval(0.5)
    between = "too few calls" if bounds is None else interval_text(_by_picture(bounds, batch))
    middle, late = (milliseconds(percentile(samples, p) / batch) for p in (0.5, 0.99))
    stated = taken.interval(0.99) is not None
    return middle, between, late if stated else NOT_STATED


def _by_picture(bounds: Interval, batch: int) -> Interval:
    return Interval(round(bounds.low / batch), round(bounds.high / batch), bounds.confidence)


def _times_as_long(lead: Entry, entry: Entry) -> str:
    if entry is lead or not (math.isfinite(lead.picture_ns) and math.isfinite(entry.picture_ns)):
        return NONE
    found = ratio_of(lead, entry)
    if found is None:
        return f"{number(entry.picture_ns / lead.picture_ns)}, other rounds"
    low, high = told_apart(found.low, found.high)
    return f"{number(found.ratio)} ({low}{DASH}{high})"


def _memory(entry: Entry) -> str:
    found = None if entry.sections is None else entry.sections.memory
    return size(found.peak_rss_bytes) if isinstance(found, Memory) else NONE


def _energy(entry: Entry) -> str:
    found = None if entry.sections is None else entry.sections.energy
    return f"{number(found.net_mj)} mJ" if isinstance(found, Energy) else NONE


def _drawn(subject: Subject) -> Iterator[Figure]:
    timed = [entry for entry in subject.entries if math.isfinite(entry.picture_ns)]
    rows = [_traded(entry) for entry in timed]
    if len(rows) < 2:
        return
    judged = [entry.drift for entry in timed if entry.drift is not None]
    margin = 100.0 * judged[0].margins.flip_ratio if judged else None
    yield Figure(
        "tradeoff",
        "Latency and drift of every configuration: round may run, square is not proven, crossed "
        "may not",
        "; ".join(f"{one.name} {number(one.middle)} ms, {WORDS[one.verdict]}" for one in rows),
        plots.tradeoff(rows, margin),
        (70 + 32 * len(rows), 80 + 42 * len(rows)),
    )


def _traded(entry: Entry) -> plots.Traded:
    taken = entry.measurement(NETWORK)
    middle = low = high = entry.picture_ns / 1e6
    bounds = None if taken is None else taken.interval(0.5)
    if taken is not None and bounds is not None:
        low, high = (end / taken.procedure.batch / 1e6 for end in (bounds.low, bounds.high))
    drift = entry.drift
    flips = None if drift is None else next((c for c in drift.checks if c.name == "flips"), None)
    bound = None if flips is None else 100.0 * flips.high
    return plots.Traded(
        name=entry.name,
        verdict=entry.standing[0],
        middle=middle,
        low=low,
        high=high,
        flips=0.0 if entry.standing[1] == REFERENCE else bound,
    )


def decisions(subject: Subject) -> Section:
    """Tell whether decisions hold: golden cases, then every candidate's drift, check by check."""
    blocks: list[Block] = []
    golden = [
        e for e in subject.entries if e.sections is not None and e.sections.golden is not None
    ]
    if golden:
        blocks.append(_golden(golden))
    else:
        blocks.append(Quiet("Golden cases were not compared in these results.", "medge profile B"))
    judged = {id(drift): (entry, drift) for entry in subject.entries if (drift := entry.drift)}
    blocks += [_checks(entry, drift) for entry, drift in judged.values()]
    if not judged:
        told = "No pictures were judged: whether another precision decides alike is not known."
        blocks.append(Quiet(told, "medge profile B --data DIR --labels FILE"))
    return Section("decisions", "Decisions", tuple(blocks))


def _golden(entries: list[Entry]) -> Table:
    rows = []
    for entry in entries:
        golden = entry.sections.golden if entry.sections else None
        if golden is None:
            continue
        shares = ", ".join(
            f"{percent(share)} {name}" for name, share in sorted(golden.shares.items()) if share
        )
        place = "all on the device" if not golden.elsewhere else (
            f"{count(golden.elsewhere, 'operation')} elsewhere")  # fmt: skip
        told = (number(golden.max_abs, 2), setting(golden.tolerance))
        rows.append((entry.name, f"{golden.cases}", *told, shares or NONE, place))
    return table(
        "Golden cases of the bundle on this device, and what the network was seen to run in",
        "configuration | >cases | >largest difference | >allowed | precision read back | placement",
        rows,
    )


def _checks(entry: Entry, drift: Drift) -> Table:
    rows = [
        (
            check.name,
            percent(check.value),
            percent(check.high),
            percent_set(check.margin),
            f"{check.cases:,}",
            check.verdict
            + (f", {check.missing_cases:,} more needed" if check.missing_cases else ""),
        )
        for check in drift.checks
    ]
    labels = "with labels" if drift.labelled else "without labels: only flips are judged"
    when = f", {drift.date}" if drift.date else ""
    return table(
        f"{entry.name} against {drift.against}: {drift.verdict}"
        f"{' (accepted by its user)' if drift.accepted else ''}. {count(drift.cases, 'image')}, "
        f"{count(drift.flips, 'flip')}, {labels}; {drift.backend} {drift.backend_version} on "
        f"{drift.tier}{when}",
        "check | >found | >at most (95 %) | >margin | >images | verdict",
        rows,
    )
