"""Selecting stored results: by bundle, device, backend, precision and age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from medge.bench.candidates import precision_name
from medge.bench.result import Result
from medge.bench.store import Store
from medge.errors import StorageError, UsageError

Read: TypeAlias = Result | StorageError

FORM = "%Y-%m-%dT%H:%M:%SZ"  # as Result.taken; sorts as it is
_AGE = re.compile(r"([0-9]{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
_DIGEST = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a result must be; None asks for nothing.

    ``bundle`` is a digest or its first characters; ``device`` a part of the device's name, or
    ``here``; ``since`` a moment as ``Result.taken``.
    """

    bundle: str | None = None
    device: str | None = None
    backend: str | None = None
    precision: str | None = None
    since: str | None = None

    def fits(self, result: Result, here: str) -> bool:
        """Whether a result is wanted; ``here`` is the identity of this machine."""
        ran = result.candidate
        return (
            (self.bundle is None or result.bundle_sha256.startswith(self.bundle))
            and (self.device is None or _on(result, self.device, here))
            and (self.backend is None or (ran is not None and ran.backend == self.backend))
            and (self.precision is None or (ran is not None and _as(result, self.precision)))
            and (self.since is None or result.taken >= self.since)
        )


def is_digest(text: str) -> bool:
    """Whether a word is the beginning of a digest, or a whole one."""
    return _DIGEST.fullmatch(text) is not None


def moment(text: str, now: datetime | None = None) -> str:
    """Return the moment that ``90d``, ``12h``, ``2w`` ago or a date means, in UTC.

    Raises
    ------
    UsageError
        Rule ``moment``.
    """
    age = _AGE.fullmatch(text)
    if age is not None:
        hours = int(age[1]) * _HOURS[age[2]]
        return ((now or datetime.now(timezone.utc)) - timedelta(hours=hours)).strftime(FORM)
    try:
        return datetime.strptime(text, "%Y-%m-%d").strftime(FORM)
    except ValueError as error:
        raise UsageError(
            "moment", f"{text[:40]!r} is no age as 12h, 90d or 2w, and no date as 2026-11-21."
        ) from error


def read(store: Store, number: int) -> Read:
    """Return a result, or why this one cannot be read; the others can be, all the same.

    Raises
    ------
    MedgeError
        As ``Store.get``, where it is not about this result alone.
    """
    try:
        return store.get(number)
    except StorageError as error:
        if error.rule not in {"results-damaged", "results-newer"}:
            raise
        return error


def newest(store: Store, wanted: Wanted, here: str, most: int) -> list[tuple[int, Read]]:
    """Return the newest results that are wanted, in the order added; what cannot be read is in."""
    found: list[tuple[int, Read]] = []
    for number in reversed(store.numbers()):
        one = read(store, number)
        if isinstance(one, StorageError) or wanted.fits(one, here):
            found.append((number, one))
        if len(found) == most:
            break
    return found[::-1]


def older(store: Store, until: str) -> list[int]:
    """Return the ids of results that were taken before a moment; what cannot be read stays."""
    readable = ((number, read(store, number)) for number in store.numbers())
    return [
        number
        for number, one in readable
        if not isinstance(one, StorageError) and one.taken < until
    ]


def _on(result: Result, device: str, here: str) -> bool:
    if device == "here":
        return result.device_identity == here
    names = [result.device.name, *([result.candidate.device] if result.candidate else [])]
    return any(device.lower() in name.lower() for name in names)


def _as(result: Result, precision: str) -> bool:
    assert result.candidate is not None  # noqa: S101 - asked before
    return precision_name(result.candidate) == precision
