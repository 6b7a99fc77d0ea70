"""Stored results as a list, one result as a page, and what came of an import or a prune."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from medge.bench.candidates import precision_name
from medge.bench.result import bundle_name
from medge.bench.stats import percentile
from medge.console import Row, bytes_text
from medge.errors import StorageError
from medge.pages.compare import printable
from medge.pages.estimate import terminal_width
from medge.pages.profile import SECTIONS, STAGES
from medge.profiles.cuda_gpus import kind_of

if TYPE_CHECKING:
    from medge.bench.measure import Measurement
    from medge.bench.result import Result
    from medge.bench.selection import Read
    from medge.bench.store import Shrunk

COLUMNS = ("result", "taken", "bundle", "run as", "p50 ms", "p99 ms", "on")
FIXED = 6 + 10 + 6 + 6 + 2 * 6  # columns and gaps that have one width
FIRST = ("infer", "infer, per picture", "file-to-decision")  # the stage that a list shows


class Line(Struct, frozen=True, kw_only=True):
    """What a list says of one result; times of ``stage`` in ns with 95 % intervals.

    ``here`` whether this machine measured it. ``rule`` why it cannot be read, and then the rest is
    empty.
    """

    result: int
    taken: str = ""
    bundle: str = ""
    bundle_sha256: str = ""
    device: str = ""
    here: bool | None = None
    backend: str | None = None
    precision: str | None = None
    threads: int | None = None
    streams: int | None = None
    batch: int | None = None
    stage: str | None = None
    samples: int = 0
    p50_ns: int | None = None
    p50_low_ns: int | None = None
    p50_high_ns: int | None = None
    p99_ns: int | None = None
    p99_low_ns: int | None = None
    p99_high_ns: int | None = None
    doubts: tuple[str, ...] = ()
    rule: str | None = None


ALL_COLUMNS = tuple(field.name for field in msgspec.structs.fields(Line))


class Imported(Struct, frozen=True, kw_only=True):
    """What became of a document; ``result`` is its number, also when it was there already."""

    file: str
    outcome: str  # added, already-there, refused
    result: int | None = None
    device: str = ""
    here: bool | None = None
    rule: str | None = None
    message: str = ""


def line_of(number: int, result: Read, here: str) -> Line:
    """Return what a list says of a result; ``here`` is this machine's identity."""
    if isinstance(result, StorageError):
        return Line(result=number, rule=result.rule)
    ran, taken, sections = result.candidate, _first(result), result.sections
    doubts = {} if sections is None else sections.doubts
    names = dict.fromkeys(doubt.name for found in doubts.values() for doubt in found)
    cell = None if sections is None else sections.cell
    return Line(
        result=number,
        taken=result.taken,
        bundle=bundle_name(result),
        bundle_sha256=result.bundle_sha256,
        device=result.device.name,
        here=result.device_identity == here,
        backend=None if ran is None else ran.backend,
        precision=None if ran is None else precision_name(ran),
        threads=None if ran is None else ran.threads,
        streams=None if ran is None else ran.streams,
        batch=None if ran is None else ran.batch,
        doubts=tuple(names),
        rule=None if cell is None else cell.rule,
        **({} if taken is None else _times(taken)),
    )


def list_object(lines: Sequence[Line], stored: int) -> dict[str, Any]:
    """Return a list in plain JSON types; what is unknown is null."""
    return {
        "schema": "medge.results/1",
        "count": len(lines),
        "stored": stored,
        "results": [msgspec.to_builtins(line) for line in lines],
    }


def list_columns(form: str) -> Sequence[str]:
    """Return every column for a spreadsheet, and for people those that fit on a screen."""
    return ALL_COLUMNS if form == "csv" else COLUMNS


def list_rows(lines: Iterable[Line], form: str) -> Iterator[tuple[str, ...]]:
    """Yield one row a result, the newest last."""
    spare = max(80, terminal_width()) - FIXED
    on = min(24, max(9, spare // 4))
    bundle = (spare - on) // 2
    for line in lines:
        if form == "csv":
            yield tuple(_plain(getattr(line, name)) for name in ALL_COLUMNS)
            continue
        run = f"{line.backend} {line.precision}" if line.backend else "-"
        run += f" b{line.batch}" if (line.batch or 1) > 1 else ""
        device = "here" if line.here else line.device
        cells = (
            line.taken[:10],
            _short(line.bundle.partition(" ")[0], bundle),
            _short(line.rule or run, spare - on - bundle),
            "-" if line.p50_ns is None else _ms(line.p50_ns),
            "-" if line.p99_high_ns is None or line.p99_ns is None else _ms(line.p99_ns),
            _short(device, on),
        )
        yield (str(line.result), *map(printable, cells))


def result_object(number: int, result: Result, here: str) -> dict[str, Any]:
    """Return a whole result in plain JSON types, raw times included."""
    return {
        "schema": "medge.results.show/1",
        "number": number,
        "here": result.device_identity == here,
        "result": msgspec.to_builtins(result),
    }


def result_rows(number: int, result: Result, here: str) -> Iterator[Row]:
    """Yield everything that a person asks of a result, the most important first."""
    for part, what, value in _result_rows(number, result, here):
        yield part, printable(what), printable(value)


def import_object(found: Sequence[Imported], exit_code: int) -> dict[str, Any]:
    """Return what became of each document."""
    return {
        "schema": "medge.results.import/1",
        "exit_code": exit_code,
        "documents": [msgspec.to_builtins(one) for one in found],
    }


def import_rows(found: Iterable[Imported]) -> Iterator[Row]:
    """Yield one row a document: its file, what became of it, and whose it is."""
    for one in found:
        if one.outcome == "refused":
            yield (printable(one.file), f"refused: {one.rule}", printable(one.message))
            continue
        told = f"{one.outcome.replace('-', ' ')} as {one.result}"
        whose = "of this machine" if one.here else f"of another machine: {one.device}"
        yield (printable(one.file), told, printable(whose))


def prune_object(removed: Sequence[Line], shrunk: Shrunk | None) -> dict[str, Any]:
    """Return what was removed, and what that did to the file."""
    return {
        "schema": "medge.results.prune/1",
        "removed": [line.result for line in removed],
        "before_bytes": shrunk and shrunk.before_bytes,
        "after_bytes": shrunk and shrunk.after_bytes,
        "reason": shrunk and (shrunk.reason or None),
    }


def prune_rows(removed: Sequence[Line], shrunk: Shrunk | None) -> Iterator[Row]:
    """Yield what was removed, and what that did to the file."""
    numbers = ", ".join(str(line.result) for line in removed)
    yield ("removed", "results", numbers or "none: nothing is that old, or beyond that number")
    if shrunk is not None:
        sizes = f"{bytes_text(shrunk.before_bytes)} → {bytes_text(shrunk.after_bytes)}"
        yield ("store", "file", f"{sizes}{'; ' if shrunk.reason else ''}{shrunk.reason}")


def _result_rows(number: int, result: Result, here: str) -> Iterator[Row]:
    where = "this machine" if result.device_identity == here else "another machine"
    yield ("result", "number", str(number))
    yield ("result", "bundle", bundle_name(result))
    yield ("result", "bundle digest", result.bundle_sha256)
    yield ("result", "taken", f"{result.taken} by medge {result.medge} on {where}")
    yield ("result", "device", f"{result.device.name} ({result.device.tier or 'unknown'} tier)")
    if result.device.gpu is not None:
        yield ("result", "gpu", kind_of(result.device.gpu))
    if result.sections is not None:
        for section in SECTIONS:
            yield from section(result)
    for taken in result.measurements:
        if result.sections is None or taken.stage not in STAGES:
            yield ("latency", taken.stage, _latency(taken))
    if result.sections is None:
        for drift in result.drifts:
            flips = f"{drift.verdict}: {drift.flips} of {drift.cases} decisions differ"
            yield ("drift", drift.precision, flips)
        return
    cell = result.sections.cell
    if cell is not None and cell.rule is not None:
        yield ("not measured", cell.rule, cell.reason or "")
    evidence = result.sections.evidence
    yield ("evidence", "model", evidence.model_sha256)
    yield ("evidence", "data", evidence.data_sha256 or "none")
    versions = ", ".join(f"{name} {version}" for name, version in evidence.versions.items())
    yield ("evidence", "versions", versions)
    seeds = ", ".join(f"{name} {seed}" for name, seed in evidence.seeds.items())
    yield ("evidence", "seeds", seeds or "none")
    yield ("evidence", "command", " ".join(evidence.command))


def _first(result: Result) -> Measurement | None:
    by_stage = {taken.stage: taken for taken in result.measurements}
    found = (by_stage[stage] for stage in FIRST if stage in by_stage)
    return next(found, next(iter(by_stage.values()), None))


def _times(taken: Measurement) -> dict[str, Any]:
    middle_, tail = (taken.interval(p) for p in (0.5, 0.99))
    return {
        "stage": taken.stage,
        "samples": len(taken.samples_ns),
        "p50_ns": percentile(taken.samples_ns, 0.5),
        "p50_low_ns": middle_ and middle_.low,
        "p50_high_ns": middle_ and middle_.high,
        "p99_ns": percentile(taken.samples_ns, 0.99),
        "p99_low_ns": tail and tail.low,
        "p99_high_ns": tail and tail.high,
    }


def _latency(taken: Measurement) -> str:
    told = []
    for p in (0.5, 0.9, 0.99):
        value, bounds = percentile(taken.samples_ns, p), taken.interval(p)
        within = "not bounded" if bounds is None else f"{_ms(bounds.low)} to {_ms(bounds.high)}"
        told.append(f"p{p * 100:g} {_ms(value)} ms ({within})")
    return f"{', '.join(told)}; {len(taken.samples_ns)} samples"


def _short(text: str, width: int) -> str:
    """Shorten in the middle: names begin and end with what tells them apart."""
    if len(text) <= width:
        return text
    head = width // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def _ms(time_ns: float) -> str:
    value = time_ns / 1e6
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
