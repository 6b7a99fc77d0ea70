"""Judging: whether a candidate decides as the reference does, on the user's pictures."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from medge.bench.candidates import REFERENCE
from medge.bench.drift import Judge
from medge.bench.profile.loaded import Loaded
from medge.engine.evidence import Drift
from medge.engine.sealed import Candidate
from medge.engine.select import DEFAULT_BACKEND

LIMIT_S = 24 * 3600.0  # as many pictures as there are; Ctrl-C ends it


class Judging(Struct, frozen=True):
    """The folder of the pictures and the label file, as the system's own bytes."""

    data: bytes
    labels: bytes | None


def judge(loaded: Loaded, asked: Judging) -> Drift:
    """Judge what is loaded, in its own process: a runtime that crashes ends no profile."""
    labels = None if asked.labels is None else Path(os.fsdecode(asked.labels))
    on_pictures = Judge(loaded.bundle, Path(os.fsdecode(asked.data)), labels)
    return on_pictures.judge(loaded.choice).drift


def is_yardstick(candidate: Candidate) -> bool:
    """Whether it is what others are judged against, so that there is nothing to judge."""
    return candidate.backend == DEFAULT_BACKEND and (
        candidate.variant == candidate.precision == REFERENCE
    )
