"""Contents: every section of a report, in order, the answer first."""

from __future__ import annotations

from collections.abc import Iterator

from medge.bench.report.answers import answers
from medge.bench.report.blocks import Document
from medge.bench.report.choice import candidates, decisions
from medge.bench.report.evidence import count_doubts, doubts_of, evidence
from medge.bench.report.hardware import devices, layers, roofline
from medge.bench.report.quantities import count
from medge.bench.report.resources import batches, energy, memory
from medge.bench.report.subject import Subject
from medge.bench.report.timing import latency, rate, stages, starts

PARTS = (
    candidates,
    latency,
    stages,
    rate,
    decisions,
    roofline,
    layers,
    batches,
    memory,
    energy,
    starts,
    devices,
    doubts_of,
    evidence,
)


def report(subject: Subject) -> Document:
    """Return everything that a report says of its subject."""
    device = subject.lead.result.device
    return Document(
        title=f"{subject.bundle_name} on {device.name}",
        subtitle=_subtitle(subject),
        warnings=tuple(_warnings(subject)),
        answers=answers(subject),
        notes=tuple(_notes(subject)),
        sections=tuple(part(subject) for part in PARTS),
    )


def _subtitle(subject: Subject) -> str:
    device = subject.lead.result.device
    days = sorted({entry.result.taken[:10] for entry in subject.entries})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    tier = f", {device.tier}" if device.tier else ""
    return (
        f"{count(device.cores, 'core')}{tier}; measured {when} by medge {subject.lead.result.medge}"
    )


def _warnings(subject: Subject) -> Iterator[str]:
    if subject.bundle is not None and subject.bundle.demonstration:
        yield "Demonstration model, not for clinical use."


def _notes(subject: Subject) -> Iterator[str]:
    doubted = count_doubts(subject.lead)
    if doubted:
        yield (
            f"{count(doubted, 'kind of doubt', 'kinds of doubt')} against the figures of "
            f"{subject.lead.name}, each with its number and a next step: see Doubts."
        )
    yield (
        "Figures are measured unless they say estimated or published. Evidence tells how to repeat "
        "them."
    )
    if subject.bundle is not None:
        yield f"Intended use: {subject.bundle.intended_use}"
