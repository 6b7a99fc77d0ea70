"""Real pictures for parity: read, decoded and prepared as the bundle will do it; none is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.frames.find import find
from medge.engine.frames.study import Asked, open_study
from medge.engine.scope import missing_tags
from medge.errors import InputError, UsageError
from medge.exporters.network import Tensor

if TYPE_CHECKING:
    from medge.exporters.spec import Spec

MOST_FRAMES = 32
MOST_OF_ONE_FILE = 4


def sample_batch(folder: Path, spec: Spec) -> tuple[Tensor, str]:
    """Prepare up to 32 frames of the files in a folder, at most 4 of each file.

    Returns
    -------
    tuple
        The batch (n, ...) as the network takes it, and one sentence on what was used and refused.

    Raises
    ------
    UsageError
        Rule ``samples``: no frame of the folder can be used; says by which rules.
    """
    from medge.engine.preprocess import Preprocessor

    prepare = Preprocessor(spec.input)
    asked = Asked(gray_only=prepare.wants_gray)
    tensors: list[Tensor] = []
    refused: Counter[str] = Counter()
    files = 0
    for path in find([str(folder)], None):
        if len(tensors) >= MOST_FRAMES:
            break
        files += 1
        try:
            with open_study(path, asked) as study:
                missing_tags(study.context, spec.scope)
                for index in spread(study.frame_count, MOST_FRAMES - len(tensors)):
                    tensor = np.zeros(spec.input.shape, spec.input.dtype)
                    prepare.prepare(study.frame(index), tensor)
                    tensors.append(tensor)
        except InputError as error:
            refused[error.rule] += 1
    told = ", ".join(f"{rule} {count}" for rule, count in sorted(refused.items()))
    if not tensors:
        raise UsageError(
            "samples",
            f"{folder}: none of {files} pictures can be used{f' ({told})' if told else ''}. Name a "
            "folder with pictures that this bundle accepts.",
        )
    note = f"parity on {len(tensors)} real frames of {files} files"
    return np.stack(tensors), f"{note}; refused: {told}" if told else note


def spread(count: int, room: int) -> Iterator[int]:
    """Yield a few frames of a cine, evenly spaced and in order."""
    taken = min(count, room, MOST_OF_ONE_FILE)
    return (index * count // taken for index in range(taken))
