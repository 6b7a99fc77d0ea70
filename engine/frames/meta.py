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
_META_BYTES = 1 << 16
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
    """Whether the bytes look like a DICOM data set or meta group without a preamble."""
    if len(head) < 16 or head[:4] not in _FIRST_TAGS:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") <= 64


# (0002,0000/0001), (0008,0000/0001/0005/0008/0016), little endian, and (0008,0005/0008/0016) big.
_FIRST_TAGS = frozenset(
    [group + element for group in (b"\x02\0", b"\x08\0") for element in (b"\0\0", b"\x01\0")]
    + [b"\x08\0" + element for element in (b"\x05\0", b"\x08\0", b"\x12\0", b"\x16\0")]
    + [b"\0\x08" + element for element in (b"\0\x05", b"\0\x08", b"\0\x12", b"\0\x16")]
)


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
        return _from_group_2(source, _MAGIC_AT + 4, asked)
    if asked.assume_syntax is None:
        raise InputError(
            "no-meta",
            "no DICM magic and no file meta information; transfer syntax absent, not guessing. "
            + _OPT_IN,
        )
    return _from_group_2(source, 0, asked)


def _from_group_2(source: Source, start: int, asked: Asked) -> Meta:
    data = source.read(0, min(source.size, _META_BYTES))
    if data[start : start + 2] != b"\x02\0":
        return Meta(_assumed(asked), start, assumed=True)
    records = np.empty((64, 4), np.uint32)
    found = _native.scan_header(data, start, source.size, True, False, True, WANTED, records)
    status, count, end, tag, _, length, depth, _needed = found
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
