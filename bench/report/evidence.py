"""Evidence: the sections of a report on doubts, and on what its figures rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from medge.bench.doubts import Doubt, doubts
from medge.bench.measure import Measurement
from medge.bench.procedure import differences
from medge.bench.report.blocks import Block, Paragraph, Quiet, Section, table
from medge.bench.report.quantities import milliseconds, number
from medge.bench.report.subject import NETWORK, WHOLE, Entry, Subject
from medge.bench.sections import Absent, Evidence, Overhead
from medge.profiles.cuda_gpus import kind_of


def doubts_of(subject: Subject) -> Section:
    """Tell everything that speaks against the figures, each with a next step."""
    ordered = sorted(subject.entries, key=lambda entry: entry is not subject.lead)
    kinds: dict[tuple[str, str], list[tuple[Entry, str, Doubt]]] = {}
    for entry in ordered:
        for stage, doubt in _doubts(entry):
            kinds.setdefault((doubt.name, doubt.text), []).append((entry, stage, doubt))
    rows = [
        (name, number(found[0][2].limit), "; ".join(_where(found)), text)
        for (name, text), found in kinds.items()
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(
            table(
                "What speaks against these figures, the answer's first",
                "doubt | >limit | found | what it means, and what to do",
                rows,
            )
        )
    else:
        blocks.append(Paragraph("Nothing that is checked speaks against these figures."))
    blocks += _overhead(subject.lead)
    return Section("doubts", "Doubts", tuple(blocks))


def count_doubts(entry: Entry) -> int:
    """Return how many different doubts stand against one candidate's figures."""
    return len({(doubt.name, doubt.text) for _, doubt in _doubts(entry)})


def _where(found: Sequence[tuple[Entry, str, Doubt]]) -> Iterator[str]:
    """Yield for each candidate at which stages a doubt was found, and its figure there."""
    by_name: dict[str, list[str]] = {}
    for entry, stage, doubt in found:
        by_name.setdefault(entry.name, []).append(f"{stage} {number(doubt.value)}")
    for name, stages in by_name.items():
        yield f"{name}: {', '.join(stages)}"


def _doubts(entry: Entry) -> Iterator[tuple[str, Doubt]]:
    """Yield the doubts that were stored; of results without any section, those found now."""
    stored = None if entry.sections is None else entry.sections.doubts
    if stored is None:
        stored = {one.stage: tuple(doubts(one)) for one in _timed(entry.result.measurements)}
    for stage in sorted(stored, key=lambda stage: stage not in (WHOLE, NETWORK)):
        yield from ((stage, doubt) for doubt in stored[stage])


def _timed(measurements: Sequence[Measurement]) -> Iterator[Measurement]:
    return (one for one in measurements if len(one.samples_ns) > 1)


def _overhead(lead: Entry) -> Iterator[Block]:
    found = None if lead.sections is None else lead.sections.overhead
    if isinstance(found, Absent):
        yield Quiet(f"The profiler's own cost: not available: {found.reason}")
    if not isinstance(found, Overhead):
        return
    told = (
        "The profiler's own cost, measured: a call that runs no network takes "
        f"{milliseconds(found.null_ns)}"
    )
    if found.ratio is not None and found.low is not None and found.high is not None:
        told += (
            f"; with the sensors on, the median is {number(found.ratio, 4)} times that with them "
            f"off ({number(found.low, 4)} to {number(found.high, 4)}; "
            f"{number(found.limit_ratio, 4)} is allowed)"
        )
    yield Paragraph(f"{told}.")


def evidence(subject: Subject) -> Section:
    """Tell what the figures rest on, so that somebody else can repeat them."""
    lead = subject.lead
    blocks: list[Block] = [table("Digests and origin", "what | value", list(_origin(subject)))]
    found = None if lead.sections is None else lead.sections.evidence
    if found is None:
        told = "Model digest, versions, seeds and deviations are not in this result."
        blocks.append(Quiet(told, "medge profile B"))
    else:
        blocks += _toolchain(found)
        blocks += _deviations(subject)
    blocks += _procedures(lead)
    return Section("evidence", "Evidence", tuple(blocks))


def _origin(subject: Subject) -> Iterator[tuple[str, str]]:
    lead = subject.lead
    result = lead.result
    yield "bundle", subject.bundle_name
    yield "bundle, SHA-256", result.bundle_sha256
    if lead.sections is not None:
        told = lead.sections.evidence
        yield "model, SHA-256", told.model_sha256
        data = told.data_sha256 or "no pictures were given"
        yield "pictures, SHA-256", data
        yield "command", " ".join(told.command)
    yield "device", result.device.name
    yield "device, identity", result.device_identity
    if result.device.gpu is not None:
        yield "GPU", kind_of(result.device.gpu)
    yield "instruction tier", result.device.tier or "not known"
    yield "CPUs, cores that may be used", f"{result.device.cpus}, {result.device.cores}"
    yield "backend", f"{lead.name}; version {result.backend_version or 'not known'}"
    yield (
        "results in the store",
        ", ".join(
            f"{entry.number} ({entry.name}, {entry.result.taken})"
            for entry in subject.entries
            if entry.number is not None
        )
        or "none: read from documents",
    )
    yield "taken by medge", result.medge
    if subject.bundle is not None:
        yield "trained on", "; ".join(subject.bundle.data) or "not told by the bundle"


def _toolchain(found: Evidence) -> Iterator[Block]:
    rows = [(name, version) for name, version in sorted(found.versions.items())]
    rows += [(f"seed: {name}", str(seed)) for name, seed in sorted(found.seeds.items())]
    if rows:
        yield table("Toolchain and seeds", "what | value", rows)


def _deviations(subject: Subject) -> Iterator[Block]:
    told: dict[str, list[str]] = {}
    for entry in subject.entries:
        for sentence in entry.sections.evidence.deviations if entry.sections else ():
            told.setdefault(sentence, []).append(entry.name)
    if not told:
        yield Paragraph("Deviations from the default procedure: none.")
        return
    everybody = len(subject.entries)
    rows = [
        (sentence, "all" if len(names) == everybody else "; ".join(names))
        for sentence, names in told.items()
    ]
    yield table("Deviations from the default procedure", "deviation | of", rows)


def _procedures(lead: Entry) -> Iterator[Block]:
    """Yield the whole procedure of the first measurement, and how the others differ from it."""
    taken = lead.result.measurements
    if not taken:
        return
    first = taken[0].procedure
    rows = [(name, _value(value)) for name, value in _flat(msgspec.to_builtins(first))]
    yield table(f"Procedure of {taken[0].stage}", "field | value", rows)
    others = []
    for one in taken[1:]:
        names = differences(first, one.procedure)
        fields = dict(_flat(msgspec.to_builtins(one.procedure)))
        told = ", ".join(f"{name} {_value(fields[name])}" for name in names)
        others.append((one.stage, told or "the same", f"{len(one.samples_ns):,}", _settled(one)))
    if others:
        yield table(
            "Procedures of the other stages", "stage | differs in | >calls | warm-up", others
        )


def _settled(one: Measurement) -> str:
    if one.settled is None:
        return "none"
    calls = len(one.warm_up_ns)
    return f"settled after {calls:,} calls" if one.settled else f"not settled in {calls:,} calls"


def _flat(fields: dict[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _value(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
