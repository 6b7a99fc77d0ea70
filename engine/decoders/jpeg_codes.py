"""Every Huffman code of a JPEG must be there, and none too many: codecs make up what is missing."""

from __future__ import annotations

from medge import _native
from medge.engine.decoders.agreement import damaged, truncated

_ENDED, _MISSING = 3, 6  # of account_jpeg
_FAULTS = {
    1: "a header or a table is wrong",
    2: "there are bits that are no code",
    4: "there is more than the last block",
    5: "a restart marker is missing or out of turn",
}


def check_codes(codec: str, data: bytes, *, lossless: bool) -> None:
    """Refuse a JPEG with missing, wrong or superfluous codes.

    libjpeg, under Pillow and GDCM alike, fills missing bits with zeros and skips what is too much,
    with a warning that neither passes on.

    Raises
    ------
    InputError
        ``truncated`` or ``codestream``.
    """
    status, offset, blocks = _native.account_jpeg(data, lossless)
    if status in (_ENDED, _MISSING):
        unit = "samples" if lossless else "blocks of 8 x 8"
        raise truncated(codec, f"its codes end after {blocks} {unit}, more are needed")
    if status:
        raise damaged(codec, f"{_FAULTS[status]} at byte {offset}")
