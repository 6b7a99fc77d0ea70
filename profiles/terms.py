"""Words and numbers that every schema of medge uses alike, and how JSON is read into one."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]

T = TypeVar("T")


def read_json(raw: bytes, kind: type[T]) -> T:
    """Read JSON strictly into a struct; every fault is a ``msgspec.DecodeError``."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("The text is not UTF-8") from error
    except RecursionError as error:
        raise msgspec.DecodeError("The text is nested too deeply") from error
