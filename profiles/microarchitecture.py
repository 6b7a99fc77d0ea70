"""Which microarchitecture a CPU's numbers mean: a table with sources, read from data."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

TABLE = Path(__file__).parent / "data" / "microarchitectures.csv"
ARM = {  # implementers of Linux arch/arm64/include/asm/cputype.h
    "0x41": "Arm",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "APM",
    "0x51": "Qualcomm",
    "0x61": "Apple",
    "0xc0": "Ampere",
}


class Row(Struct, frozen=True):
    """CPUs of one maker that share a microarchitecture.

    Parameters
    ----------
    vendor
        As /proc/cpuinfo says it: "GenuineIntel", on ARM the implementer "0x41".
    family
        None on ARM, whose ``models`` are parts.
    models, steppings
        Inclusive ranges; no steppings are all of them.
    """

    vendor: str
    family: int | None
    models: tuple[tuple[int, int], ...]
    steppings: tuple[tuple[int, int], ...]
    name: str
    source: str


def microarchitecture(facts: Mapping[str, str]) -> Row | None:
    """Return the row of a CPU from what /proc/cpuinfo says of it, None for one not in the table."""
    if "CPU implementer" in facts:
        vendor, family = facts["CPU implementer"].lower(), None
        model, stepping = _number(facts.get("CPU part")), None
    else:
        vendor, family = facts.get("vendor_id", ""), _number(facts.get("cpu family"))
        model, stepping = _number(facts.get("model")), _number(facts.get("stepping"))
        if family is None:
            return None
    if model is None:
        return None
    for row in table():
        same = (row.vendor, row.family) == (vendor, family) and _holds(row.models, model)
        if same and (not row.steppings or _holds(row.steppings, stepping)):
            return row
    return None


@cache
def table() -> tuple[Row, ...]:
    """Return all rows, in the order of the file."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(_rows(csv.DictReader(stream, strict=True)))


def _rows(lines: csv.DictReader[str]) -> Iterator[Row]:
    for line in lines:
        yield Row(
            vendor=line["vendor"],
            family=int(line["family"]) if line["family"] else None,
            models=tuple(_range(word) for word in line["models"].split()),
            steppings=tuple(_range(word) for word in line["steppings"].split()),
            name=line["name"],
            source=line["source"],
        )


def _range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first, 0), int(last or first, 0)


def _holds(ranges: tuple[tuple[int, int], ...], number: int | None) -> bool:
    return number is not None and any(first <= number <= last for first, last in ranges)


def _number(text: str | None) -> int | None:
    """Read a decimal or hexadecimal number of the kernel."""
    if text is None or not text.isascii() or len(text) > 10:
        return None
    try:
        return int(text, 0)
    except ValueError:
        return None
