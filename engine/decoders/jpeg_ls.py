"""JPEG-LS by pyjpegls (CharLS)."""

from __future__ import annotations

import numpy as np

from medge.engine.decoders import Codestream, Decoded, Picture
from medge.engine.decoders.agreement import (
    END_MARKER,
    check_end,
    check_values,
    contradiction,
    damaged,
    same_bits,
    same_samples,
    same_size,
)
from medge.engine.decoders.containment import contained
from medge.engine.decoders.jpeg_header import SOF_LS, JpegHeader, read_header
from medge.engine.frames.frame import Packing
from medge.errors import InputError

_CODEC = "JPEG-LS"
_LOSSLESS = "1.2.840.10008.1.2.4.80"
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")  # PS3.5 8.2.3


class JpegLs:
    """Decodes JPEG-LS, lossless and near-lossless, 2 to 16 bits."""

    name = "pyjpegls"
    end_marker = END_MARKER

    def __init__(self, syntax_uid: str) -> None:
        self._lossless = syntax_uid == _LOSSLESS

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the codestream's own header with the DICOM header (PS3.5 8.2.3)."""
        self._check(bytes(data), picture)

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Decode to stored values; the sign bit is where Bits Stored puts it."""
        data = bytes(data)
        header, notes = self._check(data, picture)
        values = contained(self.name, _decode, data)
        size = 1 if header.precision <= 8 else 2
        need = header.rows * header.columns * header.components * size
        if len(values) != need:
            raise InputError(
                "decode-failed", f"{self.name} returned {len(values)} bytes instead of {need}."
            )
        array = np.frombuffer(values, np.dtype(f"{'i' if picture.signed else 'u'}{size}"))
        notes += check_values(_CODEC, array, header.precision, picture)
        rows, columns, samples = picture.rows, picture.columns, picture.samples
        if samples == 1:
            return Decoded(array.reshape(rows, columns), picture.photometric, Packing.MONO, notes)
        if header.interleave == 0:
            planes = array.reshape(samples, rows, columns)
            return Decoded(planes, picture.photometric, Packing.PLANAR, notes)
        pixels = array.reshape(rows, columns, samples)
        return Decoded(pixels, picture.photometric, Packing.INTERLEAVED, notes)

    def _check(self, data: bytes, picture: Picture) -> tuple[JpegHeader, tuple[str, ...]]:
        header = read_header(_CODEC, data)
        if header.process != SOF_LS:
            raise contradiction(_CODEC, "process", f"FF{header.process:02X}", "JPEG-LS (FFF7)")
        same_size(_CODEC, header.rows, header.columns, picture)
        same_samples(_CODEC, header.components, picture)
        same_bits(_CODEC, header.precision, picture)
        if any(factors != (1, 1) for factors in header.sampling):
            raise contradiction(_CODEC, "sampling", "subsampled components", "full-size ones")
        if picture.photometric not in _PHOTOMETRIC:
            raise contradiction(_CODEC, "colour", "full-size components", picture.photometric)
        if header.interleave > 2:
            raise damaged(_CODEC, f"interleave mode {header.interleave} does not exist")
        if header.point:
            raise contradiction(_CODEC, "loss", f"{header.point} low bits left out", "none")
        if self._lossless and header.near:
            raise contradiction(_CODEC, "loss", f"up to {header.near}", "none (lossless)")
        return header, check_end(_CODEC, data, header.scan_at)


def _decode(data: bytes) -> bytearray:
    """Return samples in native byte order, interleaved as the codestream is."""
    import jpeg_ls

    decoded: bytearray = jpeg_ls.decode_from_buffer(data)
    return decoded
