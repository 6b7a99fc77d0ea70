"""Binomial bounds are exact: held to scipy's independent implementation and to published values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medge.bench.binomial import at_least, at_most, lower, quantile, sign_test, two_sided, upper

trials = st.integers(1, 100_000)
chances = st.floats(1e-6, 1 - 1e-6)
confidences = st.floats(0.5, 0.99999)


@settings(max_examples=150, deadline=None)
@given(trials, st.floats(0, 1), chances)
def test_tails_are_scipys(n: int, part: float, p: float) -> None:
    k = round(part * n)
    assert at_most(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-200)
    assert at_least(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), rel=1e-8, abs=1e-200)


@settings(max_examples=150, deadline=None)
@given(trials, st.floats(-4, 4), chances)
def test_tails_around_the_mean_are_scipys_and_add_up(n: int, sigmas: float, p: float) -> None:
    k = min(n, max(0, round(n * p + sigmas * (n * p * (1 - p)) ** 0.5)))
    assert at_most(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8)
    assert at_most(k, n, p) + at_least(k + 1, n, p) == pytest.approx(1, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(trials, st.floats(0, 1), confidences)
def test_bounds_are_those_of_clopper_and_pearson(n: int, part: float, confidence: float) -> None:
    k = round(part * n)
    scipys = stats.binomtest(k, n).proportion_ci(confidence, "exact")
    assert two_sided(k, n, confidence) == pytest.approx((scipys.low, scipys.high), rel=1e-7)
    greater = stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact")
    assert lower(k, n, confidence) == pytest.approx(greater.low, rel=1e-7)
    less = stats.binomtest(k, n, alternative="less").proportion_ci(confidence, "exact")
    assert upper(k, n, confidence) == pytest.approx(less.high, rel=1e-7)


@settings(max_examples=150, deadline=None)
@given(trials, st.floats(1e-9, 1 - 1e-9), chances)
def test_a_quantile_is_the_first_whole_number_that_reaches_the_chance(
    n: int, q: float, p: float
) -> None:
    k = quantile(q, n, p)
    assert at_most(k, n, p) >= q
    assert k == 0 or at_most(k - 1, n, p) < q


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.floats(0, 1))
def test_the_sign_test_is_scipys(n: int, part: float) -> None:
    k = round(part * n)
    expected = stats.binomtest(k, n).pvalue if n else 1.0
    assert sign_test(k, n) == pytest.approx(expected, rel=1e-8, abs=1e-200)


@pytest.mark.parametrize(("rate", "cases"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_no_event_in_so_many_cases_bounds_the_rate(rate: float, cases: int) -> None:
    """The rule of three, exactly (Hanley and Lippman-Hand, JAMA 249, 1983)."""
    assert upper(0, cases, 0.95) <= rate < upper(0, cases - 1, 0.95)


def test_a_published_mcnemar_table() -> None:
    """Fagerland, Lydersen, Laake, BMC Med Res Methodol 13:91 (2013): 1 against 7, P = 0.070."""
    assert sign_test(1, 8) == pytest.approx(0.0703, abs=5e-5)


def test_ten_million_trials_keep_their_digits() -> None:
    assert at_most(5_000_700, 10_000_000, 0.5) == pytest.approx(
        stats.binom.cdf(5_000_700, 10_000_000, 0.5), rel=1e-7
    )
    assert upper(3, 10_000_000, 0.99) == pytest.approx(stats.beta.ppf(0.99, 4, 9_999_997), rel=1e-7)


def test_the_ends_of_the_range() -> None:
    assert (at_most(-1, 5, 0.3), at_most(5, 5, 0.3), at_most(0, 0, 0.3)) == (0.0, 1.0, 1.0)
    assert (at_least(0, 5, 0.3), at_least(6, 5, 0.3)) == (1.0, 0.0)
    assert (at_most(4, 5, 1.0), at_most(0, 5, 0.0), at_least(5, 5, 1.0)) == (0.0, 1.0, 1.0)
    assert (lower(0, 5, 0.95), upper(5, 5, 0.95)) == (0.0, 1.0)
    assert (quantile(0.0, 9, 0.5), quantile(1.0, 9, 0.5)) == (0, 9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: at_most(1, -1, 0.5),
        lambda: at_least(1, 2, 1.5),
        lambda: upper(3, 2, 0.95),
        lambda: upper(0, 0, 0.95),
        lambda: lower(1, 2, 1.0),
        lambda: quantile(1.5, 3, 0.5),
        lambda: sign_test(3, 2),
    ],
)
def test_what_makes_no_sense_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="found"):
        wrong()
