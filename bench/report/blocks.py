"""Blocks: what a report says, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Verdict = Literal["yes", "no", "open"]
Draw: TypeAlias = "Callable[[Canvas, bool], None]"
"""Draws on an empty figure; the flag says that it is as narrow as a phone."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """What is not there, and the command that would give it."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand at its right, one below the other."""

    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first cell of each names the row.

    ``marked`` is the row that the report is about, None where there is none.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing; ``description`` says in words what it shows, for who cannot see it.

    ``height`` is in CSS pixels, of the wide drawing and of the narrow one.
    """

    name: str
    title: str
    description: str
    draw: Draw
    height: tuple[int, int] = (300, 260)


Block: TypeAlias = "Paragraph | Quiet | Table | Figure"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under its own heading; ``name`` is its address within the page."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question of the first screen: a verdict, the answer in a few words, what it rests on."""

    question: str
    verdict: Verdict
    headline: str
    detail: str


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report.

    ``warnings`` stand above the answers, ``notes`` below them.
    """

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]


def table(
    caption: str, columns: str, rows: Sequence[tuple[str, ...]], marked: int | None = None
) -> Table:
    """Make a table from titles between bars, as ``"candidate | >p50 | drift"``; > is numeric."""
    titles = [title.strip() for title in columns.split("|")]
    made = tuple(Column(title.lstrip(">"), title.startswith(">")) for title in titles)
    return Table(caption, made, tuple(rows), marked)
