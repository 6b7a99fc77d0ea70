"""Catch a refusal and hold it to what every refusal promises."""

from __future__ import annotations

import time
from pathlib import Path

import dicom_files as made
import pytest

from medge.engine.frames.study import Asked, open_study
from medge.errors import InputError

SENTINELS = ("Sentinel", "SENTINEL-ID", "Patient^")


def read_all(path: Path, asked: Asked | None = None) -> None:
    """Open a study and read every frame."""
    with open_study(path, asked) as study:
        for index in range(study.frame_count):
            assert study.frame(index).stored.size


def refusal(path: Path, asked: Asked | None = None) -> InputError:
    """Read it all; the refusal must come within 2 s, with its code, and name nobody."""
    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        read_all(path, asked)
    assert time.monotonic() - begin < 2
    error = caught.value
    assert error.exit_code == 3
    assert str(error).startswith(f"E3 {error.rule}: ")
    assert not any(word in str(error) for word in SENTINELS)
    return error


def write(path: Path, *parts: bytes, syntax: str | None = "explicit") -> Path:
    """Write file meta information and raw elements."""
    path.write_bytes(made.meta(syntax) + b"".join(parts))
    return path


def us(tag: int, value: int) -> bytes:
    """One US element."""
    return made.element(tag, "US", made.words(value))
