"""Find studies: files named one by one, folders searched by content, and lists of paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from medge.engine.frames.content import kind_of_content
from medge.errors import UsageError

_HEAD_BYTES = 256


def find(arguments: Iterable[str], stdin: TextIO | None = None) -> Iterator[Path]:
    """Yield the files that ``arguments`` name, in order.

    A folder is searched through and through, in sorted order; it yields the regular files that
    begin like DICOM, PNG, JPEG or NPY, and follows no symbolic link. ``-`` reads paths from
    ``stdin``, one a line. Whatever else is named is yielded as it is, so that opening it says
    what is wrong with it.

    Raises
    ------
    UsageError
        Rule ``list-nul``: the list is separated by NUL bytes.
    """
    for argument in arguments:
        if argument == "-":
            for line in stdin or ():
                name = line.rstrip("\r\n")
                if "\0" in name:
                    raise UsageError(
                        "list-nul",
                        "The list on stdin is separated by NUL bytes; one path a line is read. "
                        "Type find -print and not -print0.",
                    )
                if name:
                    yield from _named(name)
        else:
            yield from _named(argument)


def _named(name: str) -> Iterator[Path]:
    path = Path(name)
    if os.path.isdir(name):
        yield from _search(path)
    else:
        yield path


def _search(folder: Path) -> Iterator[Path]:
    """Walk one folder after another without recursion: folders may be nested very deep."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield here  # opening it says why it cannot be searched
            continue
        inner = []
        for entry in found:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                inner.append(path)
            elif entry.is_file(follow_symlinks=False) and _is_picture(path):
                yield path
        waiting += reversed(inner)


def _is_picture(path: Path) -> bool:
    """Whether it begins like a picture; what cannot be read is yielded, to be refused by name."""
    try:
        # NOFOLLOW and NONBLOCK: the entry may have become a link or a pipe since it was listed.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        return kind_of_content(os.pread(fd, _HEAD_BYTES, 0)) is not None
    except OSError:
        return True
    finally:
        os.close(fd)
