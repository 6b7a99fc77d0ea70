"""Drift passports: which precisions of a bundle kept their decisions on this tier of device."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from medge.engine.evidence import Drift
from medge.engine.state import read_state, state_folder, write_state
from medge.profiles.terms import read_json


class Passport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest drift of every (precision, backend, backend version, tier) of one bundle."""

    entries: tuple[Drift, ...] = ()

    def find(self, precision: str, backend: str, backend_version: str, tier: str) -> Drift | None:
        """Return the drift that was judged under exactly these conditions, or None."""
        key = (precision, backend, backend_version, tier)
        return next((entry for entry in self.entries if _key(entry) == key), None)


def read_passport(bundle_sha256: str) -> Passport:
    """Return what was judged of a bundle on this machine, empty when nothing was.

    A damaged file counts as nothing: what cannot be read proves nothing, and is judged anew.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``.
    """
    raw = read_state(_path(bundle_sha256))
    if raw is None:
        return Passport()
    try:
        return read_json(raw, Passport)
    except msgspec.DecodeError:
        return Passport()


def stamp(bundle_sha256: str, drift: Drift) -> None:
    """Enter a drift; it replaces what was judged under the same conditions before.

    Raises
    ------
    StorageError
        Rule ``state-write`` or ``state-unreadable``.
    """
    kept = [entry for entry in read_passport(bundle_sha256).entries if _key(entry) != _key(drift)]
    passport = Passport(entries=(*kept, drift))
    write_state(_path(bundle_sha256), msgspec.json.format(msgspec.json.encode(passport)) + b"\n")


def _key(drift: Drift) -> tuple[str, str, str, str]:
    return drift.precision, drift.backend, drift.backend_version, drift.tier


def _path(bundle_sha256: str) -> Path:
    return state_folder() / "passports" / f"{bundle_sha256}.json"
