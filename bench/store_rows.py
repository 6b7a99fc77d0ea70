"""Rows of the store: a result taken apart for SQLite and put together again, under its digest."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.result import Result
from medge.bench.sections import Sections
from medge.engine.evidence import Drift
from medge.engine.sealed import Candidate
from medge.profiles.device import Device

T = TypeVar("T")


class DamageError(Exception):
    """What was read is not what was written."""


class DeviceDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that measured."""

    device: Device
    identity: str


class ResultDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """What has no column of its own."""

    candidate: Candidate | None
    backend_version: str | None
    medge: str
    sections: Sections | None = None  # after 0.1.0's first results, which have none
    earlier_p50_ns: tuple[tuple[int, ...], ...] = ()  # of each measurement, where any has some


class _Taken(Struct, frozen=True):
    stage: str
    procedure: bytes
    settled: int | None
    warm_up_ns: bytes
    samples_ns: bytes


class _Packed(Struct, frozen=True):
    """A result as bytes and words, over which its digest is taken."""

    bundle_sha256: str
    taken: str
    device: bytes
    document: bytes
    measurements: tuple[_Taken, ...]
    drifts: tuple[bytes, ...]

    def digest(self) -> str:
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()


def insert(connection: sqlite3.Connection, result: Result) -> int:
    """Insert a result; the caller holds the transaction. Return its id.

    Raises
    ------
    ValueError
        It could not be read back: JSON writes NaN and infinity as null.
    """
    packed = _pack(result)
    try:
        _unpack(packed)
    except msgspec.ValidationError as error:
        raise ValueError(f"a result that nobody could read: {error}") from error
    number = connection.execute(
        "INSERT INTO result VALUES (NULL, ?, ?, ?, ?, ?)",
        (
            packed.digest(),
            packed.bundle_sha256,
            packed.taken,
            _shared(connection, "device", packed.device),
            packed.document,
        ),
    ).lastrowid
    assert number is not None  # noqa: S101 - SQLite gives every inserted row an id
    for place, one in enumerate(packed.measurements):
        procedure = _shared(connection, "procedure", one.procedure)
        connection.execute(
            "INSERT INTO measurement VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, place, one.stage, procedure, one.settled, one.warm_up_ns, one.samples_ns),
        )
    for place, document in enumerate(packed.drifts):
        connection.execute("INSERT INTO drift VALUES (?, ?, ?)", (number, place, document))
    return number


def delete(connection: sqlite3.Connection, number: int) -> bool:
    """Delete a result and what only it used; False where there is none of this id.

    The caller holds the transaction. Whether the result is whole is not asked.
    """
    # Measurements and drifts go with it (ON DELETE CASCADE).
    if not connection.execute("DELETE FROM result WHERE id = ?", (number,)).rowcount:
        return False
    connection.execute("DELETE FROM device WHERE id NOT IN (SELECT device FROM result)")
    connection.execute("DELETE FROM procedure WHERE id NOT IN (SELECT procedure FROM measurement)")
    return True


def select(connection: sqlite3.Connection, number: int) -> Result | None:
    """Return a result, None where there is none of this id; the caller holds the transaction.

    Raises
    ------
    DamageError
        The digest is another one.
    msgspec.DecodeError
        It is as written, but by a medge whose documents hold something else.
    """
    row = connection.execute(
        "SELECT sha256, bundle_sha256, taken, device.document, result.document "
        "FROM result LEFT JOIN device ON device.id = result.device WHERE result.id = ?",
        (number,),
    ).fetchone()
    if row is None:
        return None
    measurements = connection.execute(
        "SELECT stage, procedure.document, settled, warm_up_ns, samples_ns FROM measurement "
        "LEFT JOIN procedure ON procedure.id = measurement.procedure "
        "WHERE result = ? ORDER BY place",
        (number,),
    )
    drifts = connection.execute(
        "SELECT document FROM drift WHERE result = ? ORDER BY place", (number,)
    )
    digest, bundle_sha256, taken, device, document = row
    packed = _Packed(
        bundle_sha256,
        taken,
        device,
        document,
        tuple(_Taken(*one) for one in measurements),
        tuple(drift for (drift,) in drifts),
    )
    if packed.digest() != digest:
        raise DamageError(f"result {number} is not what was written")
    return _unpack(packed)


def _pack(result: Result) -> _Packed:
    return _Packed(
        bundle_sha256=result.bundle_sha256,
        taken=result.taken,
        device=_json(DeviceDocument(result.device, result.device_identity)),
        document=_json(
            ResultDocument(
                result.candidate,
                result.backend_version,
                result.medge,
                result.sections,
                tuple(one.earlier_p50_ns for one in result.measurements)
                if any(one.earlier_p50_ns for one in result.measurements)
                else (),
            )
        ),
        measurements=tuple(
            _Taken(
                one.stage,
                _json(one.procedure),
                one.settled if one.settled is None else int(one.settled),
                _blob(one.warm_up_ns),
                _blob(one.samples_ns),
            )
            for one in result.measurements
        ),
        drifts=tuple(_json(drift) for drift in result.drifts),
    )


def _unpack(packed: _Packed) -> Result:
    device = _read(packed.device, DeviceDocument)
    document = _read(packed.document, ResultDocument)
    return Result(
        bundle_sha256=packed.bundle_sha256,
        taken=packed.taken,
        device=device.device,
        device_identity=device.identity,
        candidate=document.candidate,
        backend_version=document.backend_version,
        medge=document.medge,
        sections=document.sections,
        measurements=tuple(
            Measurement(
                stage=one.stage,
                samples_ns=_numbers(one.samples_ns),
                procedure=_read(one.procedure, Procedure),
                warm_up_ns=_numbers(one.warm_up_ns),
                settled=None if one.settled is None else bool(one.settled),
                earlier_p50_ns=earlier,
            )
            for one, earlier in zip(
                packed.measurements,
                document.earlier_p50_ns or ((),) * len(packed.measurements),
                strict=True,
            )
        ),
        drifts=tuple(_read(document, Drift) for document in packed.drifts),
    )


def _shared(connection: sqlite3.Connection, table: str, document: bytes) -> int:
    """Return the id of a document that many results share; insert it when it is new."""
    connection.execute(f"INSERT OR IGNORE INTO {table} (document) VALUES (?)", (document,))  # noqa: S608 - a name of ours
    found = connection.execute(f"SELECT id FROM {table} WHERE document = ?", (document,))  # noqa: S608 - the same
    number: int = found.fetchone()[0]
    return number


def _json(document: object) -> bytes:
    return msgspec.json.encode(document, order="sorted")


def _read(raw: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(raw, type=kind)


def _blob(times_ns: Sequence[int]) -> bytes:
    return np.asarray(times_ns, "<i8").tobytes()


def _numbers(blob: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(blob, "<i8").tolist())
