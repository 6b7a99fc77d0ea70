"""A network small enough to train and export in a test, named as ``zoo_stand_in:build``."""

from __future__ import annotations

from torch import nn


def build(channels: int = 8) -> nn.Module:
    """Two convolutions, BatchNorm, mean over the picture, a linear head of two classes."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 2),
    )
