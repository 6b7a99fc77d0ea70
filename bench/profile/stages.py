"""Stages: the network alone, and files from their bytes to a decision, in rounds of all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from medge.bench.measure import Rounds
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.profile.pictures import Pictures
from medge.bench.profile.process import ASK_LIMIT_S
from medge.bench.profile.subject import Subject
from medge.bench.profile.turns import Files, Span, Turns, take_files
from medge.errors import InputError, MedgeError

MIN_SAMPLES = 30  # a slow network states its median, and says how many more p99 needs
MAX_SAMPLES = 5000  # enough for p99.9, which needs 3,688 independent ones


def procedure_of(span: Span, budget_ns: int, seed: int = 0) -> Procedure:
    """Return how a stage is measured within a time, the same for every candidate.

    The call before each timed one refills the caches after another candidate's, and wakes a core
    that slept; for files it is the call before in their order, so that none is read twice.
    """
    return Procedure(
        span=span,
        warm_up=WarmUp(max_ns=min(5_000_000_000, max(500_000_000, budget_ns // 4))),
        sampling=Sampling(min_samples=MIN_SAMPLES, max_samples=MAX_SAMPLES, max_ns=budget_ns),
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


def latencies(subjects: Sequence[Subject], span: Span, budget_ns: int, seed: int) -> None:
    """Measure one span of all candidates in the same rounds; who fails is taken out.

    The parts of a call from file to decision become measurements of their own.
    """
    procedure = procedure_of(span, budget_ns, seed)
    timers = {str(place): Turns(each.worker, procedure) for place, each in enumerate(subjects)}
    rounds = Rounds(timers, procedure)
    rounds.warm_up()
    rounds.run()
    for (name, timer), subject in zip(timers.items(), subjects, strict=True):
        if timer.fault is not None:
            subject.fail(timer.fault)
            continue
        whole = rounds.measurement(name)
        how = msgspec.structs.replace(whole.procedure, threads=subject.candidate.threads)
        whole = replace(whole, procedure=how)
        subject.measurements[whole.stage] = whole
        for stage, samples_ns in timer.parts_ns.items():
            subject.measurements[stage] = replace(
                whole,
                stage=stage,
                samples_ns=samples_ns,
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
