"""Train one network of the zoo: small pictures first, a short finish at full size."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from augmentation import Augmentation
from torch import Tensor, nn
from training import Scores
from zoo_data import Gray, Indices, Labels, ZooData

SETTLING = 256  # pictures from which BatchNorm takes its final mean and variance

# Half of the pictures are shown as they are: at run time nobody shifts or brightens them.
VIEWS = Augmentation(blur=0.3, sharpen=0.3, noise=0.01, erase_ratio=0.2)


@dataclass(frozen=True, slots=True)
class Stage:
    """So many pictures of one side, shown in batches; ``rate`` is the largest step of AdamW.

    The rate rises over the first tenth of the batches and falls as half a cosine.
    """

    side: int
    pictures: int
    rate: float
    batch: int = 32


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the weights, the pictures apart."""

    stages: tuple[Stage, ...]
    decay: float = 0.05
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned from: gray pictures uint8 (n, 28, 28), classes (n,); ``mean`` and ``std``."""

    pictures: Gray
    labels: Labels
    mean: float
    std: float

    def of(self, chosen: Indices) -> Lesson:
        """Return the chosen pictures only."""
        return Lesson(self.pictures[chosen], self.labels[chosen], self.mean, self.std)


def lesson_of(data: ZooData, mean: float, std: float) -> Lesson:
    """Return all pictures of the data set as a lesson."""
    return Lesson(data.pictures, data.labels, mean, std)


def enlarged(pictures: Tensor, side: int) -> Tensor:
    """Enlarge display values 0..1, shape (n, 1, h, w), as the bundle's ``resize`` does.

    Enlarging, torch's plain bilinear filter and the antialiased triangle are the same; then half
    up to a multiple of 1/255 (docs/preprocessing.md, steps 8 and 9).
    """
    larger = nnf.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)
    return (larger * 255 + 0.5).floor().clamp(0, 255) / 255


def as_input(pictures: Tensor, lesson: Lesson, side: int) -> Tensor:
    """Return what the network sees: three equal channels, shape (n, 3, side, side)."""
    gray = (enlarged(pictures, side) - lesson.mean) / lesson.std
    return gray.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def fingerprint(recipe: Recipe, source: str, lesson: Lesson) -> str:
    """Return a digest of all that the weights depend on, this file's code apart."""
    said = json.dumps([source, asdict(recipe), asdict(VIEWS), lesson.mean, lesson.std])
    digest = hashlib.sha256(said.encode())
    digest.update(np.ascontiguousarray(lesson.pictures).tobytes())
    digest.update(lesson.labels.tobytes())
    return digest.hexdigest()


def train(
    network: nn.Module,
    recipe: Recipe,
    lesson: Lesson,
    kept: Path,
    *,
    source: str,
    say: Callable[[str], None],
) -> nn.Module:
    """Train stage by stage; a stage that an earlier run finished is read, not repeated.

    Parameters
    ----------
    kept
        Folder for the weights after each stage. They are taken up only where source, pictures and
        all stages up to there are the same; stages that come after may be others.
    source
        What ``medge export`` calls the network.

    Returns
    -------
    torch.nn.Module
        The network in evaluation mode, BatchNorm settled on plain pictures of the last side.
    """
    kept.mkdir(parents=True, exist_ok=True)
    network.to(memory_format=torch.channels_last)
    marks = [
        fingerprint(replace(recipe, stages=recipe.stages[: count + 1]), source, lesson)
        for count in range(len(recipe.stages))
    ]
    done = _resume(network, kept, marks)
    for number in range(done, len(recipe.stages)):
        stage = recipe.stages[number]
        torch.manual_seed(recipe.seed * 1000 + number)  # dropout draws from torch's own lot
        start = time.perf_counter()
        loss = _teach(network, recipe, stage, lesson, number)
        settle(network, lesson, stage.side, recipe.seed)
        _keep(network, kept / f"stage-{number}.pt", marks[number])
        seconds = time.perf_counter() - start
        say(f"stage {number}, side {stage.side}: {seconds:.0f} s, last losses {loss:.3f}")
    return network.eval()


def settle(network: nn.Module, lesson: Lesson, side: int, seed: int) -> None:
    """Set BatchNorm's mean and variance to what it meets on plain pictures of this side.

    Their running values lag in a training of a few hundred steps (Izmailov et al. 2018,
    arXiv:1803.05407, section 3, do the same after averaging weights).
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    order = np.random.default_rng(seed).permutation(len(lesson.labels))[:SETTLING]
    with torch.no_grad():
        for part in np.array_split(order, max(1, len(order) // 32)):
            network(as_input(_display(lesson, part), lesson, side))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def scores_of(network: nn.Module, lesson: Lesson, side: int) -> Scores:
    """Return the logits of every picture, shape (n, classes)."""
    with torch.inference_mode():
        parts = np.array_split(np.arange(len(lesson.labels)), max(1, len(lesson.labels) // 16))
        answers = [network(as_input(_display(lesson, part), lesson, side)) for part in parts]
    return torch.cat(answers).double().numpy()


def _teach(network: nn.Module, recipe: Recipe, stage: Stage, lesson: Lesson, number: int) -> float:
    """Show one stage's pictures; return the mean loss of the last tenth of the batches."""
    steps = max(1, stage.pictures // stage.batch)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=stage.rate, weight_decay=recipe.decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step, steps))
    network.train()
    losses = []
    for pictures, labels in _batches(lesson, stage, steps, (recipe.seed, number)):
        optimiser.zero_grad(set_to_none=True)
        loss = nnf.cross_entropy(network(as_input(pictures, lesson, stage.side)), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


def pace(step: int, steps: int) -> float:
    """Return which part of the rate a step takes: up over a tenth, down as half a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def _batches(
    lesson: Lesson, stage: Stage, steps: int, seed: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches in shuffled rounds; in each, half of the pictures are random views."""
    lot = np.random.default_rng(seed)
    random = torch.Generator().manual_seed(int(lot.integers(2**31)))
    waiting: npt.NDArray[np.int64] = np.zeros(0, np.int64)
    for _ in range(steps):
        while len(waiting) < stage.batch:
            waiting = np.concatenate((waiting, lot.permutation(len(lesson.labels))))
        chosen, waiting = waiting[: stage.batch], waiting[stage.batch :]
        pictures = _display(lesson, chosen)
        views = stage.batch // 2
        pictures[:views] = VIEWS(pictures[:views], random)
        yield pictures, torch.from_numpy(lesson.labels[chosen])


def _display(lesson: Lesson, chosen: Indices) -> Tensor:
    return torch.from_numpy(lesson.pictures[chosen])[:, None].float() / 255


def _keep(network: nn.Module, path: Path, mark: str) -> None:
    """Write the weights so that a run that is stopped meanwhile leaves none or all of them."""
    unfinished = path.with_suffix(".part")
    torch.save({"mark": mark, "weights": network.state_dict()}, unfinished)
    unfinished.replace(path)


def _resume(network: nn.Module, kept: Path, marks: Sequence[str]) -> int:
    """Load the latest finished stage of this very training; return how many stages are done."""
    for number in reversed(range(len(marks))):
        path = kept / f"stage-{number}.pt"
        if path.is_file():
            found = torch.load(path, weights_only=True, mmap=True)
            if found["mark"] == marks[number]:
                network.load_state_dict(found["weights"])
                return number + 1
    return 0
