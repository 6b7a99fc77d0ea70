"""What random views are worth to chest-x-ray: judge pictures that look unlike all it learned from.

Usage: python examples/chest_looks.py [--data FOLDER]

Pictures of each class are ordered by how they look (detail, brightness, contrast). The machine
learns from the lower 55 % and is judged on the upper 25 %, then the other way round.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import accuracy
import chest_xray
import demo_model
import numpy as np
import numpy.typing as npt
from kernel_training import fit
from training import logits

from medge.exporters.spec import read_spec

PLACE = 1  # pneumonia, the second class

Look = npt.NDArray[np.float64]


def main() -> None:
    """Print the area under the curve for every look, with views and without."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, help="folder with the pictures; default: fetch them")
    spec = read_spec(demo_model.HERE / "chest-x-ray.toml")
    pictures = chest_xray.read(parser.parse_args().data, spec)
    lesson = demo_model.as_training_set(pictures, spec)
    recipe = chest_xray.RECIPE
    plain = dataclasses.replace(recipe, plain=True, views=0)
    for name, look in looks(pictures.values).items():
        for text, signed in ((f"more {name}", look), (f"less {name}", -look)):
            known, judged = parted(signed, pictures.labels)
            for kind, each in (("views", recipe), ("no views", plain)):
                machine = fit(each, lesson.part(known))
                margin = demo_model.margin_of(logits(machine, lesson.part(judged)), PLACE)
                figure = accuracy.area_under_curve(margin, pictures.labels[judged] == PLACE)
                print(f"{text} than all it learned from, {kind}: {figure}", flush=True)


def looks(pictures: demo_model.Gray) -> dict[str, Look]:
    """Return measures of how pictures look, each of shape (n,)."""
    values = pictures.astype(np.float64)
    across, down = np.diff(values, axis=2)[:, :-1], np.diff(values, axis=1)[:, :, :-1]
    return {
        "detail": np.hypot(across, down).mean((1, 2)),
        "brightness": values.mean((1, 2)),
        "contrast": values.std((1, 2)),
    }


def parted(
    look: Look, labels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return who is learned from (lowest 55 % of each class) and judged (highest 25 %)."""
    share = np.empty(len(look))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share[members] = np.argsort(np.argsort(look[members], kind="stable")) / len(members)
    return share < 0.55, share >= 0.75


if __name__ == "__main__":
    main()
