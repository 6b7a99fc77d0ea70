"""Train the demo bundle chest-x-ray on PneumoniaMNIST.

Usage: python examples/chest_xray.py cross-validate|build [--data FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import demo_model
import medmnist_files
from demo_model import Demo, Pictures
from training import Recipe

from medge.exporters.spec import Spec

RECIPE = Recipe(stem=16, stages=(32, 64, 128), strides=(1, 2, 2, 2), members=2, epochs=20)


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
