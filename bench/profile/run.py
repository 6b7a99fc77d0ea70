"""Profile: measure candidates of one bundle, each in its own process, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from medge.bench import earlier
from medge.bench.profile.document import result_of
from medge.bench.profile.judging import check_labels
from medge.bench.profile.pictures import pictures
from medge.bench.profile.process import Worker
from medge.bench.profile.request import ProfileRequest, Run, Told
from medge.bench.profile.stages import sift
from medge.bench.profile.steps import STEPS, load
from medge.bench.profile.subject import Subject
from medge.bench.result import Result
from medge.bench.store import Store
from medge.engine.bundle import Bundle
from medge.engine.evidence import Drift
from medge.engine.passport import stamp
from medge.engine.prediction import Fault
from medge.engine.sealed import Candidate
from medge.engine.select import Choice, choose
from medge.profiles.sensors import Sampler, Sensors, open_sensors


@dataclass(frozen=True, slots=True)
class Failure:
    """A candidate that was not measured, and why."""

    candidate: Candidate
    fault: Fault


@dataclass(frozen=True, slots=True)
class Profiled:
    """One result for each candidate that was measured, and why others have none.

    ``reasons`` tell why these candidates, where medge chose. ``judged`` are the drifts that were
    found in this run, for the passport. ``interrupted`` says that Ctrl-C ended a soak, which is
    kept as far as it came.
    """

    results: tuple[Result, ...]
    failures: tuple[Failure, ...] = ()
    reasons: tuple[str, ...] = ()
    judged: tuple[Drift, ...] = ()
    interrupted: bool = False


def profile(
    bundle: Bundle, request: ProfileRequest | None = None, told: Told = lambda _: None
) -> Profiled:
    """Measure what a bundle costs here; ``keep`` stores what this returns.

    A candidate that crashes, hangs or fails its self-test has a failure instead of a result, and
    stops no other.

    Parameters
    ----------
    told
        Told each step when it begins.

    Raises
    ------
    InputError
        Rule ``nothing-found`` or ``nothing-to-time``: there is no picture to time.
    UsageError
        The label file breaks a rule; or ``data``: what it labels is no folder.
    MedgeError
        No candidate could be measured: what stopped the first of them.
    """
    request = request or ProfileRequest()
    check_labels(bundle.manifest, request.data, request.labels)
    choices = request.choices or (choose(bundle),)
    with (
        pictures(request.data, bundle.manifest, request.seed) as files,
        _sensors(request) as sensors,
        ExitStack() as stack,
    ):
        run = Run(bundle, request, told, files, Sampler(sensors))
        run.subjects += [_started(choice, request, stack) for choice in choices]
        load(run)
        run.pictures = sift(run.going, files)
        with run.sampler:
            for step in STEPS:
                if not run.interrupted:
                    step(run)
        found = tuple(
            result_of(bundle, subject, request, run.pictures, run.rounds) for subject in run.going
        )
    faults = [(each.candidate, each.fault) for each in run.subjects if each.fault is not None]
    if not found:
        raise faults[0][1]
    return Profiled(
        results=found,
        failures=tuple(
            Failure(candidate, Fault(rule=it.rule, exit_code=it.exit_code, message=it.message))
            for candidate, it in faults
        ),
        reasons=() if request.choices else choices[0].reasons,
        judged=tuple(drift for subject in run.going for drift in subject.drifts),
        interrupted=run.interrupted,
    )


def beside_earlier(profiled: Profiled) -> Profiled:
    """Let each result know what the store has of the same: see ``earlier``.

    Raises
    ------
    StorageError
        The store cannot be read.
    """
    with Store.open() as store:
        results = tuple(earlier.beside_earlier(result, store) for result in profiled.results)
    return replace(profiled, results=results)


def keep(profiled: Profiled, bundle: Bundle) -> tuple[int, ...]:
    """Store every result, and enter the drifts that were judged now in the passport.

    Returns
    -------
    tuple of int
        The numbers of the results, in their order.

    Raises
    ------
    StorageError
        Nothing of the result at which it failed was stored.
    """
    with Store.open() as store:
        numbers = tuple(store.add(result) for result in profiled.results)
    for drift in profiled.judged:
        stamp(bundle.digest, drift)
    return numbers


@contextmanager
def _sensors(request: ProfileRequest) -> Iterator[Sensors]:
    if not request.sensors:
        yield Sensors((), {})
        return
    with open_sensors() as sensors:
        yield sensors


def _started(choice: Choice, request: ProfileRequest, stack: ExitStack) -> Subject:
    worker = Worker()
    stack.callback(worker.close)
    candidate = Candidate(
        backend=choice.backend,
        device=choice.device,
        variant=choice.variant,
        precision=choice.precision,
        threads=choice.threads,
        streams=choice.streams,
        batch=choice.batch,
    )
    return Subject(candidate, choice.sealed, worker, deviations=list(request.deviations()))
