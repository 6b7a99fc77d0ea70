"""What `medge doctor` found, as text for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from medge.console import COLUMNS_OF_A_PAGE, Row, bytes_text, rows_text
from medge.doctor import Examination
from medge.engine.select import GPU_ONLY
from medge.errors import BackendError
from medge.profiles.facts import Fact, Problem

COLUMNS = ("part", "what", "value", "read from")


def exit_code(found: Examination) -> int:
    """Return 0 where a backend runs, else the exit code of a missing one; warnings change none."""
    return 0 if found.runs else BackendError.exit_code


def doctor_object(found: Examination) -> dict[str, Any]:
    """Return everything in plain JSON types: each fact with value, unit and source."""
    return {
        "schema": "medge.doctor/1",
        "exit_code": exit_code(found),
        "runs": found.runs,
        "runtimes": msgspec.to_builtins(found.runtimes),
        "problems": msgspec.to_builtins(found.problems),
        "additions": msgspec.to_builtins(found.additions),
        "facts": msgspec.to_builtins(found.sections),
    }


def doctor_text(form: str, found: Examination, *, terminal: bool) -> str:
    """Lay the verdict and the facts out: two tables for people, one of CSV or Markdown."""
    verdict, facts = list(verdict_rows(found)), list(fact_rows(found))
    if form != "table":
        rows = [*((*row, "") for row in verdict), *facts]
        return rows_text(form, COLUMNS, rows, terminal=terminal)
    first = rows_text(form, COLUMNS_OF_A_PAGE, verdict, terminal=terminal)
    return f"{first}\n{rows_text(form, COLUMNS, facts, terminal=terminal)}"


def verdict_rows(found: Examination) -> Iterator[Row]:
    """Yield what runs here, what is in the way, and what could be added."""
    tier = found.sections.get("cpu", {}).get("tier")
    for each in found.runtimes:
        if each.runs:
            devices = "; ".join(
                f"{device}: {', '.join(precisions) or 'as the graph says'}"
                for device, precisions in each.devices.items()
            )
            on = "the CPU" if tier is None else f"the CPU ({tier.value})"
            if each.backend in GPU_ONLY:
                on = next(iter(each.devices), "its GPU")
            said = f"{devices}; {each.cases} golden cases answered right on {on}"
            yield ("runs here", f"{each.backend} {each.version}", said)
    if not found.runs:
        yield ("runs here", "nothing", "no backend can run a network; see the problems")
    for problem in found.problems:
        yield ("problem", problem.rule, _said(problem))
    for addition in found.additions:
        yield ("could add", addition.rule, _said(addition))


def fact_rows(found: Examination) -> Iterator[tuple[str, str, str, str]]:
    """Yield one row a fact."""
    for section, facts in found.sections.items():
        for name, fact in facts.items():
            yield (section, name.replace("_", " "), fact_text(fact, name), fact.source)


def fact_text(fact: Fact, name: str = "") -> str:
    """Write a value with its unit; caches in powers of 1024, as their makers do."""
    value = fact.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if fact.unit == "bytes" and isinstance(value, int):
        return _cache_text(value) if name.endswith("_cache") else bytes_text(value)
    said = f"{value:.10g}" if isinstance(value, float) else str(value)
    return f"{said} {fact.unit}".strip()


def _cache_text(size_bytes: int) -> str:
    mib, rest = divmod(size_bytes, 1 << 20)
    return f"{size_bytes / 1024:g} KiB" if rest or not mib else f"{mib} MiB"


def _said(problem: Problem) -> str:
    step = f"{problem.found} {problem.next_step}"
    return f"{step} {problem.command}" if problem.command else step
