"""Where text goes: to stdout as soon as it is known, or into a file that appears whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from medge.console import COLUMNS_OF_A_PAGE, rows_text
from medge.errors import StorageError


def to_stdout(text: str) -> None:
    """Write and flush: a reader of a pipe sees each result when it is known."""
    stream = sys.stdout.buffer
    stream.write(encoded(text))
    stream.flush()


def encoded(text: str) -> bytes:
    """Return UTF-8; names of files that are none come out as they are on the disk."""
    return text.encode("utf-8", "surrogateescape")


def write_page(
    form: str,
    said: dict[str, Any],
    rows: Iterable[Sequence[str]],
    output: Path | None = None,
    columns: Sequence[str] = COLUMNS_OF_A_PAGE,
) -> None:
    """Write one object for programs, or rows for people, to stdout or to a file."""
    import msgspec

    if form in {"json", "jsonl"}:
        raw = msgspec.json.encode(said)
        text = (msgspec.json.format(raw, indent=2) if form == "json" else raw).decode() + "\n"
    else:
        terminal = output is None and sys.stdout.isatty()
        text = rows_text(form, columns, rows, terminal=terminal)
    write_text(text, output)


def write_text(text: str, output: Path | None = None) -> None:
    """Write text to stdout, or into a file that appears whole."""
    if output is None:
        to_stdout(text)
        return
    with replacing(output) as stream:
        stream.write(encoded(text))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that it appears whole or not at all; an old one stays until then.

    Raises
    ------
    StorageError
        The folder cannot be written, or the disk is full. Nothing half-written is left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            "output", f"{path}: cannot write: {reason}. Free space or choose another -o FILE."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
