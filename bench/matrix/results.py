"""Results of cells: what is stored of each, and what the store still has of a matrix."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

from medge.bench import sections
from medge.bench.candidates import is_reference, stored_drift
from medge.bench.doubts import Doubt, doubts
from medge.bench.energy import Span, energy, nvml_part
from medge.bench.matrix.cells import Cell, Subject
from medge.bench.matrix.running import Running
from medge.bench.profile.loaded import LoadFacts
from medge.bench.profile.versions import driver_versions
from medge.bench.result import Result
from medge.bench.sections import Absent, Energy, Evidence, Golden, Sections
from medge.bench.store import Store
from medge.engine.evidence import Drift
from medge.engine.passport import read_passport
from medge.errors import MedgeError
from medge.profiles.cuda_gpus import describe_device, tier_of_device
from medge.profiles.device import identity
from medge.profiles.sensors import Trace

COMMAND = ("medge", "bench")  # without its paths, which may name patients


def result_of(running: Running, matrix: str, trace: Trace | None, idle: Sequence[Span]) -> Result:
    """Return what is stored of a cell that was measured, or of one that failed.

    Parameters
    ----------
    trace
        What the sensors told meanwhile, by ``perf_counter_ns``; None where it was not asked for.
    idle
        When nothing worked, by the same clock.
    """
    cell = running.cell
    fault = running.fault
    told = _energy(running, trace, idle) if fault is None else None
    subject = cell.subject
    variant = subject.manifest.variant(cell.candidate.variant)
    if variant is None:
        raise ValueError("a cell is made of a variant that its bundle has")
    drift = drift_of(cell)
    return Result(
        bundle_sha256=subject.digest,
        device=describe_device(cell.candidate.device),
        device_identity=identity(),
        measurements=(running.measurement,) if fault is None else (),
        drifts=() if drift is None else (drift,),
        candidate=cell.candidate,
        backend_version=cell.version,
        sections=Sections(
            evidence=Evidence(
                bundle=subject.name,
                model_sha256=subject.manifest.files[variant.file].sha256,
                data_sha256=None,
                versions={
                    "medge": metadata.version("medge"),
                    "python": platform.python_version(),
                    cell.candidate.backend: cell.version,
                }
                | driver_versions(cell.candidate.device),
                seeds={"order": cell.procedure.seed},
                command=COMMAND,
            ),
            golden=None if running.facts is None else _golden(running.facts),
            energy=told,
            doubts={} if fault is not None else _doubts(running),
            cell=sections.Cell(
                matrix=matrix,
                key=cell.key,
                together=cell.together,
                pictures_per_s=None if fault is not None else running.pictures_per_s,
                alone_per_s=None if fault is not None else running.alone_per_s,
                peak_rss_bytes=running.peak_rss_bytes,
                device_bytes=running.device_bytes,
                rule=None if fault is None else fault.rule,
                reason=None if fault is None else fault.message,
            ),
        ),
    )


def found_before(subjects: Sequence[Subject], cells: Sequence[Cell]) -> dict[str, Result]:
    """Return by key the newest result of every cell that the store has; none where there is none.

    Raises
    ------
    StorageError
        The store cannot be read.
    """
    wanted = {cell.key for cell in cells}
    found: dict[str, Result] = {}
    for result in stored(subjects):
        cell = None if result.sections is None else result.sections.cell
        if cell is not None and cell.key in wanted and result.device_identity == identity():
            found[cell.key] = result
    return found


def stored(subjects: Sequence[Subject]) -> list[Result]:
    """Return everything that the store holds of the bundles, the oldest first."""
    try:
        store = Store.open(writable=False)
    except MedgeError as error:
        if error.rule != "results-none":
            raise
        return []
    with store:
        digests = dict.fromkeys(subject.digest for subject in subjects)
        return [result for digest in digests for _, result in store.results(digest)]


def drift_of(cell: Cell) -> Drift | None:
    """Return the verdict that counts for a cell here; None for the reference, and where none is."""
    if is_reference(cell.candidate):
        return None
    passport = read_passport(cell.subject.digest)
    tier = tier_of_device(cell.candidate.device)
    return stored_drift(cell.subject.manifest, passport, cell.candidate, cell.version, tier)


def _golden(facts: LoadFacts) -> Golden:
    return Golden(
        cases=facts.cases,
        max_abs=facts.max_abs,
        tolerance=facts.tolerance,
        shares=facts.shares,
        elsewhere=facts.elsewhere,
    )


def _doubts(running: Running) -> dict[str, tuple[Doubt, ...]]:
    measured = running.measurement
    return {measured.stage: tuple(doubts(measured))}


def _energy(running: Running, trace: Trace | None, idle: Sequence[Span]) -> Energy | Absent | None:
    if trace is None:
        return None
    if running.cell.together:
        return Absent(reason="several devices worked at the same time")
    return energy(trace, idle, running.busy, nvml_part(running.cell.candidate))
