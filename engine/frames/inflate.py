"""Deflated data sets (PS3.5 A.5), inflated in capped steps."""

from __future__ import annotations

import zlib

from medge.engine.frames.asked import Limits
from medge.engine.frames.source import MemorySource, Source
from medge.errors import InputError

_STEP_BYTES = 1 << 18


def inflate(source: Source, start: int, limits: Limits) -> MemorySource:
    """Inflate all from ``start``; InputError when it is damaged, cut short, or a bomb."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)  # no zlib header: PS3.5 A.5 says RFC 1951
    parts: list[bytes] = []
    total, at = 0, start
    while at < source.size and not stream.eof:
        piece = source.read(at, min(_STEP_BYTES, source.size - at))
        at += len(piece)
        while piece and not stream.eof:
            parts.append(_step(stream, piece))
            piece = stream.unconsumed_tail
            total += len(parts[-1])
            _check_budget(total, at - start - len(piece), limits)
    source.check_unchanged()
    if not stream.eof:
        raise InputError(
            "truncated",
            f"the deflated data ends after {total} bytes, before its own end mark. The file is "
            "cut short; copy it again.",
        )
    return MemorySource(b"".join(parts), source)


def _step(stream: zlib._Decompress, piece: bytes) -> bytes:
    try:
        return stream.decompress(piece, 4 * _STEP_BYTES)
    except zlib.error:
        raise InputError(
            "deflate", "the deflated data cannot be inflated. The file is damaged; copy it again."
        ) from None


def _check_budget(total: int, consumed: int, limits: Limits) -> None:
    allowed = limits.inflate_floor_bytes + limits.inflate_ratio * consumed
    if total > min(allowed, limits.inflated_bytes):
        raise InputError(
            "inflate-budget",
            f"{consumed} deflated bytes became {total}; the caps are {limits.inflate_ratio}:1 and "
            f"{limits.inflated_bytes} bytes. It is not a picture, or it must be stored plainly.",
        )
