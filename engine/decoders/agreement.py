"""Agreement: what a codestream says of itself, held against the DICOM header."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from medge.engine.decoders import Picture
from medge.errors import InputError

END_MARKER = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000

_PADDING = b"\x00\xff"  # files exist that end in FFD9FF, although PS3.5 8.2 knows 00 only
_MAX_JUNK_BYTES = 15
_NOTE_JUNK = "end: bytes behind the image's end marker were ignored"


def contradiction(codec: str, what: str, found: object, header: object) -> InputError:
    """Build the refusal of a file whose codestream and DICOM header disagree."""
    return InputError(
        "codestream",
        f"{what}: the {codec} codestream says {found}, the DICOM header says {header}. The file "
        "contradicts itself; obtain it again from its source.",
    )


def damaged(codec: str, what: str) -> InputError:
    """Build the refusal of a codestream that breaks the rules of its own format."""
    return InputError(
        "codestream", f"The {codec} codestream is damaged: {what}. Obtain the file again."
    )


def truncated(codec: str, what: str) -> InputError:
    """Build the refusal of a codestream that stops before its end."""
    return InputError(
        "truncated", f"The {codec} codestream is cut short: {what}. Obtain the file again."
    )


def check_end(codec: str, data: bytes, scan_at: int) -> tuple[str, ...]:
    """Look for the end marker FFD9 of an image whose coded data start at ``scan_at``.

    Coded data never contain FFD9 (T.81 B.1.1.5, T.87 A.1, T.800 B.10.1), so the first one is the
    end. Behind it may be padding, or up to 15 bytes of any value: real devices round the length
    of a fragment up and leave what was in memory. Returns notes.
    """
    end = data.find(END_MARKER, scan_at)
    if end < 0:
        raise truncated(codec, f"no end marker FFD9 in its {len(data)} bytes")
    rest = data[end + 2 :]
    if not rest.strip(_PADDING):
        return ()
    if len(rest) > _MAX_JUNK_BYTES:
        raise damaged(codec, f"{len(rest)} bytes follow its end marker")
    return (_NOTE_JUNK,)


def same_size(codec: str, rows: int, columns: int, picture: Picture) -> None:
    """Refuse a codestream of another size than the header's."""
    if (rows, columns) != (picture.rows, picture.columns):
        header = f"{picture.rows} x {picture.columns}"
        raise contradiction(codec, "rows x columns", f"{rows} x {columns}", header)


def same_samples(codec: str, components: int, picture: Picture) -> None:
    """Refuse a codestream with another number of components than Samples per Pixel."""
    if components != picture.samples:
        raise contradiction(codec, "samples per pixel", components, picture.samples)


def same_bits(codec: str, precision: int, picture: Picture) -> None:
    """Refuse a sample precision that cannot belong to Bits Stored, right-aligned.

    A wider precision is common (encoders round it up to 8, 12 or 16) and no contradiction, since
    it only bounds the values: ``check_values`` then looks at every one of them.
    """
    check_container(picture)
    if not picture.bits_stored <= precision <= picture.bits_allocated:
        raise contradiction(codec, "bits per sample", precision, picture.bits_stored)
    if picture.high_bit != picture.bits_stored - 1:
        raise contradiction(codec, "high bit", picture.bits_stored - 1, picture.high_bit)


def check_values(
    codec: str, values: npt.NDArray[Any], precision: int, picture: Picture
) -> tuple[str, ...]:
    """Refuse decoded values that Bits Stored cannot hold. Returns notes."""
    if precision == picture.bits_stored:
        return ()
    low, high = int(values.min()), int(values.max())
    fits = low >= 0 and high < 1 << picture.bits_stored
    if picture.signed and not fits:
        unused = 8 * values.itemsize - precision
        extended = values.view(f"i{values.itemsize}") << unused >> unused
        half = 1 << picture.bits_stored - 1
        fits = -half <= int(extended.min()) and int(extended.max()) < half
    if not fits:
        found = f"values {low} to {high} in {precision} bits"
        raise contradiction(codec, "bits per sample", found, picture.bits_stored)
    return (
        f"bits: the {codec} codestream has {precision} a sample; all values fit the "
        f"{picture.bits_stored} of the DICOM header",
    )


def check_container(picture: Picture) -> None:
    """Refuse a container that no decoder here writes."""
    if picture.bits_allocated not in (8, 16) or picture.bits_stored > picture.bits_allocated:
        raise InputError(
            "bits-allocated",
            f"Bits allocated {picture.bits_allocated}, bits stored {picture.bits_stored}: "
            "compressed frames may have 8 or 16 bits allocated. Convert the file.",
        )
