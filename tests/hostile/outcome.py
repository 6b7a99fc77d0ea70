"""Read one damaged file to its end and say what came of it."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from hostile.seeds import SENTINEL
from stored_values import sample_values

from medge.engine.frames.study import Asked, open_study
from medge.errors import MedgeError

SLOW_S = 2.0
ASKED = Asked(allow_gdcm=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``kind``: "read", or the rule of a refusal, or "untyped NAME", "leak", "slow"."""

    kind: str
    digests: tuple[str, ...]  # of each frame's shape, photometric interpretation and sample values
    seconds: float

    @property
    def is_typed(self) -> bool:
        """Whether medge kept its promise."""
        return not self.kind.startswith(("untyped", "leak", "slow"))


def outcome_of(data: bytes, path: Path, asked: Asked = ASKED) -> Outcome:
    """Write the file, read all its frames, and never let an exception escape."""
    path.write_bytes(data)
    begin = time.monotonic()
    digests: list[str] = []
    kind = "read"
    try:
        with open_study(path, asked) as study:
            for index in range(study.frame_count):
                frame = study.frame(index)
                values = sample_values(frame)
                shape = repr((values.shape, frame.meaning.photometric)).encode()
                digests.append(hashlib.sha256(shape + values.tobytes()).hexdigest())
    except MedgeError as error:
        kind = f"leak {error.rule}" if SENTINEL in str(error) else error.rule
    except BaseException as error:  # the harness reports what must not happen
        if isinstance(error, KeyboardInterrupt):
            raise
        kind = f"untyped {type(error).__name__}"
    seconds = time.monotonic() - begin
    if seconds > SLOW_S and not kind.startswith("untyped"):
        kind = f"slow {kind}"
    os.unlink(path)
    return Outcome(kind, tuple(digests), seconds)
