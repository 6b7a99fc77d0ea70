"""The Image Pixel module (PS3.3 C.7.6.3): size, bits and colour of the stored values, checked."""

from __future__ import annotations

from dataclasses import dataclass

from medge.engine.frames import tags
from medge.engine.frames.asked import Limits
from medge.engine.frames.frame import Colour, Packing
from medge.engine.frames.header import Fields
from medge.engine.frames.tags import Tag
from medge.errors import InputError

COLOURS = {
    "MONOCHROME1": Colour.GRAY,
    "MONOCHROME2": Colour.GRAY,
    "PALETTE COLOR": Colour.PALETTE,
    "RGB": Colour.RGB,
    "YBR_FULL": Colour.YBR_FULL,
    "YBR_FULL_422": Colour.YBR_FULL,
    "YBR_ICT": Colour.YBR_FULL,
    "YBR_RCT": Colour.YBR_FULL,
}
_CODEC_ONLY = frozenset(("YBR_ICT", "YBR_RCT"))  # transforms inside JPEG 2000 (PS3.5 8.2.4)
_REFUSED = frozenset(
    ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")
)  # terms of PS3.3 C.7.6.3.1.2 that may be shown in a message


@dataclass(frozen=True, slots=True)
class ImagePixel:
    """Shape and bits of the stored values of every frame."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    notes: tuple[str, ...]

    @property
    def colour(self) -> Colour:
        """What the samples are."""
        return COLOURS[self.photometric]

    @property
    def packing(self) -> Packing:
        """How the samples of a native frame lie."""
        if self.samples == 1:
            return Packing.MONO
        if self.photometric == "YBR_FULL_422":
            return Packing.YBR_422
        return Packing.PLANAR if self.planar else Packing.INTERLEAVED

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``Frame.stored`` of a native frame."""
        return {
            Packing.MONO: (self.rows, self.columns),
            Packing.INTERLEAVED: (self.rows, self.columns, 3),
            Packing.PLANAR: (3, self.rows, self.columns),
            Packing.YBR_422: (self.rows, self.columns // 2, 4),
        }[self.packing]

    @property
    def frame_bytes(self) -> int:
        """Bytes of a native frame."""
        count = self.bits_allocated // 8
        for side in self.shape:
            count *= side
        return count


def read_image_pixel(top: Fields, native: bool, limits: Limits) -> ImagePixel:
    """Read and check the module; InputError names the first field that cannot be.

    Parameters
    ----------
    native
        The pixel data is not compressed, so sizes and colour rules of PS3.5 8.1 hold.
    """
    rows, columns = _required(top, tags.ROWS), _required(top, tags.COLUMNS)
    frames = _frames(top)
    samples = _required(top, tags.SAMPLES)
    allocated, stored = _required(top, tags.BITS_ALLOCATED), _required(top, tags.BITS_STORED)
    _check_budget(rows, columns, frames, samples * max(1, allocated // 8), limits)
    photometric = _photometric(top, samples, native)
    high, notes = _bits(top, allocated, stored)
    signed = _required(top, tags.PIXEL_REPRESENTATION)
    if signed > 1 or (signed and samples == 3):
        raise InputError(
            "pixel-representation",
            f"{tags.PIXEL_REPRESENTATION} is {signed}; expected 0 for colour, 0 or 1 for gray.",
        )
    planar = _planar(top, samples, photometric, columns, native)
    return ImagePixel(
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=bool(signed),
        photometric=photometric,
        planar=planar,
        notes=notes,
    )


def _required(top: Fields, tag: Tag) -> int:
    value = top.integer(tag)
    if value is None:
        raise missing(tag)
    return value


def missing(tag: Tag) -> InputError:
    """Say that an element that the picture cannot be read without is absent."""
    return InputError(
        "missing-element", f"{tag} is absent, so the pixels cannot be read. Export the file again."
    )


def _frames(top: Fields) -> int:
    try:
        frames = top.integer(tags.FRAMES)
    except InputError as error:
        if error.rule != "bad-value":
            raise
        raise InputError(
            "frame-count", f"{tags.FRAMES} is not a number; expected 1 or more."
        ) from None
    if frames is None:
        return 1
    if frames < 1:
        raise InputError("frame-count", f"{tags.FRAMES} is {frames}; expected 1 or more.")
    return frames


def _check_budget(rows: int, columns: int, frames: int, pixel_bytes: int, limits: Limits) -> None:
    for tag, side in ((tags.ROWS, rows), (tags.COLUMNS, columns)):
        if not 1 <= side <= limits.side:
            raise InputError("side", f"{tag} is {side}; expected 1 to {limits.side}.")
    pixels = rows * columns
    budget = f"asks for {pixels * frames * pixel_bytes} bytes"
    if pixels > limits.frame_pixels:
        raise InputError(
            "budget",
            f"{rows} x {columns} is {pixels} pixels a frame and {budget}; the budget is "
            f"{limits.frame_pixels} pixels. Raise it if the picture is real.",
        )
    if pixels * frames > limits.file_pixels:
        raise InputError(
            "budget",
            f"{frames} frames of {rows} x {columns} {budget}; the budget is {limits.file_pixels} "
            "pixels a file. Split the file, or raise the budget if it is real.",
        )


def _photometric(top: Fields, samples: int, native: bool) -> str:
    term = top.text(tags.PHOTOMETRIC)
    if term is None:
        raise missing(tags.PHOTOMETRIC)
    known = term in COLOURS and not (native and term in _CODEC_ONLY)
    if not known:
        shown = repr(term) if term in _REFUSED | _CODEC_ONLY else "a term that medge does not know"
        kind = "native pixel data" if native else "compressed pixel data"
        expected = ", ".join(sorted(COLOURS.keys() - (_CODEC_ONLY if native else frozenset())))
        raise InputError(
            "photometric",
            f"{tags.PHOTOMETRIC} is {shown}; expected for {kind}: {expected}. Convert the picture.",
        )
    need = 1 if COLOURS[term] in (Colour.GRAY, Colour.PALETTE) else 3
    if samples != need:
        raise InputError(
            "samples", f"{tags.SAMPLES} is {samples}; {term} needs {need}. Export the file again."
        )
    return term


def _bits(top: Fields, allocated: int, stored: int) -> tuple[int, tuple[str, ...]]:
    if allocated not in (8, 16):
        raise InputError(
            "bits-allocated",
            f"{tags.BITS_ALLOCATED} is {allocated}; medge reads 8 and 16. Convert the picture.",
        )
    if not 1 <= stored <= allocated:
        raise InputError(
            "bits-conflict",
            f"{tags.BITS_STORED} is {stored}; expected 1 to {allocated} (allocated).",
        )
    high = top.integer(tags.HIGH_BIT)
    if high is None:
        return stored - 1, ("high-bit-assumed",)
    if not stored - 1 <= high < allocated:
        raise InputError(
            "bits-conflict",
            f"{tags.HIGH_BIT} is {high}; {stored} stored bits in {allocated} allocated ones need "
            f"{stored - 1} to {allocated - 1}.",
        )
    return high, ()


def _planar(top: Fields, samples: int, photometric: str, columns: int, native: bool) -> int:
    if samples == 1:
        return 0
    planar = top.integer(tags.PLANAR)
    if planar is None:
        if native:
            raise missing(tags.PLANAR)
        return 0
    subsampled = native and photometric == "YBR_FULL_422"
    if planar > 1 or (subsampled and planar):
        raise InputError(
            "planar", f"{tags.PLANAR} is {planar}; expected {'0' if subsampled else '0 or 1'}."
        )
    if subsampled and columns % 2:
        raise InputError(
            "planar", f"{tags.COLUMNS} is {columns}; native YBR_FULL_422 needs an even number."
        )
    return planar
