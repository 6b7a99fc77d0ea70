"""Pictures, small networks and refusals for the tests of quantization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medge.bench.binomial import lower, upper
from medge.engine.evidence import Check, Drift, Margins
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


def judged(precision: str, flips: int, cases: int = 1000) -> Drift:
    """A verdict on flips alone, as a real judge would give it at its margins."""
    high, low = upper(flips, cases, 0.95), lower(flips, cases, 0.95)
    verdict = "pass" if high <= 0.01 else "fail" if low > 0.01 else "inconclusive"
    check = Check(
        name="flips",
        value=flips / cases,
        low=low,
        high=high,
        margin=0.01,
        cases=cases,
        missing_cases=0 if verdict != "inconclusive" else 100,
        verdict=verdict,  # type: ignore[arg-type]
    )
    return Drift(
        verdict=verdict,  # type: ignore[arg-type]
        precision=precision,
        against="fp32",
        backend="onnxruntime",
        backend_version="1",
        tier="test",
        cases=cases,
        flips=flips,
        labelled=False,
        margins=Margins(),
        checks=(check,),
        data_sha256="0" * 64,
    )
