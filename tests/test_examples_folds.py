"""Cross-validation that does not cheat: near-duplicates are found and stay in one fold."""

from __future__ import annotations

import numpy as np
import pytest
from near_duplicates import grouped_folds, groups_of, similarity
from scipy.sparse.csgraph import connected_components


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """Blurred noise with room to shift: unlike scenes of 28 x 28 pixels and 4 around."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(count, 39, 39))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (4, 4), axis=(1, 2)).mean((3, 4))
    return np.asarray(128 + 160 * windows)


def seen(scene: np.ndarray, down: int = 4, right: int = 4) -> np.ndarray:
    return np.clip(scene[down : down + 28, right : right + 28], 0, 255).astype(np.uint8)


def test_shifted_noisy_brighter_and_washed_out_doubles_are_found_and_nothing_else() -> None:
    random = np.random.default_rng(1)
    drawn = scenes(40)
    pictures = [seen(scene) for scene in drawn]
    doubles = [
        seen(drawn[0], 2, 6),
        np.clip(seen(drawn[1]) + random.normal(0, 8, (28, 28)), 0, 255).astype(np.uint8),
        (seen(drawn[2]) * 0.6 + 60).astype(np.uint8),
        seen(drawn[3]),
    ]
    groups = groups_of(similarity(np.stack(pictures + doubles)) > 0.6)
    assert groups[40:].tolist() == groups[:4].tolist()
    assert len(np.unique(groups)) == 40


def test_empty_pictures_resemble_nothing_and_no_picture_itself() -> None:
    pictures = np.stack([np.zeros((28, 28), np.uint8), *map(seen, scenes(4))])
    alike = similarity(pictures)
    assert (np.diag(alike) == -1).all()
    assert np.isfinite(alike).all()
    np.testing.assert_array_equal(alike, alike.T)


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_the_connected_components(seed: int) -> None:
    random = np.random.default_rng(seed)
    links = random.random((60, 60)) < 0.012
    links |= links.T
    count, expected = connected_components(links, directed=False)
    found = groups_of(links)
    assert found.max() + 1 == count
    # Equal partitions: the pairs of numbers are as many as the groups.
    assert len(set(zip(found.tolist(), expected.tolist(), strict=True))) == count


@pytest.mark.parametrize("seed", range(4))
def test_no_fold_parts_a_group_and_all_have_their_share_of_every_class(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.unique(random.integers(0, 220, 500), return_inverse=True)[1]
    class_of_group = (random.random(groups.max() + 1) < 0.27).astype(np.int64)
    labels = class_of_group[groups]
    folds = grouped_folds(labels, groups, 5, seed)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    for label in (0, 1):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= np.bincount(groups).max()


def test_folds_depend_on_the_seed_alone() -> None:
    labels, groups = np.arange(50) % 2, np.arange(50)
    first = grouped_folds(labels, groups, 5, 7)
    np.testing.assert_array_equal(first, grouped_folds(labels, groups, 5, 7))
    assert (first != grouped_folds(labels, groups, 5, 8)).any()
