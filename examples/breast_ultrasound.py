"""Train the demo bundle breast-ultrasound on BreastMNIST.

Usage: python examples/breast_ultrasound.py cross-validate|build [--data FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import demo_model
import medmnist_files
from augmentation import Augmentation
from demo_model import Demo, Pictures
from kernel_training import Recipe

from medge.exporters.spec import Spec

# Sharpness stays as it is: how blurred an outline is says much about a lesion.
RECIPE = Recipe(
    components=150,
    ridge=3.0,
    views=4,
    augmentation=Augmentation(
        turn_degrees=8,
        shift_ratio=0.05,
        scale_ratio=0.08,
        gain=0.2,
        offset=0.08,
        gamma=0.2,
        blur=0.0,
        sharpen=0.0,
        noise=0.0,
        erase_ratio=0.3,
    ),
)


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
