"""Pictures, labels and bundles for drift: small networks whose differences are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bundles import tiny_graph
from PIL import Image

from medge.bench.decisions import Answers, Decisions, Refusal

SIZE = 8


def mean_graph(*, offset: float = 0.0, gain: float = 8.0, classes: int = 2) -> bytes:
    """A network that scores a picture's mean brightness alone.

    The prepared values x are (v / 255 - 0.5) / 0.25. Logit of class 0 is 0, of class 1
    ``gain * mean(x) + offset``, of any further class -20: so class 1 wins when the mean of a
    constant picture is above 0.5 - 0.25 * offset / gain.
    """
    conv = np.zeros((4, 1, 3, 3), np.float32)
    conv[0, 0, 1, 1], conv[1, 0, 1, 1] = 1.0, -1.0  # two halves, since a ReLU follows
    head = np.zeros((4, classes), np.float32)
    head[0, 1], head[1, 1] = gain, -gain
    bias = np.full(classes, -20.0, np.float32)
    bias[:2] = 0.0, offset
    weights = {"conv.w": conv, "conv.b": np.zeros(4, np.float32), "head.w": head, "head.b": bias}
    return tiny_graph(size=SIZE, classes=classes, weights=weights)


def write_pictures(folder: Path, levels: Sequence[int]) -> list[str]:
    """Write a constant picture for each gray level; one pixel tells equal ones apart."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, level in enumerate(levels):
        pixels = np.full((SIZE, SIZE), level, np.uint8)
        pixels[number % SIZE, number // SIZE % SIZE] ^= 1 + number // SIZE**2
        names.append(f"{number:04}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def write_labels(path: Path, rows: Sequence[Sequence[str]], header: str = "file,scores") -> Path:
    """Write a label file."""
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]), encoding="utf-8")
    return path


def decisions(
    scores: Mapping[str, npt.ArrayLike],
    *,
    file: Sequence[int] | None = None,
    invalid: Sequence[int] = (),
    refused: Sequence[Refusal] = (),
    threshold: float = 0.5,
) -> Decisions:
    """Decisions from probabilities, output by output; a class is chosen from ``threshold`` on."""
    tables = {name: np.array(values, dtype=np.float64) for name, values in scores.items()}
    frames = len(next(iter(tables.values())))
    bad = np.isin(np.arange(frames), invalid)
    files = np.arange(frames) if file is None else np.array(file)
    outputs = {}
    for name, table in tables.items():
        known = np.where(bad[:, None], np.nan, table)
        chosen = np.nan_to_num(known) >= threshold
        outputs[name] = Answers(known.astype(np.float32), known, chosen)
    numbers = [int(np.sum(files[:row] == files[row])) for row in range(frames)]
    return Decisions(
        files=tuple(Path(f"{index}.png") for index in range(int(files.max()) + 1)),
        file=files.astype(np.int32),
        frame=np.array(numbers, dtype=np.int32),
        invalid=tuple("not-finite-output" if flag else "" for flag in bad),
        outputs=outputs,
        refused=tuple(refused),
    )
