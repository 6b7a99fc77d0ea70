"""Areas under paired ROC curves: published figures, brute force, scikit-learn, and resampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medge.bench.roc import auc, paired_auc

# DeLong, DeLong and Clarke-Pearson 1988, ovarian cancer with bowel obstruction: albumin, total
# protein, K-G score, and whether surgery helped; the 43 patients with all three, as the SAS/STAT
# User's Guide (PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves") prints them.
PRINTED = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1   3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1   3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0   4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1   2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1   2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1
"""
PATIENTS = np.array(PRINTED.split(), dtype=float).reshape(-1, 4)
ALBUMIN, PROTEIN, KG = PATIENTS[:, 0], PATIENTS[:, 1], 10 - PATIENTS[:, 2]
HELPED = PATIENTS[:, 3] == 1

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def cases(seed: int, count: int = 60, levels: int = 12) -> tuple[Floats, Floats, Flags]:
    """Two related scores with many ties, and who is diseased."""
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.4
    positive[:4] = (True, True, False, False)
    first = random.normal(size=count) + positive
    second = first + random.normal(0, 0.5, count)
    return np.round(first * levels / 6), np.round(second * levels / 6), positive


def error_by_pairs(before: Floats, after: Floats, positive: Flags) -> float:
    """Standard error of the difference from every pair of cases, with covariances written out."""

    def placements(scores: Floats) -> tuple[Floats, Floats]:
        x, y = scores[positive][:, None], scores[~positive][None, :]
        won = (x > y) + 0.5 * (x == y)
        return won.mean(axis=1), won.mean(axis=0)

    (x1, y1), (x2, y2) = placements(before), placements(after)
    covariance = np.cov(np.stack([x1, x2])) / len(x1) + np.cov(np.stack([y1, y2])) / len(y1)
    contrast = np.array([1.0, -1.0])
    return float(np.sqrt(contrast @ covariance @ contrast))


@pytest.mark.parametrize(
    ("scores", "printed"),
    [  # area, its loss to the K-G score, standard error, 95 % interval, p
        (ALBUMIN, (0.7366, 0.0108, 0.0953, -0.1761, 0.1976, 0.9102)),
        (PROTEIN, (0.6478, -0.0780, 0.1046, -0.2830, 0.1271, 0.4561)),
    ],
    ids=["albumin", "total protein"],
)
def test_the_published_comparison_with_the_kg_score_is_found(
    scores: Floats, printed: tuple[float, ...]
) -> None:
    found = paired_auc(scores, KG, HELPED)
    assert (found.positives, found.negatives) == (31, 12)
    assert found.after == pytest.approx(0.7258, abs=5e-5)
    told = (found.before, found.drop, found.error, *found.bounds(0.975), found.p)
    assert told == pytest.approx(printed, abs=5e-5)


@pytest.mark.parametrize("seed", range(20))
def test_area_and_error_are_those_of_every_pair_and_of_scikit_learn(seed: int) -> None:
    before, after, positive = cases(seed)
    found = paired_auc(before, after, positive)
    assert found.before == pytest.approx(roc_auc_score(positive, before), abs=1e-12)
    assert found.after == pytest.approx(roc_auc_score(positive, after), abs=1e-12)
    assert auc(after, positive) == found.after
    assert found.error == pytest.approx(error_by_pairs(before, after, positive), abs=1e-12)


def test_the_error_is_what_resampling_patients_gives() -> None:
    before, after, positive = cases(3, count=300, levels=200)
    random = np.random.default_rng(0)
    well, ill = np.flatnonzero(~positive), np.flatnonzero(positive)
    drops = []
    for _ in range(600):
        drawn = np.concatenate([random.choice(ill, len(ill)), random.choice(well, len(well))])
        drops.append(auc(before[drawn], positive[drawn]) - auc(after[drawn], positive[drawn]))
    # 600 resamples know a standard deviation to 3 %.
    assert paired_auc(before, after, positive).error == pytest.approx(np.std(drops), rel=0.12)


@given(st.integers(0, 10_000))
def test_the_order_of_the_cases_and_the_scale_of_the_scores_do_not_matter(
    seed: int,
) -> None:
    before, after, positive = cases(seed % 50)
    order = np.random.default_rng(seed).permutation(len(positive))
    found = paired_auc(before, after, positive)
    other = paired_auc(np.exp(before[order] / 3), after[order], positive[order])
    assert other.drop == pytest.approx(found.drop, abs=1e-12)
    assert other.error == pytest.approx(found.error, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_exchange_of_the_two_turns_the_drop_round(seed: int) -> None:
    before, after, positive = cases(seed)
    one, other = paired_auc(before, after, positive), paired_auc(after, before, positive)
    assert other.drop == -one.drop
    assert other.error == one.error
    assert other.p == one.p


def test_equal_scores_lost_nothing_for_sure() -> None:
    before, _, positive = cases(1)
    found = paired_auc(before, before.copy(), positive)
    assert found.bounds(0.95) == (0.0, 0.0)
    assert found.p == 1.0


def test_one_positive_has_no_variance() -> None:
    positive = np.array([True, False, False, False])
    with pytest.raises(ValueError, match="two positive and two negative"):
        paired_auc(np.arange(4.0), np.arange(4.0), positive)


def wrong_ratio(positives: int, negatives: int, noise: float, times: int) -> float:
    """How often the upper bound of the drop lies below the true drop, drawn from two normals.

    Scores are normal, diseased ones 1.5 higher, those after have noise on top: so both areas are
    known, P(X > Y) = Phi(1.5 / sqrt(2 var)).
    """
    random = np.random.default_rng(11)
    positive = np.arange(positives + negatives) < positives
    true = norm.cdf(1.5 / np.sqrt(2)) - norm.cdf(1.5 / np.sqrt(2 * (1 + noise**2)))
    wrong = 0
    for _ in range(times):
        before = random.normal(size=len(positive)) + 1.5 * positive
        after = before + random.normal(0, noise, len(positive))
        wrong += paired_auc(before, after, positive).bounds(0.95)[1] < true
    return wrong / times


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_bounds_of_thirty_and_thirty_err_about_as_often_as_they_say(noise: float) -> None:
    assert wrong_ratio(30, 30, noise, times=2000) <= 0.065  # 0.005 of standard error


def test_bounds_of_ten_and_ten_do_not() -> None:
    assert wrong_ratio(10, 10, 0.1, times=500) > 0.1
