"""Find pictures that show nearly the same thing, and folds that never part them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]

MARGIN = 2  # pixels by which two pictures of one scene may be shifted against each other
BLUR = 7  # side of the box whose mean is taken away: brightness says nothing about the scene


def similarity(pictures: Pictures) -> npt.NDArray[np.float32]:
    """Return how alike every two pictures are, the best of all shifts of up to 2 pixels.

    The mean picture of the set (ribs and diaphragm lie in the same place in everybody) and each
    picture's own slow changes of brightness are removed first; what is compared is detail.

    Parameters
    ----------
    pictures
        Gray, shape (n, h, w).

    Returns
    -------
    numpy.ndarray
        Correlation -1..1, shape (n, n), symmetric; the diagonal is -1, so that no picture is its
        own double.
    """
    detail = _detail(pictures)
    rows, columns = detail.shape[1] - 2 * MARGIN, detail.shape[2] - 2 * MARGIN
    centre = _unit(detail[:, MARGIN : MARGIN + rows, MARGIN : MARGIN + columns])
    best = np.full((len(pictures), len(pictures)), -1.0, np.float32)
    for down in range(2 * MARGIN + 1):
        for right in range(2 * MARGIN + 1):
            shifted = _unit(detail[:, down : down + rows, right : right + columns])
            np.maximum(best, centre @ shifted.T, out=best)
    best = np.maximum(best, best.T)
    np.fill_diagonal(best, -1.0)
    return best


def groups_of(alike: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Give linked pictures, directly or through others, the same group number.

    ``alike`` is symmetric, shape (n, n). Returns a group number for each picture, from 0 in the
    order of each group's first picture.
    """
    group = np.full(len(alike), -1, np.int64)
    count = 0
    for first in range(len(alike)):
        if group[first] >= 0:
            continue
        group[first] = count
        waiting = [first]
        while waiting:
            new = np.flatnonzero(alike[waiting.pop()] & (group < 0))
            group[new] = count
            waiting.extend(new.tolist())
        count += 1
    return group


def grouped_folds(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """Deal whole groups into folds of about equal size and equal share of every class.

    Groups go, largest first and otherwise in a seeded order, to the fold that has the fewest
    pictures of the group's most frequent class. Returns a fold number 0..folds-1 per picture.
    """
    random = np.random.default_rng(seed)
    sizes = np.bincount(groups)
    order = sorted(random.permutation(len(sizes)), key=lambda g: -int(sizes[g]))
    held = np.zeros((folds, int(labels.max()) + 1), np.int64)
    fold_of_group = np.zeros(len(sizes), np.int64)
    for group in order:
        counts = np.bincount(labels[groups == group], minlength=held.shape[1])
        # Ties go to the smaller fold, so that rare classes do not all open the same one.
        fold = min(range(folds), key=lambda f: (held[f, counts.argmax()], held[f].sum()))
        held[fold] += counts
        fold_of_group[group] = fold
    return fold_of_group[groups]


def _detail(pictures: Pictures) -> npt.NDArray[np.float32]:
    values = pictures.astype(np.float32)
    pad = BLUR // 2
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR), axis=(1, 2))
    detail = values - boxes.mean(axis=(3, 4), dtype=np.float32)
    return np.asarray(detail - detail.mean(axis=0), np.float32)


def _unit(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    flat = pictures.reshape(len(pictures), -1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # An empty picture has no detail: it resembles nothing, not everything.
    return np.asarray(flat / np.maximum(length, 1e-6), np.float32)
