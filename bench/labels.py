"""Labels: a CSV file that says what pictures show, and which groups they belong to."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medge.errors import UsageError

if TYPE_CHECKING:
    from medge.engine.manifest import Output

FILE = "file"  # the column of paths
NONE = "-"  # a multi-label cell: looked for, and none of the classes is there
SEPARATOR = "|"
MOST_BYTES = 1 << 28
MOST_GROUPS = 32  # values of one subgroup column; a column of names or numbers has more
MOST_GROUP_CHARACTERS = 64

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a label file says, row by row.

    ``truth`` maps each output to (rows, classes), ``known`` to (rows,): False where the cell is
    empty, so that only flips can be judged there. ``groups`` maps each subgroup column to its value
    in every row, "" where none is given.
    """

    files: tuple[str, ...]  # relative to the data folder, as written
    truth: Mapping[str, Flags]
    known: Mapping[str, Flags]
    groups: Mapping[str, tuple[str, ...]]


def read_labels(path: Path, folder: Path, outputs: Sequence[Output]) -> Labels:
    """Read a label file strictly; docs/drift.md describes it.

    Parameters
    ----------
    path
        CSV after RFC 4180: UTF-8 with or without a byte order mark, commas, any line ends.
    folder
        What the column ``file`` is relative to; nothing outside it can be named.
    outputs
        The bundle's outputs; each has a column of its name.

    Raises
    ------
    UsageError
        Rules ``labels-unreadable``, ``labels-columns``, ``labels-row``, ``labels-file``,
        ``labels-class``, ``labels-group``. Messages name line and column, and never repeat what
        the file says there.
    """
    rows = _rows(path)
    _, header = next(rows, (1, []))
    _check_header(path, header, outputs)
    place = _Place(path, folder)
    parsers = {output.name: _Cells(path, output) for output in outputs}
    groups: dict[str, list[str]] = {
        name: [] for name in header if name != FILE and name not in parsers
    }
    files: list[str] = []
    for line, row in rows:
        if len(row) != len(header):
            raise _fault(
                "labels-row",
                path,
                line,
                f"has {len(row)} cells, the header has {len(header)}. Quote cells that hold commas",
            )
        for name, cell in zip(header, row, strict=True):
            if name == FILE:
                files.append(place.checked(cell, line))
            elif name in parsers:
                parsers[name].add(cell, line)
            else:
                groups[name].append(cell)
    if not files:
        raise UsageError("labels-row", f"{path}: there is no row below the header. Add the files.")
    for name, values in groups.items():
        _check_group(path, header.index(name) + 1, values)
    return Labels(
        files=tuple(files),
        truth={name: np.array(cells.truth, dtype=bool) for name, cells in parsers.items()},
        known={name: np.array(cells.known, dtype=bool) for name, cells in parsers.items()},
        groups={name: tuple(values) for name, values in groups.items()},
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not blank with the number of its last line."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        line = reader.line_num
        raise _fault(
            "labels-row", path, line, "breaks the rules of CSV. Check its quotation marks"
        ) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            "labels-unreadable", f"{path}: cannot be read: {reason}. Check path and rights."
        ) from error
    if len(raw) > MOST_BYTES:
        raise UsageError(
            "labels-unreadable", f"{path}: is larger than {MOST_BYTES >> 20} MiB. Split it."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _fault(
            "labels-unreadable", path, line, "is not UTF-8. Save the file as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _fault(
            "labels-unreadable", path, line, "holds a NUL character. Save the file as CSV UTF-8"
        )
    return text


def _check_header(path: Path, header: Sequence[str], outputs: Sequence[Output]) -> None:
    wanted = [FILE, *(output.name for output in outputs)]
    missing = [name for name in wanted if name not in header]
    if missing:
        raise UsageError(
            "labels-columns",
            f"{path}: the header lacks {', '.join(missing)}; it needs {', '.join(wanted)}, then "
            "any subgroup columns, separated by commas.",
        )
    if "" in header or len(set(header)) != len(header):
        raise UsageError(
            "labels-columns",
            f"{path}: the header names a column twice, or leaves one without a name. Name each.",
        )


class _Place:
    """Checks what the column ``file`` says against the data folder."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._root = folder.resolve()
        self._parents: dict[PurePosixPath, bool] = {}
        self._lines: dict[PurePosixPath, int] = {}

    def checked(self, cell: str, line: int) -> str:
        """Return the cell when it names a regular file within the folder, for the first time."""
        named = PurePosixPath(cell)
        if not cell or named.is_absolute() or ".." in named.parts:
            raise self._fault(line, "is no path relative to the data folder. Write it without ..")
        if named in self._lines:
            raise self._fault(line, f"repeats line {self._lines[named]}. Name each file once")
        self._lines[named] = line
        try:
            found = os.stat(self._folder / named, follow_symlinks=False)
            inside = self._inside(named, link=stat.S_ISLNK(found.st_mode))
            if inside and stat.S_ISLNK(found.st_mode):
                found = os.stat(self._folder / named)
        except OSError as error:
            absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
            what = "names no file of the data folder" if absent else "names a file out of reach"
            raise self._fault(line, f"{what}. Check the spelling and --data") from error
        if not inside:
            raise self._fault(line, "leads out of the data folder. Copy the file into it")
        if not stat.S_ISREG(found.st_mode):
            raise self._fault(line, "names something that is no regular file. Name a picture")
        return cell

    def _inside(self, named: PurePosixPath, *, link: bool) -> bool:
        """Whether links on the way stay within; a folder is resolved once, not for every file."""
        if link:
            return (self._folder / named).resolve().is_relative_to(self._root)
        parent = named.parent
        if parent not in self._parents:
            self._parents[parent] = (self._folder / parent).resolve().is_relative_to(self._root)
        return self._parents[parent]

    def _fault(self, line: int, found: str) -> UsageError:
        return _fault("labels-file", self._path, line, found, FILE)


class _Cells:
    """Parses the column of one output."""

    def __init__(self, path: Path, output: Output) -> None:
        self._path = path
        self._output = output
        self._rows: dict[str, tuple[bool, ...]] = {}  # few different cells, many rows
        self.truth: list[tuple[bool, ...]] = []
        self.known: list[bool] = []

    def add(self, cell: str, line: int) -> None:
        if cell not in self._rows:
            self._rows[cell] = self._parsed(cell, line)
        self.truth.append(self._rows[cell])
        self.known.append(cell != "")

    def _parsed(self, cell: str, line: int) -> tuple[bool, ...]:
        classes = self._output.classes
        if cell in classes:  # first, for a class may be called "-" or hold a bar
            named = {cell}
        elif cell == "":
            named = set()
        elif self._output.task == "multi-label":
            parts = [] if cell == NONE else cell.split(SEPARATOR)
            named = set(parts)
            if len(named) != len(parts):
                raise self._fault(line, "names a class twice")
        else:
            named = {cell}
        if not named <= set(classes):
            raise self._fault(line, "holds what is no class")
        return tuple(label in named for label in classes)

    def _fault(self, line: int, found: str) -> UsageError:
        output = self._output
        form = (
            f"one or more of them joined with {SEPARATOR}, {NONE} for none of them"
            if output.task == "multi-label"
            else "one of them"
        )
        expected = f"The classes are {', '.join(output.classes)}: write {form}, nothing if unknown"
        return _fault("labels-class", self._path, line, f"{found}. {expected}", output.name)


def _check_group(path: Path, column: int, values: Sequence[str]) -> None:
    """Refuse what looks like a column of persons: reports show the values of a subgroup."""
    different = set(values)
    if len(different) > MOST_GROUPS or max(map(len, different)) > MOST_GROUP_CHARACTERS:
        raise UsageError(
            "labels-group",
            f"{path}: column {column} holds {len(different)} different values; a subgroup column "
            f"has at most {MOST_GROUPS}, of at most {MOST_GROUP_CHARACTERS} characters, because "
            "reports show them. Leave out names and numbers, or write ranges.",
        )


def _fault(rule: str, path: Path, line: int, found: str, column: str = "") -> UsageError:
    where = f"line {line}, column {column}" if column else f"line {line}"
    return UsageError(rule, f"{path}: {where}: {found}.")
