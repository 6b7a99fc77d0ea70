"""The zoo's networks, and how long each is trained at which side."""

from __future__ import annotations

from dataclasses import dataclass

from zoo_training import Recipe, Stage


@dataclass(frozen=True, slots=True)
class Member:
    """One network of the zoo: what ``medge export`` calls it, and how it is trained.

    ``arguments`` of its constructor are added as TOML; ``aim`` is the smallest AUC on the
    validation split with which it is worth exporting.
    """

    source: str
    recipe: Recipe
    arguments: str = ""
    aim: float = 0.95

    @property
    def side(self) -> int:
        """Side of the bundle's input, that of the last stage."""
        return self.recipe.stages[-1].side


ZOO = {  # in the order of training
    "resnet18": Member(
        "torchvision:resnet18",
        Recipe((Stage(64, 8000, 1e-3), Stage(128, 1600, 5e-4), Stage(224, 960, 3e-4, 16))),
    ),
    "mobilenet-v2": Member(
        "torchvision:mobilenet_v2",
        Recipe((Stage(64, 14000, 2e-3), Stage(128, 3000, 1e-3), Stage(224, 1600, 5e-4, 16))),
    ),
    "efficientnet-b0": Member(
        "torchvision:efficientnet_b0",
        Recipe((Stage(64, 11200, 2e-3), Stage(128, 1920, 1e-3), Stage(224, 960, 5e-4, 16))),
    ),
    "resnet50": Member(
        "torchvision:resnet50",
        Recipe((Stage(64, 6400, 1e-3), Stage(128, 960, 5e-4), Stage(224, 400, 3e-4, 16))),
    ),
    "densenet121": Member(
        "torchvision:densenet121",
        Recipe((Stage(64, 6400, 1e-3), Stage(128, 960, 5e-4), Stage(224, 400, 3e-4, 16))),
    ),
    "vit-small": Member(
        "timm:vit_small_patch16_224",
        Recipe((Stage(64, 8000, 5e-4), Stage(112, 960, 3e-4), Stage(224, 192, 2e-4, 16))),
        aim=0.90,
    ),
    "inception-v3": Member(
        "torchvision:inception_v3",
        Recipe(
            (
                Stage(80, 3840, 1e-3),
                Stage(160, 480, 5e-4),
                Stage(299, 192, 3e-4, 16),
                Stage(299, 480, 5e-4, 16),
            )
        ),
        arguments="aux_logits = false",  # its auxiliary classifier needs more than 80 pixels
    ),
    "vgg16": Member(
        "torchvision:vgg16",
        Recipe(
            (
                Stage(32, 4800, 2e-4),
                Stage(64, 1920, 1e-4, 16),
                Stage(112, 1440, 1e-4, 16),
                Stage(224, 320, 1e-4, 16),
                Stage(224, 800, 1e-4, 8),
            )
        ),
    ),
}
