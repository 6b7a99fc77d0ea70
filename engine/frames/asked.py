"""What a caller may ask of a study, the budgets that hold, and the shape every study has."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from medge.engine.frames.frame import Context, Frame


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets, checked before anything is allocated. What exceeds one is refused by its name."""

    side: int = 65_534  # rows or columns; 65535 is what a field of ones says
    frame_pixels: int = 2**26
    file_pixels: int = 2**30
    header_bytes: int = 2**26
    inflated_bytes: int = 2**29
    inflate_ratio: int = 100  # beyond inflate_floor_bytes
    inflate_floor_bytes: int = 2**22  # small files of constant pictures deflate better than 100:1
    picture_bytes: int = 2**28  # of a PNG or JPEG file, which is read whole
    fragments: int = 2**21


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of one reading.

    Parameters
    ----------
    gray_only
        The caller needs luminance only, so a decoder may skip colour.
    allow_gdcm
        JPEG Lossless may be decoded, by GDCM in a process of its own.
    partial
        A multi-frame file that is cut short is read up to its last whole frame.
    assume_syntax
        Transfer syntax UID for files that name none; without it such files are refused.
    """

    gray_only: bool = False
    allow_gdcm: bool = False
    partial: bool = False
    assume_syntax: str | None = None
    limits: Limits = Limits()


class Study(Protocol):
    """An open file or array. Frames are read one at a time; ascending order is fastest."""

    @property
    def context(self) -> Context:
        """What the file says it shows."""
        ...

    @property
    def frame_count(self) -> int:
        """Frames that can be read."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts worth knowing about how the file was read, without patient values."""
        ...

    def frame(self, index: int) -> Frame:
        """Read one frame, 0-based; its array is valid until the next call. InputError if bad."""
        ...

    def close(self) -> None:
        """Release the file; frames read before are no longer valid."""

    def __enter__(self) -> Study: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
