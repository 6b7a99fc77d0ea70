"""What people and programs see: tables, JSON, CSV and Markdown, one result at a time."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from medge.engine.prediction import Result

Format = Literal["table", "json", "jsonl", "csv", "md"]
FORMATS: tuple[str, ...] = get_args(Format)

STAGES = ("read", "decode", "prepare", "infer", "decide")
SHOWN = ("read", "dec", "prep", "infer")  # deciding takes microseconds
NARROW = 120  # columns of the narrowest table that says everything in each row

Row: TypeAlias = tuple[str, str, str]
COLUMNS_OF_A_PAGE = ("part", "what", "value")

_COLOURS = {"ok": "32", "unscoped": "33", "abstained": "33"}


@dataclass(frozen=True, slots=True)
class Heading:
    """What is the same for all results, said once above a table."""

    bundle: str
    device: str
    backend: str
    precision: str
    label_width: int  # characters of the longest class name
    warning: str = ""


class Writer:
    """Writes results in one format to one stream; nothing is kept."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def start(self) -> None:
        """Write what stands before the first result."""

    def row(self, result: Result) -> None:
        """Write one result."""
        raise NotImplementedError

    def end(self) -> None:
        """Write what stands after the last result."""


class JsonLines(Writer):
    """One JSON object a line, keys ``file`` and ``frame`` first."""

    def row(self, result: Result) -> None:
        self._write(_json(result) + "\n")


class Json(Writer):
    """One JSON array, written as it grows."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._separator = "[\n"

    def row(self, result: Result) -> None:
        self._write(self._separator + _json(result))
        self._separator = ",\n"

    def end(self) -> None:
        self._write("[]\n" if self._separator == "[\n" else "\n]\n")


COLUMNS = (
    "file",
    "frame",
    "prediction",
    "score",
    "status",
    *(f"{stage}_ms" for stage in STAGES),
    "device",
    "backend",
    "precision",
    "rule",
    "message",
)


class Csv(Writer):
    """RFC 4180 rows with a header.

    Scores of all classes stand in one column as ``name=value``, and so do the shares of precisions.
    """

    def start(self) -> None:
        self._line((*COLUMNS, "scores", "placement", "bundle", "bundle_sha256"))

    def row(self, result: Result) -> None:
        scores = ";".join(
            f"{name}={value:.6f}"
            for answer in result.answers
            for name, value in answer.scores.items()
        )
        placed = ";".join(f"{name}={share:.4f}" for name, share in result.placement.items())
        self._line((*_cells(result), scores, placed, result.bundle, result.bundle_sha256))

    def _line(self, cells: tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(_inert(cell) for cell in cells)
        self._write(line.getvalue())


class Markdown(Writer):
    """A GitHub table."""

    def start(self) -> None:
        self._write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")

    def row(self, result: Result) -> None:
        cells = (_one_line(cell).replace("|", "\\|") for cell in _cells(result))
        self._write(f"| {' | '.join(cells)} |\n")


class Table(Writer):
    """Fixed columns for people, so that rows can be shown before the last one is known.

    Where there is room, file, device, backend and precision stand in each row. A narrow table names
    a file once, on a line of its own, and the others in its heading.
    """

    def __init__(
        self, write: Callable[[str], None], heading: Heading, *, width: int, colour: bool
    ) -> None:
        super().__init__(write)
        self._heading = heading
        self._colour = colour
        self._width = width
        self._wide = width >= NARROW
        # 51 and 39: the other columns with their gaps. File and prediction share what is left.
        left = width - 51 - 39 if self._wide else max(width, 80) - 51
        self._label_width = max(10, min(heading.label_width, left - 12))
        self._file_width = max(12, min(48, left - self._label_width))
        self._file = ""

    def start(self) -> None:
        head = self._heading
        self._write(f"{head.bundle} on {head.device}\n{head.backend} {head.precision}; times in ms")
        self._write(f"; {head.warning}\n\n" if head.warning else "\n\n")
        titles = ["file".ljust(self._file_width)] if self._wide else []
        titles += ["frame", "prediction".ljust(self._label_width)]
        titles += ["score", "status   " + "".join(name.rjust(6) for name in SHOWN)]
        titles += ["backend      device     precision"] if self._wide else []
        self._write(_dim("  ".join(titles), self._colour) + "\n")

    def row(self, result: Result) -> None:
        file = _printable(result.file)
        cells = [_middle(file, self._file_width)] if self._wide else []
        if not self._wide and result.file != self._file:
            self._write(_middle(file, self._width).rstrip() + "\n")
            self._file = result.file
        times = result.timings
        stages = (times.read_ns, times.decode_ns, times.prepare_ns, times.infer_ns)
        cells += [
            ("-" if result.frame is None else str(result.frame)).rjust(5),
            _middle(result.prediction or "-", self._label_width),
            _score(result).rjust(5),
            self._status(result.status) + "".join(_milliseconds(ns).rjust(6) for ns in stages),
        ]
        if self._wide:
            device = result.device.partition(" ")[0]
            cells += [
                _middle(result.backend, 11),
                _middle(device, 9),
                _middle(result.precision, 13),
            ]
        self._write("  ".join(cells).rstrip() + "\n")
        if result.fault is not None:
            self._write(
                _wrapped(f"E{result.fault.exit_code} {result.fault.rule}: {result.fault.message}")
            )

    def _status(self, status: str) -> str:
        # Padded first: colour codes have no width.
        return _paint(status.ljust(9), _COLOURS.get(status, "31"), self._colour)


def writer(form: str, write: Callable[[str], None], heading: Heading, *, terminal: bool) -> Writer:
    """Return the writer of one format; ``terminal`` allows colours and the terminal's width."""
    if form == "table":
        width = shutil.get_terminal_size((80, 24)).columns
        colour = terminal and "NO_COLOR" not in os.environ
        return Table(write, heading, width=width, colour=colour)
    plain: dict[str, type[Writer]] = {
        "json": Json,
        "jsonl": JsonLines,
        "csv": Csv,
        "md": Markdown,
    }
    return plain[form](write)


def rows_text(
    form: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, terminal: bool
) -> str:
    """Lay short rows of text out as a table, CSV or Markdown; few enough to be gathered."""
    if form == "csv":
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(
            [_inert(cell) for cell in row] for row in (columns, *rows)
        )
        return lines.getvalue()
    if form == "md":
        head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
        body = (
            f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in row)} |\n"
            for row in rows
        )
        return head + "".join(body)
    return _drawn(columns, rows, terminal=terminal)


def _drawn(columns: Sequence[str], rows: Iterable[Sequence[str]], *, terminal: bool) -> str:
    """Draw a table as wide as the terminal; a value that equals the one above it is left out."""
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    table = Drawn(box=None, pad_edge=False, header_style="dim", show_header=True)
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:-1]:
        table.add_column(name, max_width=24, overflow="fold")
    table.add_column(columns[-1], overflow="fold")
    above = ""
    for first, *others in rows:
        table.add_row(*(Text(cell) for cell in ("" if first == above else first, *others)))
        above = first
    stream = io.StringIO()
    width = shutil.get_terminal_size((80, 24)).columns
    Console(
        file=stream,
        width=width,
        force_terminal=terminal and "NO_COLOR" not in os.environ,
        highlight=False,
    ).print(table)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def bytes_text(size_bytes: int) -> str:
    """Write a size with the unit that fits, in powers of 1000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes} B"


def percent_text(ratio: float) -> str:
    """Write a part of 1 as percent with three digits: 1.02 % is not within a margin of 1 %."""
    return f"{100.0 * ratio:.3g} %"


def _json(result: Result) -> str:
    """Return a result as JSON, which is UTF-8: other bytes of a name are told as escapes."""
    import msgspec

    try:
        return msgspec.json.encode(result).decode()
    except UnicodeEncodeError:
        file = os.fsencode(result.file).decode("utf-8", "backslashreplace")
        return msgspec.json.encode(msgspec.structs.replace(result, file=file)).decode()


def _cells(result: Result) -> tuple[str, ...]:
    times = result.timings
    fault = result.fault
    return (
        result.file,
        "" if result.frame is None else str(result.frame),
        result.prediction or "",
        _score(result) if result.answers else "",
        result.status,
        *(f"{getattr(times, f'{stage}_ns') / 1e6:.3f}" for stage in STAGES),
        result.device,
        result.backend,
        result.precision,
        "" if fault is None else fault.rule,
        "" if fault is None else fault.message,
    )


def _score(result: Result) -> str:
    """Return the probability of the prediction, or of the most probable class when abstained."""
    if not result.answers:
        return "-"
    answer = result.answers[0]
    labels = answer.labels or (max(answer.scores, key=lambda name: answer.scores[name]),)
    return f"{answer.scores[labels[0]]:.3f}"


def _milliseconds(time_ns: int) -> str:
    value = time_ns / 1e6
    return f"{value:.2f}" if value < 99.995 else f"{value:.0f}"


def _middle(text: str, width: int) -> str:
    """Shorten in the middle: folders and file endings both tell something."""
    if len(text) <= width:
        return text.ljust(width)
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _printable(text: str) -> str:
    """Replace control characters, so that a file name cannot drive the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _one_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _inert(cell: str) -> str:
    """Keep spreadsheets from reading a file name as a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "@"} else cell


def _wrapped(text: str) -> str:
    import textwrap

    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    indent = "    "
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent) + "\n"


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _dim(text: str, colour: bool) -> str:
    return _paint(text, "2", colour)
