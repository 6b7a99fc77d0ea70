"""HTML: a report as one file that asks for nothing else, for screen, phone and paper."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from medge.bench.report.blocks import (
    Answer,
    Block,
    Column,
    Document,
    Figure,
    Paragraph,
    Quiet,
    Section,
    Table,
)
from medge.bench.report.quantities import clean
from medge.bench.report.svg import drawn

STYLE = Path(__file__).with_name("report.css")
# Nothing is fetched, whatever a name in a result says: no script, no picture, no font, no form.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
LONG = 24  # characters of a cell that needs room
SIGNS = {  # sign and word: neither colour nor sign alone tells the verdict
    "yes": ("\N{CHECK MARK}", "Yes"),
    "no": ("\N{BALLOT X}", "No"),
    "open": ("?", "Not settled"),
}


def html(document: Document) -> str:
    """Return the page.

    Every text of the document is escaped; the drawings are made by ``svg.drawn``, which escapes
    those in them.

    Raises
    ------
    BackendError
        Rule ``report-packages``: matplotlib is not installed.
    """
    return "\n".join(_page(document)) + "\n"


def text(raw: str) -> str:
    """Escape a text for an element or an attribute."""
    return escape(clean(raw), quote=True)


def _page(document: Document) -> Iterator[str]:
    title = text(document.title)
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield '<meta name="referrer" content="no-referrer">'
    yield '<link rel="icon" href="data:,">'  # else a browser asks the server for one
    yield f"<title>{title}</title>"
    yield f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>"
    yield "</head>"
    yield "<body>"
    yield '<a class="skip" href="#answers">Skip to the answers</a>'
    yield "<header>"
    yield f"<h1>{title}</h1>"
    yield f"<p>{text(document.subtitle)}</p>"
    for warning in document.warnings:
        yield f'<p class="warning">{text(warning)}</p>'
    yield "</header>"
    yield "<main>"
    yield from _answers(document)
    yield from _contents(document.sections)
    for section in document.sections:
        yield from _section(section)
    yield "</main>"
    yield "<footer><p>This file holds everything it shows and asks for nothing from outside. medge "
    yield "is not a medical device.</p></footer>"
    yield "</body>"
    yield "</html>"


def _answers(document: Document) -> Iterator[str]:
    yield '<section id="answers" aria-labelledby="answers-title">'
    yield '<h2 id="answers-title" class="aside">Answers</h2>'
    for answer in document.answers:
        yield from _answer(answer)
    for note in document.notes:
        yield f'<p class="note">{text(note)}</p>'
    yield "</section>"


def _answer(answer: Answer) -> Iterator[str]:
    sign, word = SIGNS[answer.verdict]
    yield f'<div class="answer {answer.verdict}">'
    yield f"<h3>{text(answer.question)}</h3>"
    yield "<div>"
    said = (
        "" if answer.headline.startswith((word, "Not")) else f'<span class="aside">{word}: </span>'
    )
    yield (
        f'<p class="headline"><span class="sign" aria-hidden="true">{sign}</span>'
        f"{said}{text(answer.headline)}</p>"
    )
    yield f"<p>{text(answer.detail)}</p>"
    yield "</div>"
    yield "</div>"


def _contents(sections: tuple[Section, ...]) -> Iterator[str]:
    yield '<nav aria-label="Sections"><ul>'
    for section in sections:
        yield f'<li><a href="#{section.name}">{text(section.title)}</a></li>'
    yield "</ul></nav>"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.name}" aria-labelledby="{section.name}-title">'
    yield f'<h2 id="{section.name}-title">{text(section.title)}</h2>'
    for place, block in enumerate(section.blocks):
        yield from _block(block, f"{section.name}-{place}")
    yield "</section>"


def _block(block: Block, name: str) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield f"<p>{text(block.text)}</p>"
    elif isinstance(block, Quiet):
        command = f" <code>{text(block.command)}</code>" if block.command else ""
        yield f'<p class="quiet">{text(block.text)}{command}</p>'
    elif isinstance(block, Figure):
        yield f"<figure>{drawn(block, 'wide')}{drawn(block, 'narrow')}"
        yield f"<figcaption>{text(block.title)}</figcaption></figure>"
    else:
        yield from _table(block, name)


def _table(block: Table, name: str) -> Iterator[str]:
    # Wider than a phone, a table is scrolled by itself, with the keyboard too.
    yield f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}">'
    yield "<table>"
    yield f'<caption id="{name}"><span>{text(block.caption)}</span></caption>'
    heads = "".join(
        f'<th scope="col"{_kind("", column)}>{text(column.title)}</th>' for column in block.columns
    )
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for place, row in enumerate(block.rows):
        lead = place == block.marked
        note = ' <span class="lead-note">answer</span>' if lead else ""
        cells = [f'<th scope="row">{text(row[0])}{note}</th>']
        for cell, column in zip(row[1:], block.columns[1:], strict=True):
            cells.append(f"<td{_kind(cell, column)}>{text(cell)}</td>")
        kind = ' class="lead"' if lead else ""
        yield f"<tr{kind}>{''.join(cells)}</tr>"
    yield "</tbody>"
    yield "</table>"
    yield "</div>"


def _kind(cell: str, column: Column) -> str:
    if column.numeric:
        return ' class="n"'
    return ' class="long"' if len(cell) > LONG else ""
