"""JPEG 2000 and High-Throughput JPEG 2000 by OpenJPEG: gray in Pillow, colour in pylibjpeg."""

from __future__ import annotations

import os
from io import BytesIO

import numpy as np
import numpy.typing as npt

from medge.engine.decoders import Codestream, Decoded, Picture
from medge.engine.decoders.agreement import (
    END_MARKER,
    check_values,
    contradiction,
    same_bits,
    same_samples,
    same_size,
)
from medge.engine.decoders.containment import contained
from medge.engine.decoders.jpeg_2000_header import CODEC, Jpeg2000Header, read_header
from medge.engine.frames.frame import Packing
from medge.errors import InputError
from medge.profiles.device import allowed_cores

_THREADS = "OPJ_NUM_THREADS"
_HIGH_THROUGHPUT = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 201, 202))
_TRANSFORMS = {"YBR_RCT": True, "YBR_ICT": False}  # reversible; undone by the codec (PS3.5 8.2.4)
_PLAIN = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


class Jpeg2000:
    """Decodes JPEG 2000, lossless and lossy, gray and colour, 1 to 16 bits.

    Pillow's OpenJPEG is built with threads, that of pylibjpeg-openjpeg is not. Pillow knows no
    colour of more than 8 bits, and refuses some of 8, so colour is decoded by the other, always.
    """

    name = "pylibjpeg-openjpeg"
    end_marker = END_MARKER

    def __init__(self, syntax_uid: str) -> None:
        self._high_throughput = syntax_uid in _HIGH_THROUGHPUT
        self._lossless = syntax_uid in _LOSSLESS

    def check(self, data: Codestream, picture: Picture) -> None:
        """Compare the codestream's own header with the DICOM header (PS3.5 8.2.4)."""
        self._check(bytes(data), picture)

    def decode(self, data: Codestream, picture: Picture) -> Decoded:
        """Decode to stored values; colour comes back as RGB or as the YBR_FULL it was."""
        data = bytes(data)
        header = self._check(data, picture)
        bits, signed = header.precisions[0]
        stream = data[header.start :]
        if picture.samples == 1:
            codec = "Pillow"
            values = contained(codec, lambda raw: _decode_threaded(raw, bits, signed), stream)
        else:
            codec = self.name
            values = contained(codec, _decode, stream)
        kind = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
        need = picture.rows * picture.columns * picture.samples * kind.itemsize
        if values.size != need:
            raise InputError(
                "decode-failed", f"{codec} returned {values.size} bytes instead of {need}."
            )
        samples = values.view(kind)
        notes = header.notes + check_values(CODEC, samples, bits, picture)
        shape = (picture.rows, picture.columns)
        if picture.samples == 1:
            return Decoded(samples.reshape(shape), picture.photometric, Packing.MONO, notes)
        pixels = samples.reshape(*shape, picture.samples)
        photometric = "YBR_FULL" if picture.photometric == "YBR_FULL" else "RGB"
        return Decoded(pixels, photometric, Packing.INTERLEAVED, notes)

    def _check(self, data: bytes, picture: Picture) -> Jpeg2000Header:
        header = read_header(data)
        same_size(CODEC, header.rows, header.columns, picture)
        same_samples(CODEC, len(header.precisions), picture)
        if len(set(header.precisions)) != 1 or header.subsampled:
            raise contradiction(CODEC, "components", "unlike ones", "alike ones")
        bits, signed = header.precisions[0]
        same_bits(CODEC, bits, picture)
        if signed != picture.signed:
            words = ("unsigned samples", "signed samples")
            raise contradiction(CODEC, "sign", words[signed], words[picture.signed])
        self._check_process(header)
        _check_colour(header, picture.photometric)
        return header

    def _check_process(self, header: Jpeg2000Header) -> None:
        if header.high_throughput != self._high_throughput:
            words = ("JPEG 2000", "High-Throughput JPEG 2000")
            raise contradiction(
                CODEC, "process", words[header.high_throughput], words[self._high_throughput]
            )
        if self._lossless and not header.reversible:
            raise contradiction(CODEC, "loss", "an irreversible wavelet", "none (lossless)")


def _check_colour(header: Jpeg2000Header, photometric: str) -> None:
    """Refuse a component transform that the photometric interpretation excludes."""
    if len(header.precisions) == 1:
        if photometric not in _PLAIN:
            raise contradiction(CODEC, "colour", "one component", photometric)
        return
    if photometric in _TRANSFORMS:
        if not header.transformed:
            raise contradiction(CODEC, "colour", "no component transform", photometric)
        if header.reversible != _TRANSFORMS[photometric]:
            wavelet = "reversible" if header.reversible else "irreversible"
            raise contradiction(CODEC, "colour", f"the {wavelet} transform", photometric)
    elif photometric == "YBR_FULL" and header.transformed:
        raise contradiction(CODEC, "colour", "a component transform of RGB", photometric)
    elif photometric not in ("RGB", "YBR_FULL"):
        raise contradiction(CODEC, "colour", "full-size components", photometric)


def _decode_threaded(data: bytes, bits: int, signed: bool) -> npt.NDArray[np.uint8]:
    """Decode with Pillow's OpenJPEG, which uses all threads it may.

    Pillow shifts samples to the top of 8 or 16 bits, signed ones by half their range upwards.
    """
    from PIL import Image

    os.environ.setdefault(_THREADS, str(allowed_cores()))  # OpenJPEG reads it for each picture
    with Image.open(BytesIO(data), formats=("JPEG2000",)) as opened:
        shown = np.asarray(opened)
    wide = 8 * shown.itemsize
    samples = shown >> (wide - bits)
    if signed:
        samples = (samples.astype(np.int32) - (1 << (bits - 1))).astype(f"i{shown.itemsize}")
    return samples.reshape(-1).view(np.uint8)


def _decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Return samples as bytes, little endian, pixel by pixel, a component transform undone."""
    from openjpeg.utils import decode

    return decode(BytesIO(data), 0, reshape=False)
