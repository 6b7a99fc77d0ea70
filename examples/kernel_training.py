"""Fit kernel machines: main components of scattering, then one linear system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from augmentation import Augmentation
from scattering import KernelMachine, build
from torch import Tensor
from training import TrainingSet

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KernelRecipe:
    """All that decides a kernel machine, the pictures apart.

    Learned from are ``views`` random views of every picture and, if ``plain``, the picture itself
    and its mirror image. Without them the machine cannot lean on what a scanner does to a picture.
    ``width`` is the kernel's exponent for two pictures as far apart as the components' total
    variance; ``ridge`` the penalty, in parts of a picture. Every class weighs the same.
    """

    source: ClassVar[str] = "scattering:build"

    components: int = 200
    width: float = 0.5
    ridge: float = 1.0
    plain: bool = True
    views: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    gain: float = 3.0  # of the scores: brings the temperature near 1
    seed: int = 0

    def train(self, sets: Sequence[TrainingSet], processes: int) -> list[KernelMachine]:
        """Fit one machine to each set; takes seconds, so that ``processes`` are not needed."""
        torch.set_num_threads(1)
        return [self._fit(each) for each in sets]

    def arguments(self, network: torch.nn.Module) -> dict[str, object]:
        """Return what ``build`` needs for this network."""
        assert isinstance(network, KernelMachine)
        return {"centres": network.centres.out_features, "components": self.components}

    def _fit(self, pictures: TrainingSet) -> KernelMachine:
        random = torch.Generator().manual_seed(self.seed)
        shown = [pictures.pictures, pictures.pictures.flip(3)] if self.plain else []
        shown += [self.augmentation(pictures.pictures, random) for _ in range(self.views)]
        labels = np.tile(pictures.labels, len(shown))
        machine = build(len(labels), self.components, pictures.classes).eval()
        with torch.inference_mode():
            parts = ((torch.cat(shown) - pictures.mean) / pictures.std).split(256)
            features = torch.cat([machine.scattering(part) for part in parts]).double().numpy()
        weight, bias = main_components(features, self.components, self.width)
        places = features @ weight.T + bias
        head, offset = ridge_regression(places, labels, pictures.classes, self.ridge)
        _fill(machine.project, weight, bias)
        _fill(machine.centres, 2 * places, -(places**2).sum(1))
        _fill(machine.head, self.gain * head, self.gain * offset)
        return machine


def main_components(features: Rows, count: int, width: float) -> tuple[Rows, Rows]:
    """Return weight (count, features) and bias (count,) of the standardised main components.

    They are scaled so that their variances add up to ``width``.
    """
    mean, std = features.mean(0), features.std(0)
    standard = (features - mean) / std
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    chosen = directions[:, ::-1][:, :count].T
    # The sign of an eigenvector is arbitrary: fixed here, so that equal data give equal weights.
    largest = np.abs(chosen).argmax(1)
    chosen = chosen * np.sign(chosen[np.arange(count), largest])[:, None]
    weight = chosen * np.sqrt(width / variances[::-1][:count].sum()) / std
    return weight, -weight @ mean


def ridge_regression(
    places: Rows, labels: npt.NDArray[np.int64], classes: int, ridge: float
) -> tuple[Rows, Rows]:
    """Fit +1 for a picture's own class and -1 for every other, all classes of equal weight.

    Returns the weight of each place's kernel, shape (classes, n), and the offsets (classes,).
    """
    share = np.bincount(labels, minlength=classes) / len(labels)
    square = (places**2).sum(1)
    kernel = np.exp(2 * places @ places.T - square[:, None] - square[None])
    wanted = 2.0 * np.eye(classes)[labels] - 1
    offset = np.array([wanted[labels == k].mean(0) for k in range(classes)]).mean(0)
    # A frequent class is fitted less closely, picture by picture.
    system = kernel + ridge * np.diag(classes / 2 * share[labels])
    return np.linalg.solve(system, wanted - offset).T, offset


def _fill(layer: torch.nn.Linear, weight: Rows, bias: Rows) -> None:
    layer.load_state_dict({"weight": _single(weight), "bias": _single(bias)})


def _single(values: Rows) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
