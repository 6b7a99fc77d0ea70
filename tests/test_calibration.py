"""Calibration error: a worked example and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medge.bench.calibration import BINS, calibration_error

CASE = st.tuples(st.floats(0, 1), st.booleans())


def slowly(scores: list[float], positive: list[bool]) -> float:
    """Bin after bin, as Naeini et al. 2015 define it; bounds belong to the bin below."""
    total = 0.0
    for index in range(BINS):
        mine = [
            (score, there)
            for score, there in zip(scores, positive, strict=True)
            if index < np.ceil(score * BINS) <= index + 1 or (index == 0 and score == 0)
        ]
        if mine:
            promised = sum(score for score, _ in mine) / len(mine)
            found = sum(there for _, there in mine) / len(mine)
            total += len(mine) / len(scores) * abs(promised - found)
    return total


def test_a_worked_example() -> None:
    # Two cases promise 0.9 and one is there: 0.4 off; two promise 0.1 and none is: 0.1 off.
    scores = np.array([0.9, 0.9, 0.1, 0.1])
    positive = np.array([True, False, False, False])
    assert calibration_error(scores, positive) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_certainty_that_is_right_has_no_error_and_that_is_wrong_the_whole() -> None:
    scores, positive = np.array([1.0, 0.0]), np.array([True, False])
    assert calibration_error(scores, positive) == 0.0
    assert calibration_error(scores, ~positive) == 1.0


@given(st.lists(CASE, min_size=1, max_size=60))
def test_it_is_what_the_definition_says(cases: list[tuple[float, bool]]) -> None:
    scores, positive = map(list, zip(*cases, strict=True))
    found = calibration_error(np.array(scores), np.array(positive))
    assert found == pytest.approx(slowly(scores, positive), abs=1e-12)
