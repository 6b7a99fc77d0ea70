"""Pictures, small networks and refusals for the tests of quantization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medge.errors import MedgeError


@contextmanager
def refused(kind: type[MedgeError], rule: str) -> Iterator[None]:
    """Expect an error of one kind and rule."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.rule == rule


def pictures(folder: Path, count: int, *, side: int = 8, seed: int = 0) -> Path:
    """Write noisy PNG files of different brightness and contrast into a new folder."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        low, high = np.sort(random.integers(0, 256, 2))
        pixels = random.integers(low, high + 1, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.png")
    return folder
