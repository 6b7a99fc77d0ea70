"""Full: the further steps of `medge profile --full`: the long tail, operations, load, pauses.

Each does nothing where the request is not for a full profile.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import msgspec
from msgspec import Struct

from medge.bench.choose import spoken
from medge.bench.entrants import build
from medge.bench.measure import Rounds
from medge.bench.procedure import Sampling
from medge.bench.profile import idle_gaps as gaps
from medge.bench.profile.layer_times import RUNS, layer_times
from medge.bench.profile.loaded import Loaded, load_of
from medge.bench.profile.process import Worker
from medge.bench.profile.request import Run
from medge.bench.profile.resident import resident
from medge.bench.profile.stages import procedure_of
from medge.bench.profile.subject import Subject
from medge.bench.profile.sweep import BUDGET_NS as SWEEP_NS
from medge.bench.profile.sweep import Room, missed, sweep
from medge.bench.profile.turns import INFER, Turns
from medge.bench.sections import Absent, IdleGap, Layers, LoadPoint
from medge.errors import BackendError, MedgeError
from medge.profiles.device import allowed_cores
from medge.profiles.memory import memory_facts
from medge.profiles.terms import Count, Positive

TAIL = "infer-tail"  # its own stage: other samples than those of the default profile
TAIL_NS = 120_000_000_000
TAIL_SAMPLES = 20_000
SPARE_S = 120.0  # what an answer may take beyond the time that it was asked to


class Watch(Struct, frozen=True):
    """How many calls are watched."""

    runs: Positive = RUNS


class Budget(Struct, frozen=True):
    """The time that a function of the worker may take."""

    budget_ns: Count


def watched(loaded: Loaded, asked: Watch) -> Layers | Absent:
    """Time every operation, in a worker."""
    return layer_times(loaded.bundle, loaded.choice, loaded.one, asked.runs)


def swept(loaded: Loaded, asked: Budget) -> tuple[LoadPoint, ...]:
    """Sweep batches and streams, in a worker."""
    return sweep(
        partial(build, loaded.bundle),
        loaded.candidate,
        allowed_cores(),
        Room(lambda: resident().rss_bytes, _free_bytes),
        budget_ns=asked.budget_ns,
    )


def paused(loaded: Loaded, asked: Budget) -> tuple[IdleGap, ...]:
    """Map calls after pauses, in a worker."""
    return gaps.idle_gaps(partial(loaded.session.infer, loaded.one), asked.budget_ns)


def layers(run: Run) -> None:
    """See what each operation takes; a runtime that fails at it says so, and nothing else fails."""

    def step(subject: Subject) -> None:
        run.told(f"watching the operations of {spoken(subject.candidate)}")
        try:
            with _another(run, subject) as worker:
                subject.layers = worker.ask(watched, Watch())
        except MedgeError as error:
            subject.layers = Absent(reason=error.message)

    if run.request.full:
        run.each(step)


def load(run: Run) -> None:
    """Load each candidate more and more, in a process of its own that may run out of memory."""

    def step(subject: Subject) -> None:
        run.told(f"batches and streams of {spoken(subject.candidate)}")
        try:
            with _another(run, subject) as worker:
                limit_s = SWEEP_NS / 1e9 + SPARE_S
                subject.sweep = worker.ask(swept, Budget(SWEEP_NS), limit_s)
        except MedgeError as error:
            subject.sweep = (missed(subject.candidate, error.message),)

    if run.request.full:
        run.each(step)


def pauses(run: Run) -> None:
    """Map the calls after pauses, one candidate after the other: others would wake the device.

    So would a sensor that is read; none is.
    """
    seconds = gaps.BUDGET_NS / 1e9

    def step(subject: Subject) -> None:
        run.told(f"pauses of up to a minute, for {seconds:g} s: {spoken(subject.candidate)}")
        try:
            with _another(run, subject) as worker:
                asked = Budget(gaps.BUDGET_NS)
                subject.idle_gaps = worker.ask(paused, asked, seconds + SPARE_S)
        except MedgeError as error:
            subject.deviations.append(f"no pauses: {error.message}")

    if not run.request.full:
        return
    run.sampler.pause()
    try:
        run.each(step)
    finally:
        run.sampler.resume()


def tail(run: Run) -> None:
    """Time the network alone for so long that p99.9 can be stated, all in the same rounds."""
    if not run.request.full:
        return
    run.told(f"the long tail, for {TAIL_NS / 1e9:g} s")
    usual = procedure_of(INFER, TAIL_NS, run.request.seed)
    sampling = Sampling(
        min_samples=usual.sampling.min_samples, max_samples=TAIL_SAMPLES, max_ns=TAIL_NS
    )
    procedure = msgspec.structs.replace(usual, sampling=sampling)
    going = run.going
    timers = {str(place): Turns(each.worker, procedure) for place, each in enumerate(going)}
    rounds = Rounds(timers, procedure, time.perf_counter_ns)
    rounds.warm_up()
    rounds.run()
    for (name, timer), subject in zip(timers.items(), going, strict=True):
        if timer.fault is not None:
            subject.fail(timer.fault)
            continue
        taken = rounds.measurement(name)
        how = msgspec.structs.replace(taken.procedure, span=TAIL, threads=subject.candidate.threads)
        subject.measurements[TAIL] = replace(taken, stage=TAIL, procedure=how)


def _free_bytes() -> int:
    """Return what this machine, or the control group, can still give; a limit counts whole."""
    facts = memory_facts()
    known = [facts[name].value for name in ("available", "limit") if name in facts]
    told = [value for value in known if isinstance(value, int)]
    if not told:
        raise BackendError(
            "memory-unknown",
            "/proc/meminfo does not tell how much memory is free, so that the load cannot be "
            "raised safely. Mount /proc as usual.",
        )
    return min(told)


def _another(run: Run, subject: Subject) -> Worker:
    """Start a second process of a candidate; what becomes of it leaves the first alone."""
    worker = Worker()
    try:
        worker.load(load_of(run.bundle, subject.candidate, sealed=subject.sealed))
    except BaseException:  # Ctrl-C too must leave no process behind
        worker.close()
        raise
    return worker


FULL = (tail, layers, load, pauses)
