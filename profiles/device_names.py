"""Names of devices as people type them: one device, or several of one kind, as nvidia:0,1."""

from __future__ import annotations

import re
from collections.abc import Callable

from medge.errors import BackendError, UsageError

NVIDIA = "nvidia"
"""``nvidia:N`` is the N-th GPU as CUDA counts, which ``CUDA_VISIBLE_DEVICES`` changes."""

NULL = "null"
"""``null:N`` is no hardware: the backend of that name takes as many as are asked for."""

ALL = "all"
MOST = 64  # of one kind in one process: no board holds more

_SEVERAL = re.compile(
    rf"({NVIDIA}|{NULL}):(\d{{1,4}}(?:,\d{{1,4}})*|{ALL})", re.ASCII | re.IGNORECASE
)


def ordinal(device: str, kind: str = NVIDIA) -> int | None:
    """Return the number of a device of one kind, None for every other device."""
    found = re.fullmatch(rf"{kind}:(\d{{1,4}})", device, re.ASCII)
    return None if found is None else int(found[1])


def devices_typed(word: str, present: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the devices that one word names, in the order typed.

    Parameters
    ----------
    word
        ``nvidia:0``, ``nvidia:0,2``, ``nvidia:all``, ``null:0,1``; any other word is one device
        that some runtime may know, and comes back as it is.
    present
        Returns the NVIDIA GPUs of this machine; called for ``nvidia:all`` only.

    Raises
    ------
    UsageError
        Rule ``device-list``: a list of NVIDIA GPUs that is none, or names one twice.
    BackendError
        Whatever ``present`` raises.
    """
    kind = word.partition(":")[0].lower()
    if kind not in (NVIDIA, NULL) or word.lower() == NULL:
        return (word,)
    found = _SEVERAL.fullmatch(word)
    if found is None:
        raise _no_list(word, kind, "is no list of devices")
    kind, listed = found[1].lower(), found[2].lower()
    if listed == ALL:
        if kind == NULL:
            raise _no_list(word, kind, "has no end")
        return present()
    numbers = [int(each) for each in listed.split(",")]
    if len(set(numbers)) != len(numbers) or len(numbers) > MOST:
        raise _no_list(word, kind, f"names a device twice, or more than {MOST}")
    return tuple(f"{kind}:{number}" for number in numbers)


def check_present(devices: tuple[str, ...], present: tuple[str, ...]) -> None:
    """Refuse devices that are not here.

    Raises
    ------
    BackendError
        Rule ``device``.
    """
    missing = [device for device in devices if device not in present]
    if missing:
        here = ", ".join(present) if present else "none"
        raise BackendError(
            "device",
            f"{' and '.join(missing)} cannot be used: the driver shows {here}. Choose one that it "
            "shows; CUDA_VISIBLE_DEVICES hides and renumbers GPUs.",
        )


def _no_list(word: str, kind: str, why: str) -> UsageError:
    every = f" or {kind}:{ALL}" if kind == NVIDIA else ""
    return UsageError(
        "device-list",
        f"--device {word[:40]} {why}. Type {kind}:0, {kind}:0,1{every}.",
    )
