"""Images: which files judge, each content once, and none that calibrated."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medge.bench.labels import Flags, Labels, read_labels
from medge.engine.frames.find import find
from medge.errors import InputError, UsageError

if TYPE_CHECKING:
    from medge.engine.manifest import Output

_BLOCK_BYTES = 1 << 20
_State = tuple[int, int]  # size in bytes, time of the last change in ns


@dataclass(frozen=True, slots=True)
class Images:
    """The files that judge, and what is known of each.

    ``digests`` are the SHA-256 of whole files, "" for one that cannot be read and will be refused.
    ``labels`` has a row for each file, None without a label file. ``copies`` files had the content
    of another and are left out, ``excluded`` files were not allowed to judge.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]
    states: tuple[_State, ...]
    labels: Labels | None
    copies: int
    excluded: int

    def check_unchanged(self) -> None:
        """Raise InputError, rule ``changed``, when a file is not what was digested."""
        for path, state in zip(self.files, self.states, strict=True):
            if _state(path) != state:
                raise InputError(
                    "changed",
                    f"{path}: changed while it was judged. Wait until its writer is done and "
                    "judge again.",
                )


def gather(
    data: Path, labels: Path | None, outputs: Sequence[Output], excluded: frozenset[str]
) -> Images:
    """Return the pictures that judge: those of the label file, else all of the folder.

    Parameters
    ----------
    excluded
        SHA-256 digests of files that must not judge, for they calibrated what is judged.

    Raises
    ------
    InputError
        Rule ``nothing-found``: no picture is left.
    UsageError
        The label file breaks a rule; or ``labels-conflict``: two copies have different labels.
    """
    if not data.is_dir():
        raise UsageError("data", f"{data}: is no folder. Name a folder of pictures.")
    table = None if labels is None else read_labels(labels, data, outputs)
    named = find([str(data)]) if table is None else (data / name for name in table.files)
    first: dict[str, int] = {}
    kept: list[tuple[int, Path, str, _State]] = []
    copies = left_out = 0
    for row, path in enumerate(named):
        state = _state(path)
        digest = _digest(path)
        if digest in excluded:
            left_out += 1
        elif digest and digest in first:
            copies += 1
            if table is not None and not _alike(table, row, first[digest]):
                raise UsageError(
                    "labels-conflict",
                    f"{path} and {_kept_at(kept, first[digest])} have the same content and "
                    "different labels. Correct one, or leave one out.",
                )
        else:
            first.setdefault(digest, row)
            kept.append((row, path, digest, state))
    if not kept:
        raise InputError(
            "nothing-found",
            f"{data}: no DICOM, PNG, JPEG or NPY file is left to judge with"
            + (f", {left_out} calibrated and may not. Name other pictures." if left_out else "."),
        )
    rows = [row for row, *_ in kept]
    return Images(
        files=tuple(path for _, path, _, _ in kept),
        digests=tuple(digest for _, _, digest, _ in kept),
        states=tuple(state for *_, state in kept),
        labels=None if table is None else _rows_of(table, rows),
        copies=copies,
        excluded=left_out,
    )


def set_digest(digests: Sequence[str]) -> str:
    """Return the SHA-256 of sorted file digests, one a line: the same for any order and names."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(digests)).encode()).hexdigest()


def _kept_at(kept: Sequence[tuple[int, Path, str, _State]], row: int) -> Path:
    """Return the file that was kept for a row."""
    return next(path for at, path, _, _ in kept if at == row)


def _alike(table: Labels, one: int, other: int) -> bool:
    return all(
        bool((truth[one] == truth[other]).all())
        and bool(table.known[name][one] == table.known[name][other])
        for name, truth in table.truth.items()
    )


def _rows_of(table: Labels, rows: Sequence[int]) -> Labels:
    def taken(columns: Mapping[str, Flags]) -> dict[str, Flags]:
        return {name: values[np.array(rows)] for name, values in columns.items()}

    return Labels(
        files=tuple(table.files[row] for row in rows),
        truth=taken(table.truth),
        known=taken(table.known),
        groups={name: tuple(values[row] for row in rows) for name, values in table.groups.items()},
    )


def _state(path: Path) -> _State:
    """Return size and time of a file, zeros for one that cannot be asked: opening it says why."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _digest(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ""
        found = hashlib.sha256()
        while block := os.read(file, _BLOCK_BYTES):
            found.update(block)
        return found.hexdigest()
    except OSError:
        return ""
    finally:
        os.close(file)
