"""Seeded training of small networks on a CPU: equal seeds and pictures give equal weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from augmentation import Augmentation
from residual_ensemble import Ensemble, Member
from torch import Tensor, nn

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a training, the pictures apart."""

    source: ClassVar[str] = "residual_ensemble:build"

    stem: int
    stages: tuple[int, ...]
    strides: tuple[int, ...]
    members: int
    epochs: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    dropout: float = 0.0
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    mixing: float = 0.0  # Beta parameter of mixup (arXiv:1710.09412); 0 mixes nothing
    average_epochs: float = 4.0  # time constant of the averaged weights
    seed: int = 0

    def train(self, sets: Sequence[TrainingSet], processes: int) -> list[Ensemble]:
        """Train one ensemble on each set, every member from its own seed.

        The last epoch is always taken: nothing is chosen on the pictures that judge the result.
        """
        jobs = [(self, each, self.seed + n) for each in sets for n in range(self.members)]
        # One thread each: sums are then made in one order, whatever the number of processors.
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            members = list(pool.map(_train_member, *zip(*jobs, strict=True)))
        starts = range(0, len(members), self.members)
        return [Ensemble(members[at : at + self.members]).eval() for at in starts]

    def arguments(self, network: nn.Module) -> dict[str, object]:
        """Return what ``build`` needs for this network."""
        return {
            "members": self.members,
            "stem": self.stem,
            "stages": list(self.stages),
            "strides": list(self.strides),
        }


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Pictures to learn from.

    ``pictures`` hold display values 0..1, shape (n, 1, h, w); ``labels`` 0..classes-1, shape (n,).
    The network sees ``(pictures - mean) / std``, as the bundle's manifest says.
    """

    pictures: Tensor
    labels: Labels
    classes: int
    mean: float
    std: float

    def part(self, chosen: npt.NDArray[np.bool_]) -> TrainingSet:
        """Return the chosen pictures, mask of shape (n,)."""
        pictures = self.pictures[torch.from_numpy(chosen)]
        return TrainingSet(pictures, self.labels[chosen], self.classes, self.mean, self.std)


def logits(network: nn.Module, pictures: TrainingSet) -> Scores:
    """Return a network's logits for pictures, shape (n, classes)."""
    with torch.inference_mode():
        parts = pictures.pictures.split(256)
        answers = [network((part - pictures.mean) / pictures.std) for part in parts]
    return torch.cat(answers).double().numpy()


def probabilities(scores: Scores, temperature: float = 1.0) -> Scores:
    """Softmax of logits divided by a temperature, along the last axis."""
    scaled = scores / temperature
    raised = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True), np.float64)


def fit_temperature(scores: Scores, labels: Labels) -> float:
    """Return the temperature 0.1..10 under which the labels are most likely.

    Guo et al. 2017 (arXiv:1706.04599). The likelihood has one maximum in 1/temperature, so that a
    golden-section search finds it.
    """

    def loss(log_temperature: float) -> float:
        chosen = probabilities(scores, math.exp(log_temperature))[np.arange(len(labels)), labels]
        return -float(np.log(np.maximum(chosen, 1e-300)).mean())

    low, high = math.log(0.1), math.log(10.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _train_member(recipe: Recipe, pictures: TrainingSet, seed: int) -> Member:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    member = Member(recipe.stem, recipe.stages, recipe.strides, pictures.classes, recipe.dropout)
    member = member.to(memory_format=torch.channels_last).train()
    targets = nnf.one_hot(torch.from_numpy(pictures.labels), pictures.classes).float()
    targets = targets * (1 - recipe.smoothing) + recipe.smoothing / pictures.classes
    steps = recipe.epochs * (len(targets) // recipe.batch)
    optimizer = torch.optim.AdamW(
        member.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    average = _Average(member, recipe.average_epochs * steps / recipe.epochs)
    for step, chosen in enumerate(_batches(recipe, len(targets), random)):
        views = recipe.augmentation(pictures.pictures[chosen], random)
        views, wanted = _mix(views, targets[chosen], recipe.mixing, random)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _rate(step / steps)
        loss = nnf.cross_entropy(member((views - pictures.mean) / pictures.std), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.take(member)
    average.give(member)
    return member.eval()


def _batches(recipe: Recipe, count: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield the places of whole batches; each epoch has its own order and its own remainder."""
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=random)
        yield from order[: count // recipe.batch * recipe.batch].split(recipe.batch)


def _rate(progress: float) -> float:
    """Rise over the first tenth, then fall along a cosine to nothing."""
    if progress < 0.1:
        return progress / 0.1
    return (1 + math.cos(math.pi * (progress - 0.1) / 0.9)) / 2


def _mix(
    pictures: Tensor, targets: Tensor, mixing: float, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    if mixing == 0:
        return pictures, targets
    # A Beta(a, a) number is x / (x + y) of two Gamma(a) numbers.
    gamma = torch._standard_gamma(torch.full((2, len(pictures)), mixing), generator=random)
    share = gamma[0] / gamma.sum(0).clamp_min(1e-12)
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(len(pictures), generator=random)
    wide = share[:, None, None, None]
    mixed = pictures * wide + pictures[other] * (1 - wide)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


class _Average:
    """Running average of weights and of batch statistics: steadier than the last step's."""

    def __init__(self, member: nn.Module, steps: float) -> None:
        self.keep = 1 - 1 / max(steps, 1.0)
        self.taken = 0
        self.state = {k: v.detach().clone() for k, v in member.state_dict().items()}

    def take(self, member: nn.Module) -> None:
        self.taken += 1
        # Early on the average must not remember the random start.
        keep = min(self.keep, 1 - 1 / self.taken)
        for name, value in member.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)

    def give(self, member: nn.Module) -> None:
        member.load_state_dict(self.state)
