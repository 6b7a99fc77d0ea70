"""File meta information (PS3.10 section 7.1): is it DICOM, and in which transfer syntax."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from medge import _native
from medge.engine.frames.asked import Asked
from medge.engine.frames.header import Header, fault
from medge.engine.frames.source import Source
from medge.engine.frames.tags import TRANSFER_SYNTAX, WANTED
from medge.errors import InputError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG))

_MAGIC_AT = 128
_EXECUTABLE = (b"MZ", b"\x7fELF", b"PK\x03\x04", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe")
_META_BYTES = 1 << 16  # the group is some hundred bytes; private information may follow
_UID = re.compile(r"[0-9]+(?:\.[0-9]+){1,31}")
_OPT_IN = "If you know how it was written, name the syntax with --assume-ts UID."


@dataclass(frozen=True, slots=True)
class Meta:
    """Transfer syntax, where the data set begins, and whether the caller supplied the syntax."""

    syntax: str
    start: int
    assumed: bool = False


def has_magic(head: bytes) -> bool:
    """Whether the first bytes are a preamble and the DICM prefix."""
    return head[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"


def is_bare(head: bytes) -> bool:
    """Whether the bytes look like a DICOM data set or meta group without a preamble.

    They begin with an element of group 0002 or 0008, low in its group, that has a VR of the
    standard or a small implicit length.
    """
    if len(head) < 16:
        return False
    little = head[0] in (2, 8) and head[1] == 0 and head[3] == 0
    big = head[0] == 0 and head[1] in (2, 8) and head[2] == 0
    if not (little or big):
        return False
    return head[4:6] in _VRS or int.from_bytes(head[4:8], "little") <= 64


_VRS = frozenset((b"AE", b"CS", b"DA", b"LO", b"OB", b"SH", b"SQ", b"TM", b"UI", b"UL"))


def read_meta(source: Source, head: bytes, asked: Asked) -> Meta:
    """Find the transfer syntax; InputError when there is none and none was supplied.

    Parameters
    ----------
    head
        The first bytes of the file.
    """
    if has_magic(head):
        if head.startswith(_EXECUTABLE):
            raise InputError(
                "executable-preamble",
                "executable preamble: the file is also a program or an archive. "
                "Do not run it; ask where it came from.",
            )
        return _from_group_2(source, head, _MAGIC_AT + 4, asked)
    if asked.assume_syntax is None:
        raise InputError(
            "no-meta",
            "no DICM magic and no file meta information; transfer syntax absent, not guessing. "
            + _OPT_IN,
        )
    return _from_group_2(source, head, 0, asked)


def _from_group_2(source: Source, head: bytes, start: int, asked: Asked) -> Meta:
    if head[start : start + 2] != b"\x02\0":
        return Meta(_assumed(asked), start, assumed=True)
    records = np.empty((16, 4), np.uint32)
    for size in (len(head), _META_BYTES):
        data = head if size == len(head) else source.read(0, min(source.size, size))
        found = _native.scan_header(data, start, source.size, True, False, True, WANTED, records)
        status, count, end, tag, _, length, depth, _needed = found
        if status == 1:
            break
    if status > 3:
        raise fault(status, end, tag, length, depth)
    if status != 1:
        raise InputError(
            "structure", "the file meta information has no end. The file is damaged; copy it again."
        )
    text = Header(data, records[:count].copy(), False, None).top.text(TRANSFER_SYNTAX)
    if text is None:
        return Meta(_assumed(asked), end, assumed=True)
    if not _UID.fullmatch(text):
        raise InputError("transfer-syntax", f"{TRANSFER_SYNTAX} is not a UID. The file is damaged.")
    return Meta(text, end)


def _assumed(asked: Asked) -> str:
    if asked.assume_syntax is None:
        raise InputError(
            "no-transfer-syntax",
            f"{TRANSFER_SYNTAX} is absent; not guessing. " + _OPT_IN,
        )
    return asked.assume_syntax
