"""Stages: the network alone, and files from their bytes to a decision, in rounds of all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from medge.bench.measure import Rounds
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.profile.pictures import Pictures
from medge.bench.profile.process import ASK_LIMIT_S
from medge.bench.profile.subject import Subject
from medge.bench.profile.turns import Files, Span, Turns, take_files
from medge.errors import InputError, MedgeError

MIN_SAMPLES = 30  # a slow network states its median, and says how many more p99 needs
KEPT_SAMPLES = 5000  # enough for p99.9, which needs 3,688 independent ones
MAX_SAMPLES = 1_000_000  # the time ends it long before
SPELLS = 20  # so many times that the machine may be fast or slow: six would bound a median


def procedure_of(span: Span, budget_ns: int, seed: int = 0, spells: int = 1) -> Procedure:
    """Return how a stage is measured within a time, the same for every candidate.

    The call before each timed one refills the caches after another candidate's, and wakes a core
    that slept; for files it is the call before in their order, so that none is read twice.
    """
    return Procedure(
        span=span,
        warm_up=WarmUp(max_ns=min(5_000_000_000, max(500_000_000, budget_ns // 4))),
        sampling=Sampling(
            min_samples=MIN_SAMPLES,
            max_samples=MAX_SAMPLES,
            max_ns=budget_ns,
            spells=spells,
            kept=KEPT_SAMPLES,
        ),
        lead_in=1,
        seed=seed,
    )


def sift(subjects: Sequence[Subject], pictures: Pictures) -> Pictures:
    """Give all workers the files that none of them refuses; return those.

    Raises
    ------
    InputError
        Rule ``nothing-to-time``: each file is refused.
    """
    paths = pictures.paths
    rules: list[str] = []
    kept = list(range(len(paths)))
    for subject in subjects:
        found = _take(subject, pictures)
        if found is not None:
            rules += [rule for rule in found if rule is not None]
            kept = [place for place in kept if found[place] is None]
    if not kept and rules:
        raise InputError(
            "nothing-to-time",
            f"None of {len(paths)} files can be timed, because each is refused "
            f"({', '.join(sorted(set(rules)))}). Name pictures that this bundle accepts; "
            "`medge run` tells more of each.",
        )
    if len(kept) == len(paths):
        return pictures
    left = Pictures(tuple(paths[place] for place in kept), pictures.made)
    for subject in subjects:
        _take(subject, left)
        subject.deviations.append(
            f"{len(paths) - len(kept)} of {len(paths)} files were refused and not timed"
        )
    return left


def latencies(subjects: Sequence[Subject], budgets_ns: Mapping[Span, int], seed: int) -> None:
    """Measure spans of all candidates in the same rounds; who fails is taken out.

    The spans take turns, a spell of one and a spell of the next, so that the samples of each reach
    over the time of all. The parts of a call from file to decision become measurements of their
    own.

    Parameters
    ----------
    budgets_ns
        The spans, and the time for each.
    """
    timed = [_Timed.of(subjects, span, budget_ns, seed) for span, budget_ns in budgets_ns.items()]
    for each in timed:
        each.rounds.warm_up()
    for _ in range(SPELLS):
        for each in timed:
            each.rounds.spell()
    for each in timed:
        each.enter(subjects)


@dataclass(frozen=True, slots=True)
class _Timed:
    """The rounds of one span, with the timer of every candidate."""

    rounds: Rounds
    timers: dict[str, Turns]

    @classmethod
    def of(cls, subjects: Sequence[Subject], span: Span, budget_ns: int, seed: int) -> _Timed:
        procedure = procedure_of(span, budget_ns, seed, SPELLS)
        timers = {str(place): Turns(each.worker, procedure) for place, each in enumerate(subjects)}
        return cls(Rounds(timers, procedure), timers)

    def enter(self, subjects: Sequence[Subject]) -> None:
        """Give every candidate what was measured of it."""
        for (name, timer), subject in zip(self.timers.items(), subjects, strict=True):
            if subject.fault is None:
                _enter(self.rounds, name, timer, subject)


def _enter(rounds: Rounds, name: str, timer: Turns, subject: Subject) -> None:
    if timer.fault is not None:
        subject.fail(timer.fault)
        return
    whole = rounds.measurement(name)
    how = msgspec.structs.replace(whole.procedure, threads=subject.candidate.threads)
    whole = replace(whole, procedure=how)
    subject.measurements[whole.stage] = whole
    for stage, samples_ns in timer.parts_ns.items():
        subject.measurements[stage] = replace(
            whole,
            stage=stage,
            samples_ns=rounds.kept(samples_ns),
            procedure=msgspec.structs.replace(how, span=stage),
            warm_up_ns=(),  # the whole call's own tells of both
            settled=None,
        )


def _take(subject: Subject, pictures: Pictures) -> tuple[str | None, ...] | None:
    asked = Files(tuple(os.fsencode(path) for path in pictures.paths))
    limit_s = ASK_LIMIT_S * (1 + len(pictures.paths))
    try:
        return subject.worker.ask(take_files, asked, limit_s).rules
    except MedgeError as error:
        subject.fail(error)
        return None
