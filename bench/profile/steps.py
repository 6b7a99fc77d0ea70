"""Steps of a profile, in their order; each is given the run and fills in its subjects.

A further step is a function of a ``Run`` in ``STEPS``. What it finds it puts into the fields of the
``Subject``s, from where ``document.result_of`` takes it. ``Run.each`` contains failures.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

from medge.bench.choose import spoken
from medge.bench.profile import stages
from medge.bench.profile.cold_moments import Cold
from medge.bench.profile.cold_start import cold_starts
from medge.bench.profile.energy_run import energy_of, idle
from medge.bench.profile.full import FULL
from medge.bench.profile.judging import LIMIT_S, Judging, is_yardstick, judge
from medge.bench.profile.loaded import load_of
from medge.bench.profile.memory import memory
from medge.bench.profile.overhead import check, null_ns, overhead
from medge.bench.profile.request import Run
from medge.bench.profile.subject import Subject
from medge.bench.profile.turns import INFER, WHOLE
from medge.bench.scenario.soak_step import soak
from medge.bench.scenario.steps import loadgen, replay
from medge.bench.sections import Absent
from medge.engine.sealed import Candidate

INFER_SHARE, WHOLE_SHARE, OVERHEAD_SHARE, GROWTH_SHARE = 0.25, 0.4, 0.2, 0.15
NULL = Candidate(backend="null", device="cpu", variant="fp32")
NO_SENSORS = "sensors were left out (--no-sensors)"


def load(run: Run) -> None:
    """Load every candidate in its worker, where it proves itself on the golden cases."""

    def step(subject: Subject) -> None:
        run.told(f"loading {spoken(subject.candidate)}")
        subject.worker.load(load_of(run.bundle, subject.candidate, sealed=subject.sealed))

    run.each(step)


def cold(run: Run) -> None:
    """Start each candidate anew some times."""
    if not run.request.cold_starts or not run.pictures.paths:
        return
    run.told("cold starts")
    going = run.going
    asked = [
        Cold(
            folder=os.fsencode(run.bundle.path.absolute()),
            file=os.fsencode(run.pictures.paths[0]),
            candidate=subject.candidate,
            sealed=subject.sealed,
        )
        for subject in going
    ]
    found = cold_starts(asked, run.request.cold_starts, run.request.seed)
    for subject, section in zip(going, found, strict=True):
        subject.cold_start = section


def latencies(run: Run) -> None:
    """Time the network alone and files from their bytes, all candidates in the same rounds."""
    if len(run.going) > 1:
        run.rounds = str(uuid.uuid4())
    start_ns = time.perf_counter_ns()
    run.told(f"timing {INFER} and {WHOLE}")
    budgets_ns = {
        span: round(run.request.budget_ns * share)
        for span, share in ((INFER, INFER_SHARE), (WHOLE, WHOLE_SHARE))
    }
    stages.latencies(run.going, budgets_ns, run.request.seed)
    trace = run.sampler.trace(start_ns, start_ns, time.perf_counter_ns())
    for subject in run.going:
        subject.trace = trace if run.request.sensors else Absent(reason=NO_SENSORS)


def costs(run: Run) -> None:
    """See what the profiler itself costs; what it slowed down too much has no result."""
    if not run.request.overhead:
        return
    run.told("what the profiler itself costs")
    fixed_ns = null_ns(load_of(run.bundle, NULL, sealed=False))

    def step(subject: Subject) -> None:
        share_ns = run.share_ns(OVERHEAD_SHARE)
        subject.overhead = overhead(subject.worker, run.sampler, fixed_ns, share_ns)
        check(subject.overhead)

    run.each(step)


def energy(run: Run) -> None:
    """Let the device idle, then work on one candidate after the other."""
    if not run.request.energy:
        return
    run.told("energy")
    resting = idle(run.sampler, [subject.candidate for subject in run.going])

    def step(subject: Subject) -> None:
        if not run.request.sensors:
            subject.energy = Absent(reason=NO_SENSORS)
            return
        subject.energy = energy_of(subject.worker, subject.candidate, run.sampler, resting)

    run.each(step)


def memories(run: Run) -> None:
    """See what each process has in memory, and whether that grows."""

    def step(subject: Subject) -> None:
        run.told(f"memory of {spoken(subject.candidate)}")
        subject.memory = memory(subject.worker, subject.candidate, run.share_ns(GROWTH_SHARE))

    run.each(step)


def decisions(run: Run) -> None:
    """Judge the decisions on the user's pictures; what is judged against needs no verdict."""
    data, labels = run.request.data, run.request.labels
    if data is None or not (labels is not None or data.is_dir()):
        return
    asked = Judging(
        os.fsencode(data.absolute()), None if labels is None else os.fsencode(labels.absolute())
    )

    def step(subject: Subject) -> None:
        if subject.facts.answers and not is_yardstick(subject.candidate):
            run.told(f"judging the decisions of {spoken(subject.candidate)}")
            subject.drifts.append(subject.worker.ask(judge, asked, LIMIT_S))

    run.each(step)


STEPS: tuple[Callable[[Run], None], ...] = (
    cold,
    replay,  # before the long ones: a cine that is refused shows at once
    latencies,
    costs,
    energy,
    memories,
    decisions,
    *FULL,
    soak,
    loadgen,
)
