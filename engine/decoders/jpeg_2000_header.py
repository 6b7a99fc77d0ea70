"""The headers of a JPEG 2000 codestream, JP2 boxes around it, and its tile-parts (T.800 A, I)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from medge.engine.decoders.agreement import END_MARKER, check_end, damaged, truncated

CODEC = "JPEG 2000"

_SOC = b"\xff\x4f"
_SOT, _SIZ, _CAP = 0xFF90, 0xFF51, 0xFF50
_COD, _COC, _QCD, _QCC = 0xFF52, 0xFF53, 0xFF5C, 0xFF5D
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_MAX_BOXES = 64
_MAX_SEGMENTS = 4096
_MAX_TILE_PARTS = 2**16
_HTJ2K = 0x00020000  # Pcap bit 15 of CAP: part 15 is used (T.814 A.3)
_SLACK = 16  # complete codestreams hold a byte or more for each packet


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """What SIZ, COD and CAP say, and where the codestream lies in the frame's data.

    ``precisions``: bits, signed, for each component. ``transformed``: a multiple component
    transform is used; ``reversible``: wavelet 5/3. ``start``: offset of SOC.
    """

    rows: int
    columns: int
    precisions: tuple[tuple[int, bool], ...]
    subsampled: bool
    transformed: bool
    reversible: bool
    high_throughput: bool
    start: int
    notes: tuple[str, ...]


def read_header(data: bytes) -> Jpeg2000Header:
    """Walk the main header and every tile-part up to EOC.

    Raises
    ------
    InputError
        ``truncated`` when data or tiles are missing, ``codestream`` when they make no sense.
    """
    start = _codestream_start(data)
    if data[start : start + 2] != _SOC:
        raise damaged(CODEC, "it does not start with FF4F")
    main: dict[int, bytes] = {}
    siz: _Siz | None = None
    notes: tuple[str, ...] = ()
    for marker, at, length in _segments(data, start + 2):
        if marker == _SIZ:
            siz = _Siz.read(data[at : at + length])
        elif siz is None:
            raise damaged(CODEC, "SIZ is not its first segment")
        elif marker == _SOT:
            notes = _walk_tiles(data, at - 4, siz.tiles)
            break
        main[marker] = data[at : at + length]
    if siz is None or _COD not in main or _QCD not in main:
        raise damaged(CODEC, "SIZ, COD or QCD is missing")
    cod = _Cod.read(main[_COD])
    if _COC not in main and _QCC not in main:
        _check_steps(main[_QCD], len(cod.precincts) - 1)
    if cod.packets(siz) > _SLACK * len(data):
        raise damaged(CODEC, f"{len(data)} bytes cannot hold the packets that it announces")
    (capabilities,) = struct.unpack_from(">L", main.get(_CAP, b"").ljust(4, b"\0"))
    return Jpeg2000Header(
        rows=siz.rows,
        columns=siz.columns,
        precisions=siz.precisions,
        subsampled=siz.subsampled,
        transformed=cod.transformed,
        reversible=cod.reversible,
        high_throughput=bool(capabilities & _HTJ2K),
        start=start,
        notes=notes,
    )


def _codestream_start(data: bytes) -> int:
    """Skip JP2 boxes, which DICOM forbids (PS3.5 A.4.4) and some encoders write."""
    if data[:12] != _JP2:
        return 0
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 16 > len(data):
            break
        length, kind = struct.unpack_from(">L4s", data, at)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if kind == b"jp2c":
            return at + header
        if length < header:
            break
        at += length
    raise damaged(CODEC, "its JP2 boxes hold no codestream")


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, offset and length of the body of each segment of the main header."""
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data):
            raise truncated(CODEC, "it ends in its main header")
        marker, length = struct.unpack_from(">HH", data, at)
        if marker < 0xFF30 or length < 2:
            raise damaged(CODEC, f"byte {at} of its main header is not a segment")
        if at + 2 + length > len(data):
            raise truncated(CODEC, "it ends in its main header")
        yield marker, at + 4, length - 2
        at += 2 + length
    raise damaged(CODEC, f"it has more than {_MAX_SEGMENTS} segments in its main header")


def _check_steps(body: bytes, levels: int) -> None:
    """Refuse quantization steps that are not those of the sub-bands (T.800 table A.28)."""
    style = body[0] & 31 if body else 3
    need = {0: 1 + 1 + 3 * levels, 1: 1 + 2, 2: 1 + 2 * (1 + 3 * levels)}.get(style, 0)
    if len(body) != need:
        raise damaged(CODEC, f"its quantization does not fit {levels} decomposition levels")


def _walk_tiles(data: bytes, at: int, tiles: int) -> tuple[str, ...]:
    """Follow Psot from tile-part to tile-part up to EOC; none may be missing. Returns notes."""
    seen: set[int] = set()
    for _ in range(_MAX_TILE_PARTS):
        if data[at : at + 2] == END_MARKER:
            if len(seen) != tiles:
                raise truncated(CODEC, f"{len(seen)} of {tiles} tiles are there")
            return check_end(CODEC, data, at)
        if at + 14 > len(data):
            raise truncated(CODEC, f"no end marker FFD9 in its {len(data)} bytes")
        marker, length, tile, size = struct.unpack_from(">HHHL", data, at)
        if marker != _SOT or length != 10 or tile >= tiles or 0 < size < 14:
            raise damaged(CODEC, f"there is no tile-part at byte {at}")
        seen.add(tile)
        if size == 0:  # the last tile-part reaches to EOC (T.800 A.4.2)
            size = max(14, data.find(END_MARKER, at) - at)
        if at + size + 2 > len(data):
            short = at + size + 2 - len(data)
            raise truncated(CODEC, f"tile {tile + 1}/{tiles} needs {short} bytes more")
        at += size
    raise damaged(CODEC, f"it has more than {_MAX_TILE_PARTS} tile-parts")


@dataclass(frozen=True, slots=True)
class _Siz:
    rows: int
    columns: int
    tiles: int
    tile_rows: int
    tile_columns: int
    precisions: tuple[tuple[int, bool], ...]
    subsampled: bool

    @staticmethod
    def read(body: bytes) -> _Siz:
        if len(body) < 36:
            raise damaged(CODEC, "SIZ is too short")
        _, x1, y1, x0, y0, tx, ty, tx0, ty0, count = struct.unpack_from(">H8LH", body)
        if len(body) != 36 + 3 * count or not 1 <= count <= 16384:
            raise damaged(CODEC, "SIZ has a wrong length")
        if not (x0 < x1 and y0 < y1 and tx and ty and tx0 <= x0 and ty0 <= y0):
            raise damaged(CODEC, "SIZ describes no area")
        if tx0 + tx <= x0 or ty0 + ty <= y0:
            raise damaged(CODEC, "its first tile lies outside the image")
        tiles = -((tx0 - x1) // tx) * -((ty0 - y1) // ty)
        if tiles > 65535:
            raise damaged(CODEC, f"{tiles} tiles, 65535 are possible")
        parts = [struct.unpack_from(">BBB", body, 36 + 3 * i) for i in range(count)]
        return _Siz(
            rows=y1 - y0,
            columns=x1 - x0,
            tiles=tiles,
            tile_rows=min(ty, y1 - y0),
            tile_columns=min(tx, x1 - x0),
            precisions=tuple(((s & 0x7F) + 1, bool(s & 0x80)) for s, _, _ in parts),
            subsampled=any((dx, dy) != (1, 1) for _, dx, dy in parts),
        )


@dataclass(frozen=True, slots=True)
class _Cod:
    layers: int
    transformed: bool
    reversible: bool
    precincts: tuple[int, ...]  # one byte for each resolution, lowest first

    @staticmethod
    def read(body: bytes) -> _Cod:
        if len(body) < 10:
            raise damaged(CODEC, "COD is too short")
        style, _, layers, transform, levels = struct.unpack_from(">BBHBB", body)
        own = body[10 : 11 + levels] if style & 1 else b"\xff" * (levels + 1)
        if levels > 32 or not layers or len(own) != levels + 1 or transform > 1:
            raise damaged(CODEC, "COD makes no sense")
        return _Cod(layers, bool(transform), body[9] == 1, tuple(own))

    def packets(self, siz: _Siz) -> int:
        """Count the packets of a codestream of this size (T.800 B.6): each takes a byte."""
        precincts = 0
        for resolution, sides in enumerate(self.precincts):
            shrink = len(self.precincts) - 1 - resolution
            wide = -(-siz.tile_columns >> shrink) >> (sides & 15)
            high = -(-siz.tile_rows >> shrink) >> (sides >> 4)
            precincts += max(1, wide) * max(1, high)
        return precincts * self.layers * len(siz.precisions) * siz.tiles
