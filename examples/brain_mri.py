"""Train the demo bundle brain-mri on a folder of pictures; it is made locally and never shipped.

Usage: python examples/brain_mri.py cross-validate|build --data FOLDER

FOLDER holds one folder of pictures for each class of brain-mri.toml: glioma, meningioma, notumor,
pituitary.
"""

from __future__ import annotations

import math
from pathlib import Path

import demo_model
import msgspec
import numpy as np
from augmentation import Augmentation
from demo_model import Demo, Pictures
from kernel_training import Recipe

from medge.engine.frames.find import find
from medge.engine.frames.study import open_study
from medge.engine.preprocess import Preprocessor
from medge.exporters.spec import Spec

MOST = 200  # pictures of a class: the linear system grows with the square of all of them

RECIPE = Recipe(
    ridge=0.9,
    views=4,
    augmentation=Augmentation(
        turn_degrees=6,
        shift_ratio=0.03,
        scale_ratio=0.05,
        gain=0.1,
        offset=0.04,
        gamma=0.1,
        blur=0.1,
        sharpen=0.1,
        noise=0.005,
        erase_ratio=0.15,
    ),
)


def read(folder: Path | None, spec: Spec) -> Pictures:
    """Return all pictures at the network's size, made by the code that runs at the bedside.

    They are resized before anything else sees them: the classes come from different sources, and
    a picture's native size would give its class away. Of large classes every n-th one is taken.
    """
    if folder is None:
        raise SystemExit("brain_mri.py has no data of its own: add --data FOLDER.")
    values, labels = [], []
    for label, name in enumerate(spec.outputs[0].classes):
        place = folder / name.replace(" ", "")
        paths = list(find([str(place)])) if place.is_dir() else []
        if not paths:
            raise SystemExit(
                f"{folder} holds no pictures of class {name!r}, expected in a folder {place.name}. "
                "Choose the folder that holds one folder for each class."
            )
        taken = paths[:: math.ceil(len(paths) / MOST)]
        print(f"{name}: {len(taken)} of {len(paths)} pictures")
        values += [_display(path, spec) for path in taken]
        labels += [label] * len(taken)
    return Pictures(
        values=np.stack(values),
        labels=np.array(labels),
        train=np.ones(len(labels), np.bool_),
        spoken=f"{len(labels)} pictures, resized first",
    )


def _display(path: Path, spec: Spec) -> demo_model.Gray:
    """Return one picture as uint8 display values, shape (h, w)."""
    plain = msgspec.structs.replace(spec.input, mean=(), std=(), dtype="uint8")
    shown = np.empty(plain.shape, np.uint8)
    with open_study(path) as study:
        Preprocessor(plain).prepare(study.frame(0), shown)
    return shown[0]


DEMO = Demo(
    name="brain-mri",
    recipe=RECIPE,
    alike_above=0.7,
    read=read,
    bundle=Path("out/brain-mri.medge"),
)

if __name__ == "__main__":
    demo_model.run(DEMO)
