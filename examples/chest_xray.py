"""Train the demo bundle chest-x-ray on PneumoniaMNIST.

Usage: python examples/chest_xray.py cross-validate|build [--data FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import demo_model
import medmnist_files
from augmentation import Augmentation
from demo_model import Demo, Pictures
from kernel_training import Recipe

from medge.exporters.spec import Spec

# Views only: with the pictures themselves among its centres the machine was better at pictures that
# are as sharp and bright as those it learned from, and far worse at all others.
RECIPE = Recipe(plain=False, views=1, augmentation=Augmentation(erase_ratio=0.2))


def read(folder: Path | None, spec: Spec) -> Pictures:
    """Return the official train and validation splits; 1 is pneumonia, as in the specification."""
    return medmnist_files.as_pictures("pneumoniamnist", folder)


DEMO = Demo(
    name="chest-x-ray",
    recipe=RECIPE,
    alike_above=0.8,
    read=read,
    bundle=demo_model.BUILT_IN / "chest-x-ray.medge",
    disease="pneumonia",
    wanted=0.95,
)

if __name__ == "__main__":
    demo_model.run(DEMO)
