"""Open a study by what the file holds, not by its name: DICOM, PNG, JPEG or NPY."""

from __future__ import annotations

from pathlib import Path

from medge.engine.frames.arrays import from_array
from medge.engine.frames.asked import Asked, Limits, Study
from medge.engine.frames.content import Kind, kind_of_content
from medge.engine.frames.source import Source
from medge.errors import InputError

__all__ = ["Asked", "Limits", "Study", "from_array", "open_study"]

_HEAD_BYTES = 4096


def open_study(path: Path, asked: Asked | None = None) -> Study:
    """Open the file at ``path`` (a symbolic link is followed: the caller named it).

    Raises
    ------
    InputError
        The file is refused; ``rule`` says why and docs/errors.md lists all rules.
    """
    asked = asked or Asked()
    source = Source(path)
    try:
        return _open(source, asked)
    except BaseException:  # Ctrl-C too must not leave the file open
        source.close()
        raise


def _open(source: Source, asked: Asked) -> Study:
    if source.size == 0:
        raise InputError("empty", "the file is empty. Copy it again.")
    head = source.read(0, min(source.size, _HEAD_BYTES))
    kind = kind_of_content(head)
    if kind in (Kind.DICOM, Kind.BARE_DICOM):
        from medge.engine.frames.dicom import open_dicom

        return open_dicom(source, head, asked)
    if kind is Kind.NPY:
        from medge.engine.frames.npy import open_npy

        return open_npy(source, asked)
    if kind in (Kind.PNG, Kind.JPEG):
        from medge.engine.frames.pictures import open_picture

        return open_picture(source, kind, asked)
    raise InputError(
        "not-an-image", "no DICM magic, and it is not PNG, JPEG or NPY either. Check the file."
    )
