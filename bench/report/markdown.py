"""Markdown: the same content as the page, its figures in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medge.bench.report.blocks import Block, Document, Figure, Paragraph, Quiet, Table
from medge.bench.report.quantities import clean

SIGNS = {"yes": "yes", "no": "no", "open": "not settled"}
# What Markdown or the HTML in it would read as more than text.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!&])")


def markdown(document: Document) -> str:
    """Return the report as GitHub's Markdown; every text of the document is escaped."""
    return "\n\n".join(_parts(document)) + "\n"


def text(raw: str) -> str:
    """Escape a text for one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(raw).split()))


def _parts(document: Document) -> Iterator[str]:
    yield f"# {text(document.title)}"
    yield text(document.subtitle)
    for warning in document.warnings:
        yield f"**{text(warning)}**"
    yield "## Answers"
    for answer in document.answers:
        yield f"### {text(answer.question)}"
        yield f"**{text(answer.headline)}** ({SIGNS[answer.verdict]})"
        yield text(answer.detail)
    for note in document.notes:
        yield text(note)
    for section in document.sections:
        yield f"## {text(section.title)}"
        for block in section.blocks:
            yield _block(block)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return text(block.text)
    if isinstance(block, Quiet):
        command = f" `{clean(block.command)}`" if block.command else ""
        return f"{text(block.text)}{command}"
    if isinstance(block, Figure):
        return f"*{text(block.title)}.* {text(block.description)}"
    return _table(block)


def _table(block: Table) -> str:
    titles = " | ".join(text(column.title) for column in block.columns)
    rules = "|".join("---:" if column.numeric else "---" for column in block.columns)
    rows = []
    for place, row in enumerate(block.rows):
        cells = [text(cell) for cell in row]
        if place == block.marked:
            cells[0] = f"**{cells[0]}** (the answer)"
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join((f"{text(block.caption)}:", "", f"| {titles} |", f"|{rules}|", *rows))
