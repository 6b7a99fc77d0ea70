"""What the toolchain ladder says of one device, as a page, as rows and as one object."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from medge.console import rows_text
from medge.profiles.support import sources
from medge.profiles.toolchain import Ladder, Newest, Route, Step

COLUMNS = ("part", "step", "what", "sources")
WIDTH = 80
LABEL = 22  # characters of the longest part, with its number and a gap


def ladder_object(found: Ladder) -> dict[str, Any]:
    """Return everything in plain JSON types, with the documents that it comes from."""
    return {
        "schema": "medge.ladder/1",
        "basis": "published support tables; nothing was measured",
        "ladder": msgspec.to_builtins(found),
        "sources": {name: msgspec.to_builtins(sources()[name]) for name in _cited(found)},
    }


def ladder_text(form: str, found: Ladder) -> str:
    """Lay the ladder out: a page for people, one table of CSV or Markdown."""
    if form != "table":
        return rows_text(form, COLUMNS, ladder_rows(found), terminal=False)
    return "\n".join(_page(found)) + "\n"


def ladder_rows(found: Ladder) -> Iterator[tuple[str, str, str, str]]:
    """Yield speeds, the steps of each route, what is impossible, and what is newest alone."""
    for speed in found.speeds:
        part = "faster than fp32" if speed.faster else "not faster"
        yield (part, speed.precision, speed.how, _titles(speed.sources))
    for route in found.routes:
        for number, step in enumerate(route.steps, 1):
            yield (route.id, f"{number} {step.title}", _step(step), _titles(step.sources))
        if not route.possible:
            yield (route.id, "impossible", route.reason, _titles(route.sources))
    for newest in found.newest:
        yield ("newest alone", newest.title, _newest(newest), _titles(newest.sources))


def _page(found: Ladder) -> Iterator[str]:
    cited = _cited(found)
    yield f"{found.name} ({found.hardware}), {found.target}"
    yield from _wrapped(
        "Published support tables, each release with its sources [n]; nothing was measured."
    )
    yield ""
    yield from _speeds(found, cited)
    for route in found.routes:
        if route.possible:
            yield ""
            yield from _route(found, route, cited)
    impossible = [route for route in found.routes if not route.possible]
    if impossible:
        yield from ("", "Impossible")
        for route in impossible:
            yield f"  {route.title}"
            yield from _wrapped(f"{route.reason} {_marks(route.sources, cited)}", "    ")
    yield from ("", "Newest of each alone: they need not fit one another")
    for newest in found.newest:
        yield from _line(newest.title, _newest(newest), _marks(newest.sources, cited))
    yield from ("", "Sources")
    for number, name in enumerate(cited, 1):
        source = sources()[name]
        yield from _line(f"[{number}]", f"{source.title}; read {source.read.isoformat()}", "", 6)


def _speeds(found: Ladder, cited: list[str]) -> Iterator[str]:
    for faster, title in ((True, "Faster than fp32"), (False, "Not faster than fp32")):
        rows = [speed for speed in found.speeds if speed.faster is faster]
        if rows or faster:
            yield title
        for speed in rows:
            yield from _line(speed.precision, speed.how, _marks(speed.sources, cited), 8)
        if faster and not rows:
            yield "  nothing: run bundles as fp32"


def _route(found: Ladder, route: Route, cited: list[str]) -> Iterator[str]:
    gains = f"; gains from {', '.join(route.precisions)}" if route.precisions else ""
    yield f"{route.title}{gains}"
    for number, step in enumerate(route.steps, 1):
        yield from _line(f"{number} {step.title}", _step(step), _marks(step.sources, cited))
    if route.note:
        yield from _wrapped(f"Note: {route.note} {_marks(route.sources, cited)}", "  ")
    yield f"  medge doctor --target {found.target} --lock --route {route.id}"


def _line(label: str, text: str, marks: str, width: int = LABEL) -> Iterator[str]:
    indent = " " * (width + 2)
    whole = f"{text} {marks}" if marks else text
    lines = textwrap.wrap(whole, WIDTH - len(indent), break_on_hyphens=False)
    # A label that is too long for its column stands above its text.
    head = f"  {label}".ljust(len(indent))
    if len(label) >= width:
        yield f"  {label}"
        head = indent
    for number, line in enumerate(lines):
        yield (indent if number else head) + line


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _marks(names: tuple[str, ...], cited: list[str]) -> str:
    numbers = sorted(cited.index(name) + 1 for name in names)
    return f"[{' '.join(str(number) for number in numbers)}]" if numbers else ""


def _titles(names: tuple[str, ...]) -> str:
    return "; ".join(sources()[name].title for name in names)


def _step(step: Step) -> str:
    if step.part == "medge":
        return "; ".join(word for word in (step.shown, step.note) if word)
    return "; ".join(word for word in (step.shown, step.why, step.note) if word)


def _newest(newest: Newest) -> str:
    words = (newest.version or "none", newest.note)
    return "; ".join(word for word in words if word)


def _cited(found: Ladder) -> list[str]:
    """Return the short names of every document behind the page, in the order of their use."""
    steps = (step for route in found.routes for step in route.steps)
    used = [rule.sources for rule in found.speeds]
    used += [step.sources for step in steps]
    used += [route.sources for route in found.routes]
    used += [newest.sources for newest in found.newest]
    return list(dict.fromkeys(name for names in used for name in names))
