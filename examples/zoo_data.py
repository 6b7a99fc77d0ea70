"""Which pictures the zoo learns from, is calibrated with and is judged by; none resemble another's.

The parts of PneumoniaMNIST's train split: ``held out`` judges, ``threshold`` sets operating points,
``learn`` trains, ``aside`` does nothing, because it resembles validation pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import medmnist_files
import numpy as np
import numpy.typing as npt
from near_duplicates import groups_of, similarity

ALIKE_ABOVE = 0.8  # correlation from which two pictures are near-duplicates, as in chest_xray.py
HELD_OUT, THRESHOLD, CALIBRATION = 1500, 300, 300
SEED = 0

Gray = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parts:
    """Places in the data set (train split first, then validation), each ascending.

    ``calibration`` is a part of ``learn``; the others have no picture in common.
    """

    learn: Indices
    calibration: Indices
    threshold: Indices
    held_out: Indices
    validation: Indices
    aside: Indices


@dataclass(frozen=True, slots=True)
class ZooData:
    """Gray pictures uint8 (n, 28, 28), classes (n,), near-duplicate groups (n,), and the parts."""

    pictures: Gray
    labels: Labels
    groups: Labels
    parts: Parts


def read(folder: Path | None) -> ZooData:
    """Read PneumoniaMNIST from a folder, or fetch it, and part it."""
    train, validation = medmnist_files.read("pneumoniamnist", folder)
    pictures = np.concatenate((train.pictures, validation.pictures))
    labels = np.concatenate((train.labels, validation.labels))
    groups = groups_of(similarity(pictures) > ALIKE_ABOVE)
    in_train = np.arange(len(labels)) < len(train.labels)
    return ZooData(pictures, labels, groups, part(labels, groups, in_train))


def part(
    labels: Labels,
    groups: Labels,
    in_train: npt.NDArray[np.bool_],
    counts: tuple[int, int, int] = (HELD_OUT, THRESHOLD, CALIBRATION),
    seed: int = SEED,
) -> Parts:
    """Part the train split by lot, every class in its share of the whole.

    Held-out and threshold pictures are drawn among those that resemble no other picture at all, so
    that each is a case of its own. Train pictures in a group with a validation picture are put
    aside: none of them learns, calibrates or judges.

    Parameters
    ----------
    labels, groups, in_train
        Class, near-duplicate group and membership of the train split, each of shape (n,).
    counts
        Pictures held out, for the threshold, and for calibration.
    """
    random = np.random.default_rng(seed)
    single = np.bincount(groups)[groups] == 1
    linked = np.isin(groups, groups[~in_train])
    held_out = drawn(in_train & single, labels, counts[0], random)
    threshold = drawn(in_train & single & ~held_out, labels, counts[1], random)
    learn = in_train & ~linked & ~held_out & ~threshold
    calibration = drawn(learn, labels, counts[2], random)
    chosen = (learn, calibration, threshold, held_out, ~in_train, in_train & linked)
    return Parts(*(np.flatnonzero(mask) for mask in chosen))


def drawn(
    among: npt.NDArray[np.bool_], labels: Labels, count: int, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw ``count`` of the masked pictures, each class by its share among them; return a mask."""
    places = np.flatnonzero(among)
    kinds, sizes = np.unique(labels[places], return_counts=True)
    if count > len(places):
        raise ValueError(f"{count} pictures asked for, {len(places)} can be drawn")
    quotas = np.floor(sizes / len(places) * count).astype(np.int64)
    # What rounding left over goes to the largest classes, where it changes the shares least.
    quotas[np.argsort(-sizes, kind="stable")[: count - int(quotas.sum())]] += 1
    mask = np.zeros(len(among), np.bool_)
    for kind, quota in zip(kinds, quotas, strict=True):
        mask[random.permutation(places[labels[places] == kind])[:quota]] = True
    return mask
