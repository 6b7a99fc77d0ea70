"""The header of a JPEG, JPEG Lossless or JPEG-LS codestream (ITU-T T.81 B, T.87 C)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from medge.engine.decoders import Codestream
from medge.engine.decoders.agreement import damaged, truncated

SOF_BASELINE, SOF_EXTENDED, SOF_LOSSLESS, SOF_LS = 0xC0, 0xC1, 0xC3, 0xF7

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {SOF_LS}
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length
_MAX_SEGMENTS = 4096  # before the first scan; ICC profiles take 255, real files under 50
_RGB_IDS = (b"RGB", b"rgb")


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the markers before the first scan say.

    ``process``: the SOF marker's low byte. ``sampling``: horizontal and vertical factors.
    ``adobe``: colour transform of an Adobe APP14 marker, None without one. ``near`` and
    ``interleave``: JPEG-LS; ``near`` is the predictor of JPEG Lossless (T.81 table H.1). ``point``:
    low bits left out of a lossless codestream.
    ``scan_at``: offset of the first entropy-coded byte.
    """

    process: int
    precision: int
    rows: int
    columns: int
    ids: bytes
    sampling: tuple[tuple[int, int], ...]
    jfif: bool
    adobe: int | None
    near: int
    interleave: int
    point: int
    scan_at: int

    @property
    def components(self) -> int:
        """Number of components of the frame."""
        return len(self.ids)

    @property
    def says_ybr(self) -> bool:
        """A JFIF marker, or Adobe's with transform 1, says the samples are YCbCr."""
        return self.jfif or self.adobe == 1

    @property
    def says_rgb(self) -> bool:
        """Component identifiers R, G, B, or Adobe's marker with transform 0, say RGB."""
        return self.ids in _RGB_IDS or self.adobe == 0


@dataclass(slots=True)
class _Found:
    frame: tuple[int, Codestream] | None = None
    jfif: bool = False
    adobe: int | None = None

    def take(self, codec: str, marker: int, body: Codestream) -> None:
        if marker in _SOF:
            if self.frame is not None:
                raise damaged(codec, "it has two frame headers")
            self.frame = marker, body
        elif marker == 0xE0 and bytes(body[:5]) == b"JFIF\0":
            self.jfif = True
        # libjpeg, and so everybody, reads the marker only from 12 bytes on
        elif marker == 0xEE and len(body) >= 12 and bytes(body[:5]) == b"Adobe":
            self.adobe = body[11]


def read_header(codec: str, data: Codestream) -> JpegHeader:
    """Walk the markers up to the first scan.

    Raises
    ------
    InputError
        ``truncated`` when the data end before a scan, ``codestream`` when the markers make no
        sense.
    """
    if bytes(data[:2]) != b"\xff\xd8":
        raise damaged(codec, "it does not start with FFD8")
    found = _Found()
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, at = _next_marker(codec, data, at)
        if at + 2 > len(data):
            raise truncated(codec, f"a marker at byte {at - 2} has no length")
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise truncated(
                codec, f"a segment of {length} bytes starts {len(data) - at} before the end"
            )
        body = data[at + 2 : at + length]
        at += length
        if marker == 0xDA:
            return _header(codec, found, body, at)
        found.take(codec, marker, body)
    raise damaged(codec, f"it has more than {_MAX_SEGMENTS} segments before the first scan")


def _next_marker(codec: str, data: Codestream, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise truncated(codec, "it ends before the first scan")
    if data[at] != 0xFF:
        raise damaged(codec, f"byte {at} is not a marker")
    while at < len(data) and data[at] == 0xFF:  # fill bytes (T.81 B.1.1.2)
        at += 1
    if at >= len(data) or data[at] == 0xD9:
        raise truncated(codec, "it ends before the first scan")
    if data[at] in _ALONE or data[at] == 0:
        raise damaged(codec, f"marker FF{data[at]:02X} stands before the first scan")
    return data[at], at + 1


def _header(codec: str, found: _Found, scan: Codestream, scan_at: int) -> JpegHeader:
    if found.frame is None:
        raise damaged(codec, "it has no frame header before the first scan")
    process, body = found.frame
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise damaged(codec, "its frame header has a wrong length")
    if not scan or len(scan) != 4 + 2 * scan[0] or not 1 <= scan[0] <= body[5]:
        raise damaged(codec, "its scan header has a wrong length")
    precision, rows, columns, count = struct.unpack_from(">BHHB", body)
    factors = tuple((body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(count))
    if not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in factors):
        raise damaged(codec, "a sampling factor is not 1..4")
    near, interleave, point = struct.unpack_from(">BBB", scan, 1 + 2 * scan[0])
    return JpegHeader(
        process=process,
        precision=precision,
        rows=rows,
        columns=columns,
        ids=bytes(body[6::3]),
        sampling=factors,
        jfif=found.jfif,
        adobe=found.adobe,
        near=near,
        interleave=interleave,
        point=point & 15,
        scan_at=scan_at,
    )
