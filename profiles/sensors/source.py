"""Sources of sensor values: a channel and the call that reads it, over files that stay open."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medge.profiles.facts import Problem
from medge.profiles.sensors.trace import Channel, Quantity

_NUMBER = {10: re.compile(rb"-?\d{1,20}"), 16: re.compile(rb"(?:0x)?[0-9a-fA-F]{1,16}")}


@dataclass(frozen=True, slots=True)
class Source:
    """A channel and how it is read; a reading is None where the sensor did not answer."""

    channel: Channel
    read: Callable[[], float | None]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What one kind of sensor gives on this machine, and for each quantity that it lacks why.

    ``problems`` are reasons that somebody at this machine can do something about.
    """

    sources: list[Source] = field(default_factory=list)
    reasons: dict[Quantity, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class NumberFile:
    """A small kernel file with one whole number, kept open: a reading is one call of the kernel.

    Raises
    ------
    OSError
        It cannot be opened.
    """

    def __init__(self, path: Path, base: int = 10) -> None:
        self._base = base
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def read(self) -> int | None:
        """Return the number, None where the driver has none now or the file holds another text."""
        try:
            text = os.pread(self._handle, 64, 0)
        except OSError:  # EAGAIN of a sleeping sensor, ENODEV of one that left: no value now
            return None
        found = _NUMBER[self._base].fullmatch(text.strip(b"\0 \t\r\n"))
        return int(found[0], self._base) if found else None

    def close(self) -> None:
        """Close the file; more than once is allowed."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def file_source(channel: Channel, path: Path, per: int = 1) -> Source:
    """Return a source whose value is the number of a file divided by ``per``.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    file = NumberFile(path)

    def read() -> float | None:
        number = file.read()
        return None if number is None else number / per

    return Source(channel, read, file.close)


def product_source(channel: Channel, paths: Iterable[Path], per: int) -> Source:
    """Return a source whose value is the product of the numbers of files, divided by ``per``.

    Raises
    ------
    OSError
        A file cannot be opened.
    """
    files: list[NumberFile] = []

    def close() -> None:
        for file in files:
            file.close()

    try:
        for path in paths:
            files.append(NumberFile(path))
    except OSError:
        close()
        raise

    def read() -> float | None:
        product = 1
        for file in files:
            number = file.read()
            if number is None:
                return None
            product *= number
        return product / per

    return Source(channel, read, close)


def sum_source(channel: Channel, paths: Iterable[Path]) -> Source | None:
    """Return a source whose value is the sum of those files that open, None where none does."""
    files: list[NumberFile] = []
    for path in paths:
        with suppress(OSError):  # events are looked for: those that can be read still tell some
            files.append(NumberFile(path))
    if not files:
        return None

    def read() -> float | None:
        numbers = [file.read() for file in files]
        known = [number for number in numbers if number is not None]
        return float(sum(known)) if len(known) == len(numbers) else None

    def close() -> None:
        for file in files:
            file.close()

    return Source(channel, read, close)


def refusal(error: OSError) -> str:
    """Say why a kernel file cannot be opened, in a few words."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "this user may not read it"
    if error.errno == errno.ENOENT:
        return "it is not there"
    return f"the kernel refuses it ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
