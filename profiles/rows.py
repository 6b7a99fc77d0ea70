"""Rows of the data files that are installed with medge: strict, and named when they are wrong."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)


def read_rows(path: Path, row_type: type[T], lists: Collection[str]) -> Iterator[tuple[int, T]]:
    """Yield each row of a CSV file with its line.

    An empty cell is an absent value; cells of the columns in ``lists`` hold several, separated by
    semicolons.

    Raises
    ------
    ValueError
        A row does not fit ``row_type``, or a column is unknown to it: the installation is damaged.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        for row in reader:
            filled = {name: cell for name, cell in row.items() if cell}
            values = {
                name: cell.split(";") if name in lists else cell for name, cell in filled.items()
            }
            try:
                found = msgspec.convert(values, row_type, strict=False)
            except (msgspec.ValidationError, TypeError) as error:
                raise ValueError(f"{path.name}:{reader.line_num}: {error}") from error
            yield reader.line_num, found
