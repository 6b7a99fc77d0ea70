"""The figures of the demo models: intervals, operating points, calibration."""

from __future__ import annotations

import math

import accuracy
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from training import fit_temperature, probabilities


def scored(seed: int, sick: int, well: int, *, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping scores; ``levels`` above 0 rounds them, so that there are many ties."""
    random = np.random.default_rng(seed)
    scores = np.concatenate((random.normal(1.0, 1.3, sick), random.normal(0.0, 1.0, well)))
    if levels:
        scores = np.round(scores * levels) / levels
    return scores, np.arange(sick + well) < sick


def delong_by_definition(scores: np.ndarray, diseased: np.ndarray) -> tuple[float, float]:
    """Area and its variance, straight from DeLong 1988: every case against every other."""
    sick, well = scores[diseased], scores[~diseased]
    beats = [[(s > w) + (s == w) / 2 for w in well] for s in sick]
    area = sum(map(sum, beats)) / (len(sick) * len(well))
    of_sick = [sum(row) / len(well) for row in beats]
    of_well = [sum(column) / len(sick) for column in zip(*beats, strict=True)]
    variance = 0.0
    for parts in (of_sick, of_well):
        variance += sum((p - area) ** 2 for p in parts) / (len(parts) - 1) / len(parts)
    return area, variance


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize(("sick", "well"), [(2, 2), (7, 40), (60, 25)])
def test_delongs_interval_is_the_one_of_its_definition(sick: int, well: int, levels: int) -> None:
    scores, diseased = scored(sick, sick, well, levels=levels)
    area, variance = delong_by_definition(scores, diseased)
    margin = 1.959963984540054 * math.sqrt(variance)
    found = accuracy.area_under_curve(scores, diseased)
    assert found.value == pytest.approx(area, abs=1e-12)
    assert found.low == pytest.approx(max(0, area - margin), abs=1e-12)
    assert found.high == pytest.approx(min(1, area + margin), abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(diseased, scores), abs=1e-12)


def test_delongs_interval_holds_the_true_area_about_95_times_in_100() -> None:
    # Normal scores with distance d and equal spread have the area Phi(d / sqrt 2): 0.7602 for 1.
    true, held = 0.5 * (1 + math.erf(1 / 2)), 0
    random = np.random.default_rng(0)
    for _ in range(400):
        scores = np.concatenate((random.normal(1, 1, 60), random.normal(0, 1, 90)))
        figure = accuracy.area_under_curve(scores, np.arange(150) < 60)
        held += figure.low <= true <= figure.high
    assert 0.92 * 400 <= held <= 0.98 * 400


def test_an_area_needs_two_cases_of_either_kind() -> None:
    with pytest.raises(ValueError, match="found 1 and 3"):
        accuracy.area_under_curve(np.arange(4.0), np.array([True, False, False, False]))


@pytest.mark.parametrize(
    ("hits", "cases", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, score method
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(
    hits: int, cases: int, low: float, high: float
) -> None:
    figure = accuracy.share(hits, cases)
    assert figure.value == hits / cases
    assert (round(figure.low, 4), round(figure.high, 4)) == (low, high)


@pytest.mark.parametrize("wanted", [0.01, 0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_finds_what_was_wanted_and_the_next_higher_would_not(
    wanted: float, seed: int
) -> None:
    scores, diseased = scored(seed, 40, 70)
    chances = 1 / (1 + np.exp(-scores))
    threshold = accuracy.threshold_for(chances, diseased, wanted)
    assert accuracy.sensitivity(chances, diseased, threshold).value >= wanted - 1e-9
    last_found = chances[diseased & (chances >= threshold)].min()
    stricter = np.nextafter(last_found, 1)
    assert accuracy.sensitivity(chances, diseased, stricter).value < wanted


def test_sensitivity_and_specificity_count_the_threshold_itself_as_diseased() -> None:
    chances = np.array([0.2, 0.5, 0.9, 0.5, 0.1])
    diseased = np.array([True, True, True, False, False])
    assert accuracy.sensitivity(chances, diseased, 0.5).value == pytest.approx(2 / 3)
    assert accuracy.specificity(chances, diseased, 0.5).value == pytest.approx(1 / 2)


def test_the_temperature_is_the_one_that_makes_the_labels_most_likely() -> None:
    random = np.random.default_rng(3)
    sure = random.normal(0, 2, (400, 3))
    labels = np.array([random.choice(3, p=p) for p in probabilities(sure)])

    def loss(temperature: float) -> float:
        rows = probabilities(3 * sure, temperature)
        return -float(np.log(rows[np.arange(400), labels]).mean())

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-7})
    found = fit_temperature(3 * sure, labels)
    assert found == pytest.approx(best.x, rel=1e-3)
    assert 2.5 < found < 3.5  # the labels were drawn from scores three times smaller


def test_probabilities_survive_scores_that_overflow_an_exponential() -> None:
    rows = probabilities(np.array([[1000.0, 0.0], [-1000.0, 0.0]]))
    np.testing.assert_array_equal(rows, [[1.0, 0.0], [0.0, 1.0]])
