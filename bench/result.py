"""Result: what was measured of one bundle on one device in one way, with all that it rests on."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from medge.bench.measure import Measurement
from medge.bench.sections import Sections
from medge.engine.evidence import Drift
from medge.engine.sealed import Candidate
from medge.profiles.cuda_gpus import kind_of
from medge.profiles.device import Device
from medge.profiles.terms import Sha256, Text

Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version() -> str:
    return metadata.version("medge")


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One result, as it is stored.

    Parameters
    ----------
    device, device_identity
        ``profiles.cuda_gpus.describe_device()`` of what ran it, and ``profiles.device.identity()``
        of the machine that measured.
    candidate, backend_version
        How the bundle was run; None when only stages before the network were measured.
    sections
        What `medge profile` adds: memory, energy, deadlines and what the result rests on.
    taken
        When, in UTC.
    """

    bundle_sha256: Sha256
    device: Device
    device_identity: Text
    measurements: tuple[Measurement, ...] = ()
    drifts: tuple[Drift, ...] = ()
    candidate: Candidate | None = None
    backend_version: Text | None = None
    sections: Sections | None = None
    taken: Moment = msgspec.field(default_factory=_now)
    medge: Text = msgspec.field(default_factory=_version)


def bundle_name(result: Result) -> str:
    """Return name and version of a result's bundle, the start of its digest where none was told."""
    if result.sections is not None:
        return result.sections.evidence.bundle
    return result.bundle_sha256[:12]


def ran_on(result: Result) -> str:
    """Return what a result was measured on: the CPU, or a GPU and the CPU that feeds it."""
    gpu = result.device.gpu
    return result.device.name if gpu is None else f"{gpu.name} with {result.device.name}"


def same_device(a: Result, b: Result) -> bool:
    """Whether two results are of one machine, and of alike GPUs where both ran on one."""
    gpus = {kind_of(each.device.gpu) for each in (a, b) if each.device.gpu is not None}
    return a.device_identity == b.device_identity and len(gpus) < 2
