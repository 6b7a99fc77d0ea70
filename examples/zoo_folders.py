"""Write folders of pictures that judge and that calibrate, as medge's verbs take them.

Below a folder: ``judge/*.png`` with ``judge.csv``, and ``calibration/*.png``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import breast_ultrasound
import chest_xray
import medmnist_files
import numpy as np
import numpy.typing as npt
import zoo_data
from demo_model import Demo
from near_duplicates import groups_of, similarity
from PIL import Image
from zoo_data import Gray, Indices, Labels, ZooData

from medge.engine.bundle import find_bundle, open_bundle

JUDGE, LABELS, CALIBRATION = "judge", "judge.csv", "calibration"


@dataclass(frozen=True, slots=True)
class Folders:
    """What to write: pictures (n, 28, 28), classes (n,), who judges, who calibrates.

    ``output`` and ``classes`` are those of the bundle; ``subgroups`` maps the name of a column to
    one word per judging picture.
    """

    pictures: Gray
    labels: Labels
    train: int  # so many pictures, the first ones, are of the train split
    judge: Indices
    calibration: Indices
    output: str
    classes: Sequence[str]
    subgroups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A demo model, its data set, and whether pictures that resemble training ones judge it."""

    demo: Demo
    data: str
    lookalikes: bool


# Of BreastMNIST's 78 validation pictures 32 resemble training pictures, mostly of the same lesion;
# of PneumoniaMNIST's 524 it is 34.
DEMOS = {
    "chest-x-ray": Judged(chest_xray.DEMO, "pneumoniamnist", lookalikes=True),
    "breast-ultrasound": Judged(breast_ultrasound.DEMO, "breastmnist", lookalikes=False),
}


def of_zoo(data: ZooData) -> Folders:
    """Return what judges the zoo: the held-out pictures and the validation split."""
    parts = data.parts
    judge = np.concatenate((parts.held_out, parts.validation))
    split = ["held-out"] * len(parts.held_out) + ["validation"] * len(parts.validation)
    return Folders(
        data.pictures,
        data.labels,
        train=len(data.labels) - len(parts.validation),
        judge=judge,
        calibration=parts.calibration,
        output="scores",  # as zoo.toml has them
        classes=("normal", "pneumonia"),
        subgroups={"split": split},
    )


def of_demo(name: str, folder: Path | None) -> Folders:
    """Return what judges a built-in demo bundle: its data set's validation split.

    The shipped weights learned from the whole train split. The column ``resembles`` says which
    pictures are in one group of near-duplicates with training pictures; no such group calibrates.
    """
    judged = DEMOS[name]
    pictures = medmnist_files.as_pictures(judged.data, folder)
    groups = groups_of(similarity(pictures.values) > judged.demo.alike_above)
    alike = np.isin(groups, groups[pictures.train])
    judge = np.flatnonzero(~pictures.train & (~alike | judged.lookalikes))
    free = pictures.train & ~np.isin(groups, groups[~pictures.train])
    random = np.random.default_rng(zoo_data.SEED)
    calibration = zoo_data.drawn(free, pictures.labels, zoo_data.CALIBRATION, random)
    with open_bundle(find_bundle(name)) as bundle:
        output = bundle.manifest.outputs[0]
    return Folders(
        pictures.values,
        pictures.labels,
        train=int(pictures.train.sum()),
        judge=judge,
        calibration=np.flatnonzero(calibration),
        output=output.name,
        classes=output.classes,
        subgroups={"resembles": ["training" if alike[n] else "none" for n in judge]},
    )


def write(folders: Folders, out: Path) -> None:
    """Write both folders and the labels; pictures of an earlier parting are taken away."""
    names = [file_name(folders, int(n)) for n in folders.judge]
    _write_pictures(out / JUDGE, folders, folders.judge)
    _write_pictures(out / CALIBRATION, folders, folders.calibration)
    _write(out / LABELS, labels_csv(folders, names).encode())


def file_name(folders: Folders, place: int) -> str:
    """Return the name of a picture: its split, and its place there, from 0."""
    if place < folders.train:
        return f"train-{place:04}.png"
    return f"validation-{place - folders.train:04}.png"


def labels_csv(folders: Folders, names: Sequence[str]) -> str:
    """Return the label file: ``file``, the bundle's output, then the subgroups."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", folders.output, *folders.subgroups])
    columns = list(folders.subgroups.values())
    for row, place in enumerate(folders.judge):
        label = folders.classes[folders.labels[place]]
        rows.writerow([names[row], label, *(column[row] for column in columns)])
    return text.getvalue()


def _write_pictures(folder: Path, folders: Folders, places: npt.NDArray[np.int64]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {file_name(folders, int(n)): int(n) for n in places}
    for old in folder.glob("*.png"):
        if old.name not in names:
            old.unlink()
    for name, place in names.items():
        raw = io.BytesIO()
        Image.fromarray(folders.pictures[place]).save(raw, "PNG")
        _write(folder / name, raw.getvalue())


def _write(path: Path, raw: bytes) -> None:
    # What stands there already stays untouched: somebody may be reading it.
    if not path.is_file() or path.read_bytes() != raw:
        path.write_bytes(raw)
