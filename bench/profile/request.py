"""What a profile is asked for, and the run that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medge.errors import MedgeError

if TYPE_CHECKING:
    from medge.bench.profile.pictures import Pictures
    from medge.bench.profile.subject import Subject
    from medge.bench.scenario.asked import Scenarios
    from medge.bench.scenario.soak import Duty
    from medge.engine.bundle import Bundle
    from medge.engine.select import Choice
    from medge.profiles.sensors import Sampler

BUDGET_NS = 45_000_000_000
COLD_STARTS = 5

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """How a bundle is profiled.

    Parameters
    ----------
    choices
        What is measured, in the same rounds; none takes what `medge run` would use.
    data
        A file or folder of pictures that are timed from their bytes to a decision, and in a folder
        judge the decisions too. None: pictures are made, and nothing is judged.
    labels
        A label file for these (docs/drift.md).
    budget_ns
        Time for timed calls, of all candidates together; starting and loading come to it.
    cold_starts
        New processes for each candidate, 0 for none.
    overhead, energy, sensors
        Whether what the profiler costs and energy are measured, and clocks, temperature and power
        are read meanwhile.
    full
        Whether the long tail, single operations, growing load and pauses are measured too, in some
        minutes a candidate (``full``).
    soak
        How long to let each candidate work and rest in the end; None for no soak.
    scenarios
        Frame deadline and LoadGen; None for neither.
    command
        What was typed, for the evidence; without names of files.
    """

    choices: tuple[Choice, ...] = ()
    data: Path | None = None
    labels: Path | None = None
    budget_ns: int = BUDGET_NS
    cold_starts: int = COLD_STARTS
    overhead: bool = True
    energy: bool = True
    sensors: bool = True
    full: bool = False
    soak: Duty | None = None
    scenarios: Scenarios | None = None
    seed: int = 0
    command: tuple[str, ...] = ()

    def deviations(self) -> tuple[str, ...]:
        """Return how this differs from the default, one sentence each."""
        said = []
        if self.budget_ns != BUDGET_NS:
            usual_s = BUDGET_NS / 1e9
            said.append(f"{self.budget_ns / 1e9:g} s for timed calls instead of {usual_s:g}")
        if self.cold_starts != COLD_STARTS:
            said.append(f"{self.cold_starts} cold starts instead of {COLD_STARTS}")
        left_out = ("overhead", "energy", "sensors")
        said += [f"{name} left out" for name in left_out if not getattr(self, name)]
        return tuple(said)


@dataclass
class Run:
    """One profile while it runs; every step is given it (``steps.STEPS``).

    Attributes
    ----------
    told
        Told each step when it begins, for a person at a terminal.
    pictures
        The files that are timed; none of the candidates refuses them.
    sampler
        Reads the sensors, in this process: what is measured runs in others.
    subjects
        All candidates; ``going`` are those that nothing has stopped.
    rounds
        The name of the rounds that several candidates share, None for one alone.
    interrupted
        Whether Ctrl-C ended a soak; what was measured until then is kept.
    """

    bundle: Bundle
    request: ProfileRequest
    told: Told
    pictures: Pictures
    sampler: Sampler
    subjects: list[Subject] = field(default_factory=list)
    rounds: str | None = None
    interrupted: bool = False

    @property
    def going(self) -> list[Subject]:
        """The candidates that have not failed."""
        return [subject for subject in self.subjects if subject.fault is None]

    def each(self, step: Callable[[Subject], None]) -> None:
        """Do a step for every candidate; one that fails is taken out and stops no other."""
        for subject in self.going:
            try:
                step(subject)
            except MedgeError as error:
                subject.fail(error)

    def share_ns(self, part: float) -> int:
        """Return a part of the time for timed calls, for one of the candidates."""
        return round(self.request.budget_ns * part / max(1, len(self.subjects)))
