"""Tango's score interval of a net loss, against the literature and a likelihood of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from medge.bench.agreement import tango_bounds

PAIRS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400)).filter(any)


def by_likelihood(lost: int, gained: int, cases: int, confidence: float) -> tuple[float, float]:
    """The same bounds from the likelihood itself: its maximum under each difference by search."""

    def score(difference: float) -> float:
        def minus_log(gain: float) -> float:
            loss, rest = gain + difference, 1.0 - 2.0 * gain - difference
            counts = ((lost, loss), (gained, gain), (cases - lost - gained, rest))
            return -sum(n * math.log(max(p, 1e-300)) for n, p in counts if n)

        least, most = max(0.0, -difference), (1.0 - difference) / 2.0
        found = minimize_scalar(
            minus_log, (least, most), (least, most), method="bounded", options={"xatol": 1e-13}
        )
        candidates = [(minus_log(gain), gain) for gain in (least, most, float(found.x))]
        gain = min(candidates)[1]
        variance = cases * (2.0 * gain + difference * (1.0 - difference))
        return (lost - gained - cases * difference) / math.sqrt(max(variance, 1e-300))

    z = float(norm.ppf(confidence))
    value = (lost - gained) / cases
    low = brentq(lambda d: score(d) - z, -1 + 1e-9, value - 1e-9)
    high = brentq(lambda d: score(d) + z, value + 1e-9, 1 - 1e-9)
    return float(low), float(high)


def test_the_published_interval_of_21_children_is_found() -> None:
    # Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009):
    # 1 pair one way, 7 the other, of 21. Fagerland, Lydersen and Laake (2014, Stat Med 33:2850)
    # give Tango's 95 % interval as -0.52 to -0.026.
    low, high = tango_bounds(1, 7, 21, 0.975)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


def test_no_discordant_pair_has_the_closed_form() -> None:
    # n d / (1 - d) = z^2 where the nuisance proportion is 0.
    low, high = tango_bounds(0, 0, 300, 0.95)
    z = float(norm.ppf(0.95))
    assert high == pytest.approx(z * z / (300 + z * z), rel=1e-12)
    assert low == pytest.approx(-high, rel=1e-12)


@pytest.mark.parametrize(
    ("lost", "gained", "cases"), [(3, 1, 200), (1, 7, 21), (0, 4, 50), (9, 9, 1000), (30, 2, 64)]
)
def test_the_bounds_are_those_of_the_likelihood(lost: int, gained: int, cases: int) -> None:
    assert tango_bounds(lost, gained, cases, 0.95) == pytest.approx(
        by_likelihood(lost, gained, cases, 0.95), abs=1e-6
    )


@given(PAIRS)
def test_the_value_lies_between_its_bounds_and_exchange_turns_them_round(
    counts: tuple[int, int, int],
) -> None:
    lost, gained, agreeing = counts
    cases = lost + gained + agreeing
    low, high = tango_bounds(lost, gained, cases, 0.95)
    assert -1.0 <= low <= (lost - gained) / cases <= high <= 1.0
    turned = tango_bounds(gained, lost, cases, 0.95)
    assert turned == pytest.approx((-high, -low), abs=1e-9)


@given(PAIRS)
def test_more_cases_that_agree_bring_no_evidence_of_a_loss(counts: tuple[int, int, int]) -> None:
    lost, gained, agreeing = counts
    cases = lost + gained + agreeing
    low, _ = tango_bounds(lost, gained, cases, 0.95)
    more_low, _ = tango_bounds(lost, gained, cases + 50, 0.95)
    assert more_low <= max(low, 0.0) + 1e-12


def test_without_cases_nothing_is_known() -> None:
    assert tango_bounds(0, 0, 0, 0.95) == (-1.0, 1.0)


@pytest.mark.parametrize(("loss", "gain"), [(0.02, 0.01), (0.05, 0.05), (0.01, 0.0)])
def test_a_bound_holds_as_often_as_it_says(loss: float, gain: float) -> None:
    random = np.random.default_rng(7)
    draws = random.multinomial(400, [loss, gain, 1 - loss - gain], size=3000)
    tables, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    low, high = np.array([tango_bounds(int(b), int(c), 400, 0.95) for b, c in tables]).T
    true = loss - gain
    for holds in (low <= true, high >= true):
        # 3,000 draws leave 0.004 of standard error; score intervals are off by about 0.01.
        assert (holds * times).sum() / 3000 > 0.95 - 0.02
