"""What a demo model learns from, and how its scores become calibrated probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


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
