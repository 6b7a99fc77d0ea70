"""Cines: multi-frame files replayed at their rate, from the bytes of a frame to its decision."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec import Struct

from medge.bench.profile.loaded import Loaded
from medge.bench.scenario.deadline import Pace, replay, told
from medge.bench.scenario.digest import file_sha256
from medge.bench.scenario.phantom import write_phantom
from medge.bench.sections import Deadline
from medge.engine.decide import decide
from medge.engine.frames.study import open_study
from medge.engine.preprocess import Preprocessor
from medge.engine.scope import missing_tags

WARM_FRAMES = 30  # judged before the first counts; each different frame at least once


class Cine(Struct, frozen=True, kw_only=True):
    """What a worker is asked to replay: a file by its path as the system's own bytes.

    None for a phantom that is made for the bundle.
    """

    pace: Pace
    path: bytes | None = None


class Frames:
    """The frames of one file, each judged from its bytes on; one after the last is the first."""

    def __init__(self, loaded: Loaded, path: Path) -> None:
        spec = loaded.bundle.manifest.inputs[0]
        self._manifest = loaded.bundle.manifest
        self._session = loaded.session
        self._prepare = Preprocessor(spec)
        self._tensor = np.zeros((1, *spec.shape), spec.dtype)
        self._feeds = {spec.name: self._tensor}
        self._study = open_study(path, loaded.asked)
        try:
            missing_tags(self._study.context, self._manifest.scope)
        except BaseException:  # Ctrl-C too must not leave the file open
            self._study.close()
            raise

    @property
    def count(self) -> int:
        """How many different frames there are."""
        return self._study.frame_count

    def judge(self, frame: int) -> None:
        """Decode, prepare, infer and decide one frame.

        Raises
        ------
        InputError
            The frame is refused, or the network's answer is no decision.
        """
        stored = self._study.frame(frame % self._study.frame_count)
        self._prepare.prepare(stored, self._tensor[0])
        outputs = self._session.infer(self._feeds)
        if self._session.answers:
            decide(outputs, 0, self._manifest)

    def close(self) -> None:
        """Release the file."""
        self._study.close()


def replay_cine(loaded: Loaded, asked: Cine) -> Deadline:
    """Replay a cine with real arrival times.

    Python's garbage collector stays on, as at the bedside. Every different frame was judged before
    the first counts, so that a refusal shows at once and nothing is cold.

    Raises
    ------
    InputError
        A frame is refused.
    UsageError
        Rule ``phantom``: no picture can be made for this bundle.
    """
    if asked.path is not None:
        path = Path(os.fsdecode(asked.path))
        return _replayed(loaded, path, asked.pace, "")
    with tempfile.TemporaryDirectory(prefix="medge-cine-") as folder:
        path = Path(folder) / "phantom.dcm"
        made = write_phantom(path, loaded.bundle.manifest)
        return _replayed(loaded, path, asked.pace, made)


def limit_s(pace: Pace) -> float:
    """Return after how many seconds a replay must be over, or it hangs."""
    return 4.0 * pace.arrival_ns(pace.frames) / 1e9 + 120.0


def _replayed(loaded: Loaded, path: Path, pace: Pace, made: str) -> Deadline:
    frames = Frames(loaded, path)
    try:
        for frame in range(max(WARM_FRAMES, frames.count)):
            frames.judge(frame)
        latency_ns = replay(frames.judge, pace, time.perf_counter_ns, time.sleep)
        return told(latency_ns, pace, made or _named(path, frames.count))
    finally:
        frames.close()


def _named(path: Path, frames: int) -> str:
    """Name a file by its content: its own name may be a patient's."""
    plural = "s" * (frames > 1)
    return f"file of {frames} frame{plural}, SHA-256 {file_sha256(path)[:12]}..."
