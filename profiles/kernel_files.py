"""Small files of the Linux kernel, read below a root that is this machine's or a captured tree."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path("/")

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_MOST_CPUS = 65536  # a list that claims more is damaged
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_text(path: Path, limit_bytes: int = 65536) -> str:
    """Return a small kernel file, empty where it does not exist or is hidden from us.

    One read: the kernel makes many of these files anew with each.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):  # a name with a NUL, of a damaged file
        return ""
    try:
        return os.read(handle, limit_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(handle)


def read_word(path: Path) -> str | None:
    """Return a file's text without white space and NULs around it, None where there is none."""
    return read_text(path).strip("\0 \t\r\n") or None


def read_number(path: Path) -> int | None:
    """Return the one decimal number that a file holds, None for anything else."""
    word = read_word(path)
    if word is None or not re.fullmatch(r"\d{1,20}", word, re.ASCII):
        return None
    return int(word)


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the entries of a folder in the order of their names, none where it cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def cpu_list(text: str) -> frozenset[int] | None:
    """Return the CPUs of a kernel's list, such as "0-3,8"; None for what is no such list."""
    found: set[int] = set()
    for part in text.strip().split(","):
        matched = _RANGE.fullmatch(part.strip(), 0)
        if matched is None or not part.isascii():
            return None
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if not first <= last < _MOST_CPUS:
            return None
        found.update(range(first, last + 1))
    return frozenset(found)


def size_bytes(text: str) -> int | None:
    """Return the bytes of a cache size such as "32K"; None for what is none."""
    matched = re.fullmatch(r"(\d{1,9})([KMG]?)", text.strip(), re.ASCII)
    return int(matched[1]) * _UNITS.get(matched[2], 1) if matched else None
