"""Samples: prepared pictures as a query sample library holds them, all in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medge.bench.profile.loaded import Loaded
from medge.engine.backends import Tensor

MAX_BYTES = 1 << 30  # 1024 pictures of 3 x 224 x 224 in float32 are 0.6 GB


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures that a network can be asked about, by number.

    Attributes
    ----------
    tensors
        For each input an array (n, ...); no two rows share memory.
    feeds
        The same, one mapping of a batch of one for each picture.
    golden
        The first so many are the bundle's golden cases, whose answers are known.
    told
        Where they came from.
    """

    tensors: dict[str, Tensor]
    feeds: tuple[dict[str, Tensor], ...]
    golden: int
    told: str

    def __len__(self) -> int:
        return len(self.feeds)


def samples_of(loaded: Loaded, files: Sequence[bytes], wanted: int) -> Samples:
    """Return the golden cases, the pictures of some files, and copies of both until all are there.

    A copy is rolled: its values are those of a picture, each moved on by so many places that no two
    copies are alike. It costs a network what the picture costs, and lies elsewhere in memory, so
    that a cache holds no more of it than it would of so many pictures.

    Parameters
    ----------
    files
        Paths as the system's own bytes. Frames that are refused are left out, and counted.
    wanted
        How many pictures there should be; fewer where they would need more than ``MAX_BYTES``.
    """
    golden = loaded.bundle.golden()
    name, first = next(iter(golden.inputs.items()))
    taken, refused = _pictures(loaded, files)
    own = np.concatenate([first, *taken]) if taken else first
    count = max(len(own), min(wanted, MAX_BYTES // first[0].nbytes))
    tensor = np.empty((count, *first.shape[1:]), first.dtype)
    tensor[: len(own)] = own
    copies = -(-count // len(own))
    step = max(1, first[0].size // copies)
    for row in range(len(own), count):
        tensor[row] = np.roll(own[row % len(own)], row // len(own) * step)
    told = f"{golden.cases} golden cases"
    told += f", {len(taken)} of your pictures" if files else ""
    told += f" ({refused} refused)" if refused else ""
    told += f", {count - len(own)} rolled copies" if count > len(own) else ""
    feeds = tuple({name: tensor[row : row + 1]} for row in range(count))
    return Samples({name: tensor}, feeds, golden.cases, told)


def _pictures(loaded: Loaded, files: Sequence[bytes]) -> tuple[list[Tensor], int]:
    """Prepare the frames of all files; return them, and how many were refused."""
    taken: list[Tensor] = []
    refused = 0
    for file in files:
        for fed in loaded.classifier.feed.file(Path(os.fsdecode(file)), loaded.asked):
            if fed.fault is None:
                taken.append(next(iter(fed.feeds.values())).copy())
            else:
                refused += 1
    return taken, refused
