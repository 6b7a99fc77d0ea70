"""Tell by its first bytes what a file is."""

from __future__ import annotations

import enum

from medge.engine.frames.meta import has_magic, is_bare


class Kind(enum.Enum):
    """Formats that hold pictures."""

    DICOM = "DICOM"
    BARE_DICOM = "DICOM without preamble"
    PNG = "PNG"
    JPEG = "JPEG"
    NPY = "NPY"


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"\x93NUMPY", Kind.NPY),
)


def kind_of_content(head: bytes) -> Kind | None:
    """Return the format of a file that begins with ``head`` (132 bytes or more), None if unknown.

    DICM counts first: its preamble may imitate anything.
    """
    if has_magic(head):
        return Kind.DICOM
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return Kind.BARE_DICOM if is_bare(head) else None
