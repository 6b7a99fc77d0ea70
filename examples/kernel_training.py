"""Fit kernel machines: main components of scattering, then one linear system."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from augmentation import Augmentation
from scattering import KernelMachine, build
from torch import Tensor
from training import TrainingSet


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a kernel machine, the pictures apart.

    Learned from are ``views`` random views of every picture and, if ``plain``, the picture itself
    and its mirror image. Without them the machine cannot lean on what a scanner does to a picture.
    ``width`` is the kernel's exponent for two pictures as far apart as the components' total
    variance; ``ridge`` the penalty, in parts of a picture. Every class weighs the same. ``gain``
    multiplies the scores, to bring the temperature near 1.
    """

    components: int = 200
    width: float = 0.5
    ridge: float = 1.0
    plain: bool = True
    views: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    gain: float = 3.0
    seed: int = 0


def fit(recipe: Recipe, pictures: TrainingSet) -> KernelMachine:
    """Return a machine in evaluation mode; equal seeds and pictures give equal weights."""
    torch.set_num_threads(1)  # sums are then made in one order, whatever the number of processors
    random = torch.Generator().manual_seed(recipe.seed)
    shown = [pictures.pictures, pictures.pictures.flip(3)] if recipe.plain else []
    shown += [recipe.augmentation(pictures.pictures, random) for _ in range(recipe.views)]
    labels = torch.from_numpy(pictures.labels).repeat(len(shown))
    side = pictures.pictures.shape[-1]
    machine = build(len(labels), recipe.components, pictures.classes, side).eval()
    with torch.inference_mode():
        parts = ((torch.cat(shown) - pictures.mean) / pictures.std).split(256)
        features = torch.cat([machine.scattering(part) for part in parts]).double()
    weight, bias = main_components(features, recipe.components, recipe.width)
    places = features @ weight.T + bias
    head, offset = ridge_regression(places, labels, pictures.classes, recipe.ridge)
    _fill(machine.project, weight, bias)
    _fill(machine.centres, 2 * places, -(places**2).sum(1))
    _fill(machine.head, recipe.gain * head, recipe.gain * offset)
    return machine


def main_components(features: Tensor, count: int, width: float) -> tuple[Tensor, Tensor]:
    """Return weight (count, features) and bias (count,) of the standardised main components.

    They are scaled so that their variances add up to ``width``.
    """
    mean, std = features.mean(0), features.std(0, correction=0)
    standard = (features - mean) / std
    variances, directions = torch.linalg.eigh(standard.T @ standard / len(standard))
    chosen = directions.flip(1)[:, :count].T
    # The sign of an eigenvector is arbitrary: its largest entry is made positive.
    largest = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
    weight = chosen * largest.sign() * (width / variances.flip(0)[:count].sum()).sqrt() / std
    return weight, -weight @ mean


def ridge_regression(
    places: Tensor, labels: Tensor, classes: int, ridge: float
) -> tuple[Tensor, Tensor]:
    """Fit +1 for a picture's own class and -1 for every other, all classes of equal weight.

    Returns the weight of each place's kernel, shape (classes, n), and the offsets (classes,).
    """
    share = labels.bincount(minlength=classes).double() / len(labels)
    kernel = torch.exp(-(torch.cdist(places, places) ** 2))
    wanted = 2.0 * torch.eye(classes, dtype=torch.float64)[labels] - 1
    offset = 2.0 / classes - 1  # the mean of what is wanted, were the classes equally frequent
    # A frequent class is fitted less closely, picture by picture.
    system = kernel + torch.diag(ridge * classes / 2 * share[labels])
    weights = torch.linalg.solve(system, wanted - offset)
    return weights.T, torch.full((classes,), offset, dtype=torch.float64)


def _fill(layer: torch.nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
