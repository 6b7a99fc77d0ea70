"""Cells: every way to run every bundle that was asked for, and why some cannot be tried."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from medge.bench.candidates import (
    Runtime,
    beside_the_point,
    candidates,
    precision_name,
    runtimes,
)
from medge.bench.matrix.places import CPU, Place
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.engine.backends import BACKENDS, OPT_IN, backend_class
from medge.engine.backends.presence import absence, require
from medge.engine.bundle import Bundle
from medge.engine.manifest import Manifest
from medge.engine.sealed import Candidate
from medge.engine.select import ON_NVIDIA
from medge.errors import BackendError
from medge.profiles.cuda_gpus import identity_of_device, require_gpus
from medge.profiles.device import allowed_cores
from medge.profiles.device_names import NULL, ordinal
from medge.profiles.terms import Sha256, Text


@dataclass(frozen=True, slots=True)
class Asked:
    """The axes of a matrix; empty takes all that there is.

    Parameters
    ----------
    places
        None: every device that a runtime names, pinned to no CPU.
    seconds
        How long a cell is measured, once it is warm.
    """

    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    streams: tuple[int, ...] = (1,)
    places: tuple[Place, ...] | None = (Place(device=CPU),)
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A bundle that is measured: where it lies and what identifies it."""

    path: Path
    name: str
    digest: str
    manifest: Manifest

    @classmethod
    def of(cls, bundle: Bundle) -> Subject:
        """Take what is needed of an open bundle."""
        manifest = bundle.manifest
        return cls(bundle.path.absolute(), _name(manifest), bundle.digest, manifest)


class Identity(Struct, frozen=True, kw_only=True):
    """All that the figures of a cell depend on; its digest is the key."""

    bundle_sha256: Sha256
    candidate: Candidate
    cpus: tuple[int, ...] | None
    together: tuple[str, ...]
    backend_version: Text
    machine: Text
    procedure: Procedure

    @property
    def key(self) -> str:
        """Return the key, 64 hexadecimal digits."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to run one bundle; ``together`` names the places that work at the same time."""

    subject: Subject
    candidate: Candidate
    place: Place
    version: str  # of the runtime
    procedure: Procedure
    together: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the digest of all that its figures depend on."""
        return Identity(
            bundle_sha256=self.subject.digest,
            candidate=self.candidate,
            cpus=self.place.cpus,
            together=self.together,
            backend_version=self.version,
            machine=identity_of_device(self.candidate.device),
            procedure=self.procedure,
        ).key

    @property
    def words(self) -> str:
        """Return it in few words, for progress."""
        each = self.candidate
        words = f"{self.subject.name} {each.backend} {precision_name(each)} on {self.place.name}"
        if each.batch > 1:
            words += f", batch {each.batch}"
        if each.streams > 1:
            words += f", {each.streams} streams"
        return words


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was asked for and is not tried, with the reason."""

    subject: Subject
    backend: str
    precision: str
    place: str
    reason: str
    rule: str = "not-eligible"


@dataclass
class Plan:
    """The cells of a matrix, those of one bundle together, and what is not tried."""

    cells: list[Cell] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def matrix(self) -> str:
        """Return the digest that all cells of this matrix carry."""
        keys = "\n".join(sorted(cell.key for cell in self.cells))
        return hashlib.sha256(keys.encode()).hexdigest()


def plan(subjects: Sequence[Subject], asked: Asked) -> Plan:
    """Return every cell of the matrix.

    Raises
    ------
    BackendError
        Rule ``backend-unknown``: there is no backend of a name that was asked for.
    """
    for name in asked.backends:
        backend_class(name)
    found = list(_present(asked))
    made = Plan()
    for subject in subjects:
        _absent(subject, asked, made)
        for runtime, place in found:
            _of_runtime(subject, runtime, place, asked, made)
        _not_in_bundle(subject, asked, made)
    return made


def _present(asked: Asked) -> Iterator[tuple[Runtime, Place]]:
    """Yield every runtime with each place of it that was asked for."""
    wanted = set(asked.backends) or set(BACKENDS) - {NULL}
    known, _ = runtimes(None, also=[name for name in OPT_IN if name in wanted])
    if NULL in wanted:
        nothing = backend_class(NULL)()
        known += [
            Runtime(NULL, nothing.version, device, nothing.precisions(device))
            for device in (CPU, *_null_devices(asked))
        ]
    for runtime in known:
        if runtime.backend not in wanted:
            continue
        places = asked.places or (Place(device=runtime.device),)
        for place in places:
            if place.device.lower() == runtime.device.lower():
                yield runtime, Place(device=runtime.device, cpus=place.cpus)


def _absent(subject: Subject, asked: Asked, made: Plan) -> None:
    """Refuse the runtimes that are not installed, and devices that no runtime has."""
    others = (name for name in BACKENDS if name != NULL and not beside_the_point(name))
    for name in asked.backends or tuple(others):
        missing = absence(name)
        if missing is not None:
            made.refused.append(
                Refusal(subject, name, "-", CPU, missing.message, rule=missing.rule)
            )
            continue
        if asked.places is None:
            continue
        try:
            has = {device.lower() for device in _devices(name)}
        except BackendError as error:  # a broken package stops its own rows and no others
            made.refused += [
                Refusal(subject, name, "-", place.name, error.message, rule=error.rule)
                for place in asked.places
            ]
            continue
        has.update(_null_devices(asked) if name == NULL else ())
        made.refused += [
            Refusal(subject, name, "-", place.name, *_why_not_here(name, place))
            for place in asked.places
            if place.device.lower() not in has
        ]


def _why_not_here(name: str, place: Place) -> tuple[str, str]:
    """Return why a runtime has no such device here, and the rule that says so."""
    if ordinal(place.device) is not None and name in (*ON_NVIDIA, *OPT_IN):
        try:
            require(name, gpu=True)
            require_gpus((place.device,))
        except BackendError as error:
            return error.message, error.rule
    return f"{name} has no such device here", "device"


def _null_devices(asked: Asked) -> tuple[str, ...]:
    """Return the devices that are no hardware: as many as were asked for."""
    named = [place.device for place in asked.places or ()]
    return tuple(device for device in named if ordinal(device, NULL) is not None)


def _devices(name: str) -> tuple[str, ...]:
    backend = backend_class(name)()
    try:
        return backend.devices()
    finally:
        backend.close()


def _of_runtime(subject: Subject, runtime: Runtime, place: Place, asked: Asked, made: Plan) -> None:
    cores = len(place.cpus) if place.cpus is not None else allowed_cores()
    worth, hopeless = candidates(subject.manifest, [runtime], "latency", cores)
    for row in hopeless:
        name = precision_name(row.candidate)
        if _wanted(name, asked):
            made.refused.append(Refusal(subject, runtime.backend, name, place.name, row.reason))
    for candidate in worth:
        name = precision_name(candidate)
        if not _wanted(name, asked):
            continue
        on_gpu = ordinal(runtime.device) is not None
        for streams in asked.streams:
            # Calls that wait for a GPU need no core each.
            threads = streams if on_gpu else candidate.threads
            if streams > threads:
                reason = f"{streams} streams need as many threads; there are {threads}"
                made.refused.append(Refusal(subject, runtime.backend, name, place.name, reason))
                continue
            for batch in asked.batches:
                changed = msgspec.structs.replace(
                    candidate, threads=threads, streams=streams, batch=batch
                )
                made.cells.append(
                    Cell(
                        subject, changed, place, runtime.version, _procedure(changed, place, asked)
                    )
                )


def _not_in_bundle(subject: Subject, asked: Asked, made: Plan) -> None:
    """Refuse a precision that neither the bundle nor any runtime here has."""
    mine = [cell for cell in made.cells if cell.subject is subject]
    known = {precision_name(cell.candidate) for cell in mine}
    known |= {each.precision for each in made.refused if each.subject is subject}
    have = ", ".join(variant.name for variant in subject.manifest.variants)
    made.refused += [
        Refusal(
            subject,
            "-",
            name,
            "-",
            f"the bundle has {have}, and no runtime here makes it from these",
            "precision",
        )
        for name in asked.precisions
        if name not in known
    ]


def _wanted(name: str, asked: Asked) -> bool:
    return not asked.precisions or name in asked.precisions


def _procedure(candidate: Candidate, place: Place, asked: Asked) -> Procedure:
    measured_ns = int(asked.seconds * 1_000_000_000)
    return Procedure(
        span="infer",
        batch=candidate.batch,
        streams=candidate.streams,
        threads=candidate.threads,
        warm_up=WarmUp(max_calls=100, max_ns=min(2_000_000_000, measured_ns)),
        # 1,000 calls state p99 (stats.interval_cases: 368 independent ones) where time allows.
        sampling=Sampling(min_samples=20, max_samples=1000, max_ns=measured_ns),
        lead_in=1,
        order="interleaved",
        cpus=place.cpus,
    )


def _name(manifest: Manifest) -> str:
    return f"{manifest.name} {manifest.version}"
