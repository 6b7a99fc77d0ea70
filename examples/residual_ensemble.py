"""The demo models' network: a few small residual networks whose scores are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.short = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, after, h/stride, w/stride), both rounded up."""
        inner = nnf.relu(self.first_norm(self.first(x)))
        return nnf.relu(self.second_norm(self.second(inner)) + self.short(x))


class Member(nn.Module):
    """One small residual network for one-channel pictures of any size.

    ``stem`` and ``stages`` are numbers of channels; ``strides`` are the stem's, then one a stage.
    """

    def __init__(
        self,
        stem: int,
        stages: Sequence[int],
        strides: Sequence[int],
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, stem, 3, strides[0], 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        widths = (stem, *stages)
        self.blocks = nn.Sequential(
            *(Residual(*step) for step in zip(widths, stages, strides[1:], strict=False))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures (n, 1, h, w) to logits (n, classes)."""
        x = self.blocks(nnf.relu(self.stem_norm(self.stem(x))))
        scores: Tensor = self.head(self.dropout(x.mean((2, 3))))
        return scores


class Ensemble(nn.Module):
    """Members that were trained apart and answer together, in one graph."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the members' logits, shape (n, classes)."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def build(
    members: int, stem: int, stages: Sequence[int], strides: Sequence[int], classes: int
) -> Ensemble:
    """Build the untrained network that ``medge export residual_ensemble:build`` fills."""
    return Ensemble([Member(stem, stages, strides, classes) for _ in range(members)])
