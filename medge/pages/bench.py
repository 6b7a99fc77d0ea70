"""A matrix as a table with one line a cell, as rows for spreadsheets, and as one object."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import msgspec

from medge.bench.matrix.rows import Crowd, Matrix, Row, crowds
from medge.bench.sections import Absent, Energy
from medge.console import rows_text
from medge.pages.estimate import terminal_width
from medge.profiles.device_names import NULL

SHORT = {"reference": "ref", "not judged": "unjudged", "inconclusive": "open", "not-judged": "void"}
LEGEND = (
    "pict/s: pictures a second; p50 and p99: ms of one call, which takes a whole batch; batch 4x2: "
    "4 pictures a call, 2 calls at once; MB: most memory of its process. p99 is - where the calls "
    "are too few to bound it. drift: ref is the reference itself, unjudged: nobody compared its "
    "decisions, open: too few images, void: the network's decisions mean nothing."
)
CSV_COLUMNS = (
    "bundle", "bundle_sha256", "device", "here", "place", "backend", "backend_version",
    "precision", "batch", "streams", "threads", "at_once_with", "pictures_per_s", "alone_per_s",
    "p50_ms", "p50_low_ms", "p50_high_ms", "p99_ms", "calls", "peak_rss_bytes", "energy_mj",
    "energy_net_mj", "energy_reason", "drift", "cost_per_million", "rule", "reason", "taken",
)  # fmt: skip
LEFT = frozenset({"backend", "as", "on", "drift"})


class Line(NamedTuple):
    """Cells of one line; a reason stands in the place of figures that there are none of."""

    cells: tuple[str, ...]
    reason: str | None


def bench_object(found: Matrix) -> dict[str, Any]:
    """Return every row in plain JSON types; times in nanoseconds, null where there is none."""
    return {
        "schema": "medge.bench/1",
        "matrix": found.matrix,
        "price_per_hour": found.price_per_hour,
        "taken_from_store": found.before,
        "rows": [_object(row) for row in found.rows],
        "at_once": [
            {
                **_object(row),
                "alone_per_s": row.alone_per_s,
                "contention_ratio": row.contention_ratio,
            }
            for row in found.at_once
        ],
        "together": [
            {**asdict(crowd), "scaling_ratio": crowd.scaling_ratio}
            for crowd in crowds(found.at_once)
        ],
        "elsewhere": [_object(row) for row in found.elsewhere],
        "left_out": [
            {"differs_in": list(fields), "results": count} for fields, count in found.unlike.items()
        ],
    }


def _object(row: Row) -> dict[str, Any]:
    latency = row.latency
    samples = () if latency is None else latency.samples_ns
    interval = latency.interval(0.5) if latency is not None and samples else None
    return {
        "bundle": row.bundle,
        "bundle_sha256": row.bundle_sha256,
        "device": row.device,
        "here": row.here,
        "place": row.place,
        "gpu": row.gpu,
        "at_once_with": list(row.together),
        "backend": row.backend,
        "backend_version": row.backend_version,
        "precision": row.precision,
        "candidate": msgspec.to_builtins(row.candidate),
        "pictures_per_s": row.pictures_per_s,
        "p50_ns": row.p50_ns,
        "p50_interval_95_ns": None if interval is None else [interval.low, interval.high],
        "p99_ns": row.p99_ns,
        "calls": len(samples),
        "settled": None if latency is None else latency.settled,
        "peak_rss_bytes": row.peak_rss_bytes,
        "device_bytes": msgspec.to_builtins(row.device_bytes),
        "energy": msgspec.to_builtins(row.energy),
        "doubts": [msgspec.to_builtins(doubt) for doubt in row.doubts],
        "drift": row.verdict,
        "cost_per_million": row.cost,
        "rule": row.rule,
        "reason": row.reason,
        "taken": row.taken,
    }


def csv_rows(found: Matrix) -> Iterator[tuple[str, ...]]:
    """Yield every row, those of several devices at once and of other machines too."""
    for row in (*found.rows, *found.at_once, *found.elsewhere):
        said = _object(row)
        candidate = said["candidate"] or {}
        energy = row.energy
        times_ns = (row.p50_ns, *(said["p50_interval_95_ns"] or (None, None)), row.p99_ns)
        yield (
            row.bundle,
            row.bundle_sha256,
            row.device,
            "yes" if row.here else "no",
            row.place,
            row.backend,
            row.backend_version or "",
            row.precision,
            *(str(candidate.get(name, "")) for name in ("batch", "streams", "threads")),
            ";".join(row.together),
            _plain(row.pictures_per_s),
            _plain(row.alone_per_s),
            *(_plain(None if ns is None else ns / 1e6) for ns in times_ns),
            str(said["calls"]),
            "" if row.peak_rss_bytes is None else str(row.peak_rss_bytes),
            _plain(energy.raw_mj if isinstance(energy, Energy) else None),
            _plain(energy.net_mj if isinstance(energy, Energy) else None),
            energy.reason if isinstance(energy, Absent) else "",
            row.verdict,
            _plain(row.cost),
            row.rule or "",
            row.reason or "",
            row.taken or "",
        )


def bench_text(found: Matrix, form: str) -> str:
    """Return a table for each bundle and machine, and below what stands in no cell."""
    blocks = []
    for title, rows in _tables((*found.rows, *found.elsewhere)):
        blocks.append(_block(title, *_laid_out(rows), form))
    if found.at_once:
        blocks.append(_block("Alone, and all at once", *_contention(found.at_once), form))
    notes = list(_notes(found))
    told = "\n".join(f"- {note}" if form == "md" else _wrapped(note) for note in notes)
    return "\n\n".join([*blocks, told]) + "\n"


def _tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each bundle on each machine, the fastest first, failures last."""
    groups: dict[tuple[str, str, bool], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.bundle, row.device, row.here), []).append(row)
    for (bundle, device, here), some in groups.items():
        # The oldest says how far back a table reaches.
        dates = sorted(row.taken[:10] for row in some if row.taken)
        since = f", measured since {dates[0]}" if dates else ""
        machine = "" if here else f" (another machine{since})"
        ordered = sorted(some, key=lambda row: -(row.pictures_per_s or 0.0))
        yield f"{bundle} on {device}{machine}", ordered


def _laid_out(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[Line]]:
    """Return columns and lines; a column that says nothing is left out."""
    columns: dict[str, list[str]] = {
        "backend": [row.backend for row in rows],
        "as": [row.precision for row in rows],
    }
    if any(row.place not in ("cpu", "-") for row in rows):
        columns["on"] = [row.place for row in rows]
    columns["batch"] = [_batch(row) for row in rows]
    head = len(columns)
    columns |= {
        "pict/s": [_rate(row) for row in rows],
        "p50": [_ms(row.p50_ns) for row in rows],
        "p99": [_ms(row.p99_ns) for row in rows],
        "MB": [_megabytes(row.peak_rss_bytes) for row in rows],
    }
    if any(isinstance(row.energy, Energy) for row in rows):
        columns["mJ"] = [
            _number(row.energy.raw_mj) if isinstance(row.energy, Energy) else "-" for row in rows
        ]
    columns["drift"] = [SHORT.get(row.verdict, row.verdict) for row in rows]
    if any(row.cost is not None for row in rows):
        columns["per 1M"] = ["-" if row.cost is None else _number(row.cost) for row in rows]
    cells = zip(*columns.values(), strict=True)
    lines = [
        Line(each, None) if row.reason is None else Line(each[:head], row.reason)
        for each, row in zip(cells, rows, strict=True)
    ]
    return tuple(columns), lines


def _contention(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[Line]]:
    columns = ("backend", "as", "on", "batch", "alone/s", "at once/s", "ratio")
    lines = []
    for row in rows:
        head = (row.backend, row.precision, row.place, _batch(row))
        alone, ratio = row.alone_per_s, row.contention_ratio
        figures = (
            "-" if alone is None else _number(alone),
            _rate(row),
            "-" if ratio is None else f"{ratio:.2f}",
        )
        line = Line((*head, *figures), None) if row.reason is None else Line(head, row.reason)
        lines.append(line)
    lines += [
        Line(
            (crowd.backend, crowd.precision, "together", "", *map(_rate_of, sums), _scaling(crowd)),
            None,
        )
        for crowd in crowds(rows)
        if None not in (sums := (crowd.alone_per_s, crowd.pictures_per_s))
    ]
    return columns, lines


def _scaling(crowd: Crowd) -> str:
    """Return how many times longer a picture takes when all work: 1 when they share nothing."""
    ratio = crowd.scaling_ratio
    return "-" if not ratio else f"{1 / ratio:.2f}"


def _block(title: str, columns: Sequence[str], lines: Sequence[Line], form: str) -> str:
    if form != "md":
        return f"{_wrapped(title)}\n" + "\n".join(_aligned(columns, lines))
    failed = any(line.reason is not None for line in lines)
    rows = [
        (*line.cells, *("-" for _ in range(len(columns) - len(line.cells))))
        + ((line.reason or "",) if failed else ())
        for line in lines
    ]
    head = (*columns, "why not") if failed else columns
    return f"**{title}**\n\n" + rows_text("md", head, rows, terminal=False).rstrip("\n")


def _aligned(columns: Sequence[str], lines: Sequence[Line]) -> Iterator[str]:
    """Yield a header and lines; gaps are narrower where two would be too wide."""
    every = [tuple(columns), *(line.cells for line in lines)]
    widths = [
        max(len(cells[place]) for cells in every if place < len(cells))
        for place in range(len(columns))
    ]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= terminal_width() else " "
    for line in (Line(tuple(columns), None), *lines):
        cells = [
            cell.ljust(width) if name in LEFT else cell.rjust(width)
            for name, cell, width in zip(columns, line.cells, widths, strict=False)
        ]
        text = gap.join(cells)
        if line.reason is not None:
            text = _shortened(f"{text}{gap}{line.reason}", terminal_width())
        yield text.rstrip()


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _notes(found: Matrix) -> Iterator[str]:
    """Yield what the tables leave open: reasons, what the columns are, what was left out."""
    yield LEGEND
    yield from _grouped(
        (row.reason, _words(row)) for row in (*found.rows, *found.at_once) if row.reason is not None
    )
    doubtful = [row for row in found.rows if row.doubts]
    if doubtful:
        names = sorted({doubt.name for row in doubtful for doubt in row.doubts})
        yield (
            f"{len(doubtful)} of {len(found.rows)} rows are in doubt ({', '.join(names)}): "
            "`medge results show` or --json says why and what to do."
        )
    energies = [row.energy for row in found.rows if isinstance(row.energy, Absent)]
    for reason in dict.fromkeys(each.reason for each in energies):
        yield f"No energy: {reason}."
    if found.at_once:
        yield (
            "ratio: alone over at once; 1 when the others cost a device nothing. together: the sum "
            "over the devices."
        )
    gpus = {row.place: row.gpu for row in found.rows if row.gpu is not None}
    for place, gpu in gpus.items():
        yield f"{place}: {gpu}."
    if any(row.backend == NULL for row in found.rows):
        yield "null runs no network: its figures are what medge itself costs."
    if found.price_per_hour is not None:
        yield (
            f"per 1M: a million pictures at {found.price_per_hour:g} an hour for a device that "
            "never rests."
        )
    if found.before:
        cells = "cell was" if found.before == 1 else "cells were"
        yield f"{found.before} {cells} measured before; without --resume all are measured anew."
    for fields, count in found.unlike.items():
        results = "result" if count == 1 else "results"
        yield (
            f"{count} {results} of other machines left out: measured otherwise "
            f"({', '.join(fields)})."
        )


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield each reason once, behind all that it is the reason for."""
    found: dict[str, dict[str, None]] = {}
    for reason, what in pairs:
        found.setdefault(reason, {})[what] = None
    for reason, names in found.items():
        yield f"{', '.join(names)}: {reason}"


def _words(row: Row) -> str:
    """Return what was tried in few words; what is not known of it is left out."""
    words = [word for word in (row.backend, row.precision) if word != "-"]
    if row.place != "-":
        words.append(f"on {row.place}")
    if row.candidate is not None:
        words.append(f"batch {_batch(row)}")
    return " ".join(words)


def _batch(row: Row) -> str:
    each = row.candidate
    if each is None:
        return "-"
    return f"{each.batch}" if each.streams == 1 else f"{each.batch}x{each.streams}"


def _rate(row: Row) -> str:
    return _rate_of(row.pictures_per_s)


def _rate_of(pictures_per_s: float | None) -> str:
    return "-" if pictures_per_s is None else _number(pictures_per_s)


def _ms(time_ns: int | None) -> str:
    return "-" if time_ns is None else _number(time_ns / 1e6)


def _megabytes(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.0f}"


def _number(value: float) -> str:
    """Write three digits, and no exponent."""
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, max(40, terminal_width()), subsequent_indent="  ", break_long_words=False
    )
