"""Document: what was found of a candidate as one Result, with its doubts and its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medge.bench.candidates import stored_drift
from medge.bench.doubts import (
    Doubt,
    doubts,
    meant_shares,
    placement_doubts,
    trace_doubts,
)
from medge.bench.profile.subject import Subject
from medge.bench.profile.turns import INFER
from medge.bench.profile.versions import versions
from medge.bench.result import Result
from medge.bench.sections import Absent, Evidence, Golden, Overhead, Sections
from medge.engine.passport import read_passport
from medge.profiles.cuda_gpus import describe_device, tier_of_device
from medge.profiles.device import identity

if TYPE_CHECKING:
    from medge.bench.profile.pictures import Pictures
    from medge.bench.profile.request import ProfileRequest
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift

ORDER = ("file-to-decision", "read", "decode", "prepare", "infer-in-file", "decide", "infer")


def result_of(
    bundle: Bundle,
    subject: Subject,
    request: ProfileRequest,
    pictures: Pictures,
    rounds: str | None,
) -> Result:
    """Return everything that was found of a candidate, as it is stored.

    Parameters
    ----------
    rounds
        The name of the rounds that several candidates were measured in together.
    """
    candidate, facts = subject.candidate, subject.facts
    golden = Golden(
        cases=facts.cases,
        max_abs=facts.max_abs,
        tolerance=facts.tolerance,
        shares=facts.shares,
        elsewhere=facts.elsewhere,
    )
    sections = Sections(
        evidence=_evidence(bundle, subject, request, pictures),
        rounds=rounds,
        golden=golden,
        cold_start=subject.cold_start,
        memory=subject.memory,
        trace=subject.trace,
        energy=subject.energy,
        overhead=subject.overhead,
        doubts=_all_doubts(bundle, subject, golden),
        sweep=subject.sweep,
        idle_gaps=subject.idle_gaps,
        layers=subject.layers,
        deadline=subject.deadline,
        loadgen=subject.loadgen,
        soak=subject.soak,
    )
    found = subject.measurements
    return Result(
        bundle_sha256=bundle.digest,
        device=describe_device(candidate.device),
        device_identity=identity(),
        measurements=tuple(found[stage] for stage in sorted(found, key=_place)),
        drifts=tuple(subject.drifts) or _known_drifts(bundle, subject),
        candidate=candidate,
        backend_version=facts.backend_version,
        sections=sections,
    )


def _place(stage: str) -> tuple[int, str]:
    return (ORDER.index(stage) if stage in ORDER else len(ORDER)), stage


def _known_drifts(bundle: Bundle, subject: Subject) -> tuple[Drift, ...]:
    """Return the verdict that counts for this precision on this tier, where there is one."""
    found = stored_drift(
        bundle.manifest,
        read_passport(bundle.digest),
        subject.candidate,
        subject.facts.backend_version,
        tier_of_device(subject.candidate.device),
    )
    return () if found is None else (found,)


def _all_doubts(bundle: Bundle, subject: Subject, golden: Golden) -> dict[str, tuple[Doubt, ...]]:
    """Return by stage what speaks against its figures; what holds for all stands with ``infer``."""
    found = {stage: [*doubts(taken)] for stage, taken in subject.measurements.items()}
    network = found.setdefault(INFER, [])
    network += placement_doubts(golden, meant_shares(bundle.manifest, subject.candidate))
    if subject.trace is not None and not isinstance(subject.trace, Absent):
        network += trace_doubts(subject.trace, subject.candidate.device)
    if isinstance(subject.overhead, Overhead):
        network += of_overhead(subject.overhead)
    return {stage: tuple(each) for stage, each in found.items() if each}


def of_overhead(found: Overhead) -> Iterator[Doubt]:
    """Doubt a figure whose own cost could not be bounded below its limit."""
    if found.ratio is None:
        return
    if found.high is None or found.high > found.limit_ratio:
        text = (
            "it was not shown that the sensors leave p50 alone; close other programs, or allow "
            "more time (--time-budget)"
        )
        yield Doubt("overhead", found.high or found.ratio, found.limit_ratio, text)


def _evidence(
    bundle: Bundle, subject: Subject, request: ProfileRequest, pictures: Pictures
) -> Evidence:
    manifest, candidate = bundle.manifest, subject.candidate
    variant = manifest.variant(candidate.variant)
    deviations = list(subject.deviations)
    if pictures.made is not None:
        deviations.append(f"no pictures were given: {pictures.made}")
    return Evidence(
        bundle=f"{manifest.name} {manifest.version}",
        model_sha256=manifest.files["model.onnx" if variant is None else variant.file].sha256,
        data_sha256=pictures.sha256(),
        versions=versions(candidate.backend, subject.facts.backend_version, candidate.device),
        seeds={"rounds": request.seed, "pictures": request.seed} | subject.seeds,
        command=request.command,
        deviations=tuple(deviations),
    )
