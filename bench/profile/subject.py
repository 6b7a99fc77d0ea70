"""Subject: one candidate under measurement, its worker, and all that was found of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medge.bench.sections import (
    Absent,
    ColdStart,
    Deadline,
    Energy,
    IdleGap,
    Layers,
    LoadgenRun,
    LoadPoint,
    Memory,
    Overhead,
    Soak,
)

if TYPE_CHECKING:
    from medge.bench.measure import Measurement
    from medge.bench.profile.loaded import LoadFacts
    from medge.bench.profile.process import Worker
    from medge.engine.evidence import Drift
    from medge.engine.sealed import Candidate
    from medge.errors import MedgeError
    from medge.profiles.sensors import Trace


@dataclass
class Subject:
    """What is filled in step by step; ``document.result_of`` makes a ``Result`` of it.

    Fields named as those of ``Sections`` are these; None was not asked for. ``deviations`` are
    sentences on how this run differed from the default procedure. ``fault`` is what stopped the
    candidate: it has no further step and no result.
    """

    candidate: Candidate
    sealed: bool
    worker: Worker
    measurements: dict[str, Measurement] = field(default_factory=dict)  # by stage
    drifts: list[Drift] = field(default_factory=list)
    cold_start: ColdStart | Absent | None = None
    memory: Memory | Absent | None = None
    trace: Trace | Absent | None = None
    energy: Energy | Absent | None = None
    overhead: Overhead | Absent | None = None
    sweep: tuple[LoadPoint, ...] = ()
    idle_gaps: tuple[IdleGap, ...] = ()
    layers: Layers | Absent | None = None
    deadline: Deadline | Absent | None = None
    loadgen: tuple[LoadgenRun, ...] = ()
    soak: Soak | Absent | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)
    fault: MedgeError | None = None

    @property
    def facts(self) -> LoadFacts:
        """What loading showed."""
        return self.worker.facts

    def fail(self, fault: MedgeError) -> None:
        """Take it out: its process ends, and ``fault`` says why it has no result."""
        self.worker.close()
        self.fault = fault
