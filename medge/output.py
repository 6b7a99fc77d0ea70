"""Where text goes: to stdout as soon as it is known, or into a file that appears whole."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from medge.console import COLUMNS_OF_A_PAGE, rows_text
from medge.errors import StorageError

HEAD_BYTES = 256


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

    A new one has the rights of the old one, and a link goes on to point to it. What is no file (a
    pipe, ``/dev/null``) is written as it is: it cannot be replaced.

    Raises
    ------
    StorageError
        Rule ``output``: the folder cannot be written, the disk is full, or a picture is there,
        which results never replace. Nothing half-written is left.
    """
    part = None
    try:
        mode = _mode_of(path)
        if mode is not None and not stat.S_ISREG(mode):
            with path.open("wb", buffering=0) as through:
                yield through
            return
        place = Path(os.path.realpath(path))
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        with part.open("xb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), stat.S_IMODE(mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(place)
        _sync_folder(place.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            "output", f"{path}: cannot write: {reason}. Free space or choose another -o FILE."
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def check_output(path: Path | None) -> None:
    """Refuse a place that cannot be written before hours are spent on what goes there.

    Raises
    ------
    StorageError
        Rule ``output``.
    """
    if path is None:
        return
    mode, folder = _mode_of(path), Path(os.path.realpath(path)).parent
    if mode is not None and stat.S_ISDIR(mode):
        reason = os.strerror(errno.EISDIR)
    elif not folder.is_dir():
        reason = os.strerror(errno.ENOENT)
    elif not os.access(folder, os.W_OK) and (mode is None or stat.S_ISREG(mode)):
        reason = os.strerror(errno.EACCES)
    else:
        return
    raise StorageError("output", f"{path}: cannot write: {reason}. Choose another -o FILE.")


def _mode_of(path: Path) -> int | None:
    """Return type and rights of what is there, None where nothing is.

    Raises
    ------
    StorageError
        Rule ``output``: it is a picture.
    """
    from medge.engine.frames.content import kind_of_content

    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode):
        with path.open("rb") as old:
            kind = kind_of_content(old.read(HEAD_BYTES))
        if kind is not None:
            raise StorageError(
                "output",
                f"{path}: is a picture, which is not replaced. Choose another -o FILE.",
            )
    return mode


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
