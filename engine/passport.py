"""Drift passports: which precisions of a bundle kept their decisions on this tier of device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from medge.engine.evidence import Drift
from medge.engine.state import read_state, state_folder, write_state
from medge.errors import StorageError
from medge.profiles.cuda_gpus import tier_of_device
from medge.profiles.terms import read_json

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.select import Choice


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


def unproven(bundle: Bundle, choice: Choice, backend_version: str) -> str | None:
    """Say that a precision's decisions are not proven on this tier of device; None when they are.

    fp32 is the reference and proves itself on its golden cases, unless another runtime's was judged
    and failed. Reads one small file; one that cannot be read proves nothing, and must not keep a
    patient waiting.
    """
    precision, tier = choice.precision_name, tier_of_device(choice.device)
    try:
        passport = read_passport(bundle.digest)
    except StorageError:
        passport = Passport()
    known = passport.find(precision, choice.backend, backend_version, tier)
    variant = bundle.manifest.variant(precision)
    made = None if variant is None else variant.drift
    if known is None and made is not None and (made.tier, made.backend) == (tier, choice.backend):
        known = made
    if known is not None and known.passed:
        return None
    if precision == "fp32" and (known is None or known.verdict != "fail"):
        return None
    if known is not None:
        found = f"drift {known.verdict} on {known.cases} images"
    elif made is not None:
        found = (
            f"judged ({made.verdict}) on {made.tier} with {made.backend} only, where it was made"
        )
    else:
        found = "nobody judged its decisions"
    return (
        f"no passport: {precision} with {choice.backend} on this device tier ({tier}): {found}. "
        "`medge profile --data DIR --labels FILE` judges it here."
    )


def _key(drift: Drift) -> tuple[str, str, str, str]:
    return drift.precision, drift.backend, drift.backend_version, drift.tier


def _path(bundle_sha256: str) -> Path:
    return state_folder() / "passports" / f"{bundle_sha256}.json"
