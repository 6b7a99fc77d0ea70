"""Facts about this machine: a value, its unit and where it was read; and what is wrong with it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Value: TypeAlias = bool | int | float | str | tuple[str, ...]


class Fact(Struct, frozen=True):
    """One thing that is known of this machine; what is not known has no fact.

    Parameters
    ----------
    unit
        Of the value, as "bytes", "MHz", "GB/s"; empty for words and counts.
    source
        The file or call that it was read from, or how it was measured.
    """

    value: Value
    unit: str
    source: str


Facts: TypeAlias = dict[str, Fact]


class Problem(Struct, frozen=True):
    """Something that is missing or in the way, and what to do about it.

    Parameters
    ----------
    rule
        A short stable name; docs/doctor.md lists all of them.
    found
        What was found, in one sentence.
    next_step
        What to do; a command where one does it.
    command
        That command, empty where there is none.
    """

    rule: str
    found: str
    next_step: str
    command: str = ""
