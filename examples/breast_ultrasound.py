"""Train the demo bundle breast-ultrasound on BreastMNIST.

Usage: python examples/breast_ultrasound.py cross-validate|build [--data FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import demo_model
import medmnist_files
from demo_model import Demo, Pictures
from kernel_training import KernelRecipe

from medge.exporters.spec import Spec

RECIPE = KernelRecipe()


def read(folder: Path | None, spec: Spec) -> Pictures:
    """Return the official train and validation splits; 0 is malignant, as in the specification."""
    return medmnist_files.as_pictures("breastmnist", folder)


DEMO = Demo(
    name="breast-ultrasound",
    recipe=RECIPE,
    alike_above=0.6,
    read=read,
    bundle=demo_model.BUILT_IN / "breast-ultrasound.medge",
    disease="malignant",
)

if __name__ == "__main__":
    demo_model.run(DEMO)
