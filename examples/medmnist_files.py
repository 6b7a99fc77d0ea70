"""Read the train and validation pictures of a MedMNIST data set; its test pictures stay unread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from demo_model import Pictures


@dataclass(frozen=True, slots=True)
class Split:
    """Gray pictures uint8, shape (n, 28, 28), and their classes, shape (n,)."""

    pictures: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read(name: str, folder: Path | None) -> tuple[Split, Split]:
    """Return the train and the validation split of ``name``, such as ``breastmnist``.

    The first of ``NAME*.npz`` anywhere below ``folder`` is read. Without a folder the official file
    is fetched by the ``medmnist`` package (needs a network and ``pip install medmnist``).
    """
    path = _fetched(name) if folder is None else _found(name, folder)
    with np.load(path) as arrays:
        return _split(arrays, "train", path), _split(arrays, "val", path)


def as_pictures(name: str, folder: Path | None) -> Pictures:
    """Return both splits as one, with a mask of the train split."""
    train, val = read(name, folder)
    labels = np.concatenate((train.labels, val.labels))
    return Pictures(
        values=np.concatenate((train.pictures, val.pictures)),
        labels=labels,
        train=np.arange(len(labels)) < len(train.labels),
        spoken=f"the {len(labels)} pictures of the train and validation splits",
    )


def _found(name: str, folder: Path) -> Path:
    paths = sorted(folder.rglob(f"{name}*.npz"))
    if not paths:
        raise SystemExit(
            f"{folder} holds no {name}*.npz. Download {name}.npz from https://medmnist.com, or "
            "leave out --data to fetch it."
        )
    return paths[0]


def _fetched(name: str) -> Path:
    try:
        import medmnist  # noqa: PLC0415 - needed only where no folder is given
    except ImportError:
        raise SystemExit(
            "Without --data FOLDER the medmnist package fetches the pictures: pip install medmnist"
        ) from None
    kind = getattr(medmnist, medmnist.INFO[name]["python_class"])
    fetched = kind(split="train", download=True)
    return Path(fetched.root) / f"{name}.npz"


def _split(arrays: np.lib.npyio.NpzFile, split: str, path: Path) -> Split:
    pictures, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    if pictures.dtype != np.uint8 or pictures.shape != (len(labels), 28, 28):
        raise SystemExit(
            f"{path.name}: {split} holds {pictures.dtype} {pictures.shape} with {len(labels)} "
            "labels, expected uint8 pictures of 28 x 28. Download the file again."
        )
    return Split(pictures, labels.astype(np.int64))
