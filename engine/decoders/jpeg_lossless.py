"""JPEG Lossless by GDCM, in a process of its own."""

from __future__ import annotations

import numpy as np

from medge.engine.decoders import Codestream, Decoded, Picture
from medge.engine.decoders.agreement import (
    END_MARKER,
    check_end,
    check_values,
    contradiction,
    same_bits,
    same_samples,
    same_size,
)
from medge.engine.decoders.isolation import Worker, shared_worker
from medge.engine.decoders.jpeg_codes import check_codes
from medge.engine.decoders.jpeg_header import SOF_LOSSLESS, JpegHeader, read_header
from medge.engine.frames.frame import Packing
from medge.errors import InputError

_CODEC = "JPEG Lossless"
_FIRST_ORDER = 70  # Process 14, Selection Value 1
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")


class JpegLossless:
    """Decodes JPEG Lossless, Process 14, 2 to 16 bits."""

    name = "GDCM"
    end_marker = END_MARKER

    def __init__(self, syntax_uid: str, worker: Worker | None = None) -> None:
        self._syntax = int(syntax_uid.rpartition(".")[2])
        self._worker = worker or shared_worker()

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the JPEG's own header with the DICOM header (PS3.5 8.2.1)."""
        self._check(bytes(data), picture)

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Decode to stored values; the sign bit is where Bits Stored puts it."""
        data = bytes(data)
        header, notes = self._check(data, picture)
        if not picture.allow_gdcm:
            raise InputError(
                "gdcm-not-allowed", "JPEG Lossless needs GDCM, which was not allowed here."
            )
        pixels = self._worker.decode(data, self._syntax, picture, header.precision)
        size = picture.bits_allocated // 8
        need = picture.rows * picture.columns * picture.samples * size
        if len(pixels) != need:
            raise InputError(
                "decode-failed", f"{self.name} returned {len(pixels)} bytes instead of {need}."
            )
        values = np.frombuffer(pixels, np.dtype(f"<{'i' if picture.signed else 'u'}{size}"))
        notes += check_values(_CODEC, values, header.precision, picture)
        shape = (picture.rows, picture.columns)
        if picture.samples == 1:
            return Decoded(values.reshape(shape), picture.photometric, Packing.MONO, notes)
        colour = values.reshape(*shape, picture.samples)
        return Decoded(colour, picture.photometric, Packing.INTERLEAVED, notes)

    def _check(self, data: bytes, picture: Picture) -> tuple[JpegHeader, tuple[str, ...]]:
        header = read_header(_CODEC, data)
        if header.process != SOF_LOSSLESS:
            raise contradiction(
                _CODEC, "process", f"FF{header.process:02X}", "JPEG Lossless (FFC3)"
            )
        same_size(_CODEC, header.rows, header.columns, picture)
        same_samples(_CODEC, header.components, picture)
        same_bits(_CODEC, header.precision, picture)
        if any(factors != header.sampling[0] for factors in header.sampling):
            raise contradiction(_CODEC, "sampling", "subsampled components", "full-size ones")
        if picture.photometric not in _PHOTOMETRIC:
            raise contradiction(_CODEC, "colour", "full-size components", picture.photometric)
        if self._syntax == _FIRST_ORDER and header.near != 1:
            raise contradiction(_CODEC, "predictor", header.near, 1)
        if header.point:
            raise contradiction(_CODEC, "loss", f"{header.point} low bits left out", "none")
        notes = check_end(_CODEC, data, header.scan_at)
        check_codes(_CODEC, data, lossless=True)
        return header, notes
