"""Subject: the results that a report is about, ranked, and what is known beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from medge.bench.candidates import is_reference, precision_name
from medge.bench.measure import Measurement
from medge.bench.procedure import differences
from medge.bench.report.blocks import Verdict
from medge.bench.report.quantities import count, number, setting
from medge.bench.result import Result
from medge.bench.sections import Sections
from medge.bench.stats import percentile
from medge.engine.evidence import Drift
from medge.profiles.layers import Layers
from medge.profiles.target import Target

NETWORK = "infer"
REFERENCE = "the reference"  # why fp32 may run
WHOLE = "file-to-decision"
IN_FILE = "infer-in-file"  # the network within a call from file to decision
STAGES = ("read", "decode", "prepare", IN_FILE, "decide")


@dataclass(frozen=True, slots=True)
class Entry:
    """A result; ``number`` is its id in the store, None where it came in a document."""

    number: int | None
    result: Result

    @property
    def name(self) -> str:
        """How the bundle was run, in a few words."""
        candidate = self.result.candidate
        if candidate is None:
            return "no network"
        words = f"{candidate.backend} {precision_name(candidate)}"
        if candidate.device.lower() != "cpu":
            words += f" on {candidate.device}"
        words += f", {count(candidate.threads, 'thread')}"
        if candidate.streams > 1:
            words += f" in {candidate.streams} streams"
        return words if candidate.batch == 1 else f"{words}, batch {candidate.batch}"

    @property
    def sections(self) -> Sections | None:
        """What a profile adds; None of results that another verb stored."""
        return self.result.sections

    def measurement(self, stage: str) -> Measurement | None:
        """Return the latencies of one stage, None where it was not timed."""
        found = (one for one in self.result.measurements if one.stage == stage)
        return next((one for one in found if one.samples_ns), None)

    @property
    def picture_ns(self) -> float:
        """Median time of the network for one picture; infinite where it was not timed."""
        taken = self.measurement(NETWORK)
        if taken is None:
            return math.inf
        return percentile(taken.samples_ns, 0.5) / taken.procedure.batch

    @property
    def drift(self) -> Drift | None:
        """The newest verdict on this precision of this backend."""
        candidate = self.result.candidate
        if candidate is None:
            return None
        found = [
            drift
            for drift in self.result.drifts
            if drift.precision == precision_name(candidate) and drift.backend == candidate.backend
        ]
        return max(found, key=lambda drift: drift.date or "", default=None)

    @property
    def standing(self) -> tuple[Verdict, str]:
        """Return whether it may run, and why: ``open`` while nobody can tell."""
        candidate = self.result.candidate
        if candidate is None:
            return "open", "no network was run"
        cell = None if self.sections is None else self.sections.cell
        if cell is not None and cell.rule:
            return "no", f"it was refused ({cell.rule}): {cell.reason or 'without a reason'}"
        golden = None if self.sections is None else self.sections.golden
        if golden is not None and not golden.max_abs <= golden.tolerance:
            return "no", (
                f"its golden answers differ by {number(golden.max_abs, 2)}, "
                f"{setting(golden.tolerance)} is allowed"
            )
        drift = self.drift
        if is_reference(candidate) and (drift is None or drift.verdict != "fail"):
            return "yes", REFERENCE
        return _judged(drift)


def _judged(drift: Drift | None) -> tuple[Verdict, str]:
    if drift is None:
        return "open", "nobody judged its decisions"
    on = f"{count(drift.flips, 'flip')} in {count(drift.cases, 'image')}"
    if drift.verdict == "pass":
        return "yes", f"drift pass, {on}"
    if drift.accepted:
        return "yes", f"drift inconclusive, accepted by its user, {on}"
    if drift.verdict == "fail":
        return "no", f"drift fail, {on}"
    if drift.verdict == "inconclusive":
        return "open", f"drift inconclusive, {on}, {drift.missing_cases:,} more needed"
    return "open", "drift cannot be judged for this network"


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a report says of the bundle itself; ``network`` is of one picture."""

    name: str
    version: str
    demonstration: bool
    intended_use: str
    limits: tuple[str, ...]
    data: tuple[str, ...]
    network: Layers


@dataclass(frozen=True, slots=True)
class Hardware:
    """The device that measured, as an entry of the catalog.

    ``measured`` says that clock, cores and memory bandwidth were found on the device itself; else
    they are what is published of the nearest entry.
    """

    target: Target
    measured: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """What one report is about: one bundle on one device.

    Attributes
    ----------
    entries
        One for each candidate, the fastest first, those without times last.
    elsewhere
        The same bundle on other devices.
    bundle, hardware
        None where they are not at hand.
    """

    entries: tuple[Entry, ...]
    elsewhere: tuple[Entry, ...] = ()
    bundle: BundleFacts | None = None
    hardware: Hardware | None = None

    @property
    def lead(self) -> Entry:
        """The fastest that may run; the fastest of all where none may."""
        may = (entry for entry in self.entries if entry.standing[0] == "yes")
        return next((entry for entry in may if math.isfinite(entry.picture_ns)), self.entries[0])

    @property
    def bundle_name(self) -> str:
        """Name and version, as far as anything tells them."""
        if self.bundle is not None:
            return f"{self.bundle.name} {self.bundle.version}"
        told = (entry.sections.evidence.bundle for entry in self.entries if entry.sections)
        return next(told, f"bundle {self.lead.result.bundle_sha256[:12]}")


def ranked(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries by the network's time for a picture."""
    return tuple(sorted(entries, key=lambda entry: entry.picture_ns))


def paired(a: Entry, b: Entry) -> bool:
    """Whether two candidates were timed in the same rounds, so that their samples pair."""
    first, second = a.measurement(NETWORK), b.measurement(NETWORK)
    if first is None or second is None or a.sections is None or b.sections is None:
        return False
    return (
        a.sections.rounds is not None
        and a.sections.rounds == b.sections.rounds
        and not differences(first.procedure, second.procedure)
        and len(first.samples_ns) == len(second.samples_ns)
    )
