"""Sealed choices: what `medge compile` measured to be best for a bundle on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from medge.engine.evidence import Drift
from medge.engine.state import read_state, state_folder, write_state
from medge.profiles.terms import Count, Name, Positive, Sha256, Text, read_json

Goal = Literal["latency", "throughput"]
"""``latency``: one picture at a time, as soon as possible; ``throughput``: pictures per second."""

Outcome = Literal["chosen", "slower", "drift", "not-eligible", "failed"]
"""Why a candidate won or lost: ``drift``: its decisions differ, or nobody judged them;
``not-eligible``: it cannot gain or run here, so it was not built; ``failed``: it was built and its
self-test did not hold."""

_UNSEALED = "0" * 64


class Candidate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run a bundle here.

    ``threads`` are those of all streams together; ``batch`` pictures are in one call and
    ``streams`` calls run at once.
    """

    backend: Name
    device: Text  # as the backend names it
    variant: Name  # which graph of the bundle
    precision: Text = "fp32"  # what the runtime is told to compute in
    threads: Positive = 1
    streams: Positive = 1
    batch: Positive = 1


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one candidate, and why.

    ``picture_ns`` is its median time per picture, ``ratio`` the median of its time divided by the
    chosen candidate's in the same round, between ``ratio_low`` and ``ratio_high`` with the
    confidence of the contest. All are absent where it was not timed, the bounds also where it left
    after too few rounds to bound anything.
    """

    candidate: Candidate
    outcome: Outcome
    reason: Text
    picture_ns: Count | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    rounds: Count = 0


class SealedChoice(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """The chosen candidate, for which bundle, machine and runtime it holds, and the evidence.

    ``seal`` is the SHA-256 of the file's own bytes with the seal set to 64 zeros.
    """

    schema_: Literal["medge.choice/1"] = "medge.choice/1"
    bundle_sha256: Sha256
    goal: Goal
    device: Text  # identity of the machine's CPU or GPU
    backend_version: Text
    chosen: Candidate
    placement: dict[str, float]  # share of the compute layers by precision, as read back
    drift: Drift | None  # absent for fp32, which is the reference
    rows: Annotated[tuple[Row, ...], Meta(min_length=1)]
    search_ns: Count
    date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    medge: Text
    seal: Sha256 = _UNSEALED


def read_sealed(bundle_sha256: str) -> SealedChoice | None:
    """Return the choice that was sealed for a bundle here; None where none is, or it is damaged.

    A damaged choice is no choice: the bundle then runs as if nobody had compiled it, and
    ``is_sealed`` lets it say why.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``.
    """
    raw = read_state(_path(bundle_sha256))
    if raw is None:
        return None
    try:
        choice = read_json(raw, SealedChoice)
    except msgspec.DecodeError:
        return None
    unsealed = raw.replace(choice.seal.encode(), _UNSEALED.encode())
    whole = hashlib.sha256(unsealed).hexdigest() == choice.seal
    return choice if whole and choice.bundle_sha256 == bundle_sha256 else None


def is_sealed(bundle_sha256: str) -> bool:
    """Whether there is a file for a bundle's choice, whole or not."""
    return _path(bundle_sha256).exists()


def write_sealed(choice: SealedChoice) -> Path:
    """Seal a choice in place of the one before; return where it lies.

    Raises
    ------
    StorageError
        Rule ``state-write``.
    """
    unsealed = msgspec.structs.replace(choice, seal=_UNSEALED)
    raw = msgspec.json.format(msgspec.json.encode(unsealed, order="sorted"), indent=2) + b"\n"
    seal = hashlib.sha256(raw).hexdigest()
    path = _path(choice.bundle_sha256)
    write_state(path, raw.replace(_UNSEALED.encode(), seal.encode()))
    return path


def _path(bundle_sha256: str) -> Path:
    return state_folder() / "choices" / f"{bundle_sha256}.json"
