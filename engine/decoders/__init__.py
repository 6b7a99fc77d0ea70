"""Decoders: compressed pixel data, exactly one named decoder for each transfer syntax."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

from medge.engine.frames.frame import Packing
from medge.errors import InputError

Codestream: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Picture:
    """What the DICOM header says of one frame (PS3.3 C.7.6.3), and what the caller asks for.

    ``gray_only``: luminance is enough, so a decoder may skip colour. ``allow_gdcm``: as in
    ``decoder_for``.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int = 0
    gray_only: bool = False
    allow_gdcm: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame as its codec gives it.

    ``values``: uint8, int8, uint16 or int16, native byte order, C-contiguous, packed as
    ``packing`` says; valid until the decoder's next call. ``photometric``: of these values, which
    is not always that of the header (PS3.5 8.2). ``notes``: what the user should know.
    """

    values: npt.NDArray[Any]
    photometric: str
    packing: Packing
    notes: tuple[str, ...] = ()


class Decoder(Protocol):
    """One codec. Serves one study at a time: it may keep a buffer from frame to frame."""

    name: str
    end_marker: bytes  # near the end of every whole frame; empty when the syntax has none

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the codestream's own header and its end with the DICOM header.

        InputError ``truncated`` without an end, ``codestream`` for a contradiction.
        """

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Check as ``check`` does, then decode. InputError when that cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax of PS3.6 table A-1 that compresses pixel data."""

    name: str
    decoder: str = ""  # module:class; none when empty
    requires: str = ""  # distribution, as importlib.metadata names it
    extra: str = ""  # of medge, which installs it


_JPEG = "medge.engine.decoders.jpeg:Jpeg"
_LOSSLESS = "medge.engine.decoders.jpeg_lossless:JpegLossless"
_LS = "medge.engine.decoders.jpeg_ls:JpegLs"
_2000 = "medge.engine.decoders.jpeg_2000:Jpeg2000"
_GDCM = ("python-gdcm", "gdcm")
_CHARLS = ("pyjpegls", "codecs")
_OPENJPEG = ("pylibjpeg-openjpeg", "codecs")

_ROOT = "1.2.840.10008.1.2."
_SYNTAXES = {
    "1.98": Syntax("Encapsulated Uncompressed Explicit VR Little Endian"),
    "4.50": Syntax("JPEG Baseline (Process 1)", _JPEG),
    "4.51": Syntax("JPEG Extended (Process 2 and 4)", _JPEG),
    "4.52": Syntax("JPEG Extended (Process 3 and 5), retired"),
    "4.53": Syntax("JPEG Spectral Selection (Process 6 and 8), retired"),
    "4.54": Syntax("JPEG Spectral Selection (Process 7 and 9), retired"),
    "4.55": Syntax("JPEG Full Progression (Process 10 and 12), retired"),
    "4.56": Syntax("JPEG Full Progression (Process 11 and 13), retired"),
    "4.57": Syntax("JPEG Lossless (Process 14)", _LOSSLESS, *_GDCM),
    "4.58": Syntax("JPEG Lossless (Process 15), retired"),
    "4.59": Syntax("JPEG Extended Hierarchical (Process 16 and 18), retired"),
    "4.60": Syntax("JPEG Extended Hierarchical (Process 17 and 19), retired"),
    "4.61": Syntax("JPEG Spectral Selection Hierarchical (Process 20 and 22), retired"),
    "4.62": Syntax("JPEG Spectral Selection Hierarchical (Process 21 and 23), retired"),
    "4.63": Syntax("JPEG Full Progression Hierarchical (Process 24 and 26), retired"),
    "4.64": Syntax("JPEG Full Progression Hierarchical (Process 25 and 27), retired"),
    "4.65": Syntax("JPEG Lossless Hierarchical (Process 28), retired"),
    "4.66": Syntax("JPEG Lossless Hierarchical (Process 29), retired"),
    "4.70": Syntax("JPEG Lossless, First-Order Prediction (Process 14)", _LOSSLESS, *_GDCM),
    "4.80": Syntax("JPEG-LS Lossless", _LS, *_CHARLS),
    "4.81": Syntax("JPEG-LS Near-Lossless", _LS, *_CHARLS),
    "4.90": Syntax("JPEG 2000 Lossless", _2000, *_OPENJPEG),
    "4.91": Syntax("JPEG 2000", _2000, *_OPENJPEG),
    "4.92": Syntax("JPEG 2000 Part 2 Multi-component Lossless"),
    "4.93": Syntax("JPEG 2000 Part 2 Multi-component"),
    "4.94": Syntax("JPIP Referenced"),
    "4.95": Syntax("JPIP Referenced Deflate"),
    "4.100": Syntax("MPEG2 Main Profile / Main Level"),
    "4.100.1": Syntax("Fragmentable MPEG2 Main Profile / Main Level"),
    "4.101": Syntax("MPEG2 Main Profile / High Level"),
    "4.101.1": Syntax("Fragmentable MPEG2 Main Profile / High Level"),
    "4.102": Syntax("MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    "4.102.1": Syntax("Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    "4.103": Syntax("MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    "4.103.1": Syntax("Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    "4.104": Syntax("MPEG-4 AVC/H.264 High Profile / Level 4.2 for 2D video"),
    "4.104.1": Syntax("Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 for 2D video"),
    "4.105": Syntax("MPEG-4 AVC/H.264 High Profile / Level 4.2 for 3D video"),
    "4.105.1": Syntax("Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 for 3D video"),
    "4.106": Syntax("MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    "4.106.1": Syntax("Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    "4.107": Syntax("HEVC/H.265 Main Profile / Level 5.1"),
    "4.108": Syntax("HEVC/H.265 Main 10 Profile / Level 5.1"),
    "4.110": Syntax("JPEG XL Lossless"),
    "4.111": Syntax("JPEG XL JPEG Recompression"),
    "4.112": Syntax("JPEG XL"),
    "4.201": Syntax("High-Throughput JPEG 2000 Lossless", _2000, *_OPENJPEG),
    "4.202": Syntax("High-Throughput JPEG 2000 with RPCL Options, Lossless", _2000, *_OPENJPEG),
    "4.203": Syntax("High-Throughput JPEG 2000", _2000, *_OPENJPEG),
    "4.204": Syntax("JPIP HTJ2K Referenced"),
    "4.205": Syntax("JPIP HTJ2K Referenced Deflate"),
    "5": Syntax("RLE Lossless", "medge.engine.decoders.rle:Rle"),
    "7.1": Syntax("SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
    "7.2": Syntax("SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
    "7.3": Syntax("SMPTE ST 2110-30 PCM Digital Audio"),
    "8.1": Syntax("Deflated Image Frame Compression"),
}

COMPRESSED = frozenset(_ROOT + tail for tail in _SYNTAXES)
"""UIDs of every transfer syntax known to compress or to encapsulate, decodable or not."""


def syntax_name(uid: str) -> str | None:
    """Name of a compressed transfer syntax, None when it is not one of ``COMPRESSED``."""
    syntax = _SYNTAXES.get(uid.removeprefix(_ROOT)) if uid in COMPRESSED else None
    return syntax.name if syntax else None


def decoder_for(syntax_uid: str, allow_gdcm: bool = False) -> Decoder:
    """Return a new decoder for one study; there is one codec for each syntax, and no second try.

    Parameters
    ----------
    syntax_uid
        Transfer Syntax UID (0002,0010) of encapsulated pixel data.
    allow_gdcm
        JPEG Lossless may be decoded by GDCM, which runs in a process of its own.

    Raises
    ------
    InputError
        ``syntax-unsupported``; ``gdcm-not-allowed``; ``codec-missing`` when the codec is not
        installed.
    """
    syntax = _SYNTAXES.get(syntax_uid.removeprefix(_ROOT)) if syntax_uid in COMPRESSED else None
    if syntax is None:
        raise InputError(
            "syntax-unsupported",
            "The transfer syntax is none of the standard's compressed ones. Convert the file to "
            "a standard transfer syntax.",
        )
    if not syntax.decoder:
        raise InputError(
            "syntax-unsupported",
            f"Transfer syntax {syntax_uid} ({syntax.name}) is not decoded by medge. Convert the "
            "file to JPEG 2000 Lossless or to an uncompressed transfer syntax.",
        )
    if syntax.extra == "gdcm" and not allow_gdcm:
        raise InputError(
            "gdcm-not-allowed",
            f"Transfer syntax {syntax_uid} ({syntax.name}) needs GDCM, which is used only when "
            'asked for: pip install "medge[gdcm]", then allow it with --allow-gdcm.',
        )
    if syntax.requires:
        _require(syntax_uid, syntax)
    module, _, name = syntax.decoder.partition(":")
    made: Decoder = getattr(importlib.import_module(module), name)(syntax_uid)
    return made


def packages() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the packages that decode, each with medge's extra and its transfer syntaxes."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for syntax in _SYNTAXES.values():
        if syntax.requires:
            _, names = found.get(syntax.requires, ("", ()))
            found[syntax.requires] = (syntax.extra, (*names, syntax.name))
    return found


def _require(uid: str, syntax: Syntax) -> None:
    """Refuse when the codec's distribution is not installed."""
    from importlib import metadata  # 10 ms, needed by few files

    try:
        metadata.version(syntax.requires)
    except metadata.PackageNotFoundError:
        raise InputError(
            "codec-missing",
            f"Transfer syntax {uid} ({syntax.name}) needs {syntax.requires}, which is not "
            f'installed: pip install "medge[{syntax.extra}]".',
        ) from None
