"""Judging: whether a candidate decides as the reference does, on the user's pictures."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from medge.bench.candidates import REFERENCE
from medge.bench.drift import Judge
from medge.bench.labels import read_labels
from medge.bench.profile.loaded import Loaded
from medge.engine.evidence import Drift
from medge.engine.manifest import Manifest
from medge.engine.sealed import Candidate
from medge.engine.select import DEFAULT_BACKEND
from medge.errors import UsageError

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


def check_labels(manifest: Manifest, data: Path | None, labels: Path | None) -> None:
    """Refuse labels that cannot judge before anything is measured.

    Raises
    ------
    UsageError
        Rule ``data``: what they label is no folder; or the label file breaks a rule of its own.
    """
    if labels is None:
        return
    if data is None or not data.is_dir():
        raise UsageError(
            "data", "A label file names the pictures of a folder. Name that folder as the data."
        )
    read_labels(labels, data, manifest.outputs)


def is_yardstick(candidate: Candidate) -> bool:
    """Whether it is what others are judged against, so that there is nothing to judge."""
    return candidate.backend == DEFAULT_BACKEND and (
        candidate.variant == candidate.precision == REFERENCE
    )
