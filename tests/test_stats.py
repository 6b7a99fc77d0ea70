"""Percentiles and comparisons of latencies: exact ranks, and intervals that keep their word."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from medge.bench.binomial import quantile
from medge.bench.stats import (
    _ranks,
    cases_needed,
    compare,
    independent,
    interval_cases,
    median_interval,
    percentile,
    percentile_interval,
    percentile_upper,
    session_interval,
    spent,
)

Series = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], tuple[Series, Series, Series]]  # shared, A's, B's


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=300),
    st.integers(1, 1000).map(lambda thousandths: thousandths / 1000),
)
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(
    samples: list[int], p: float
) -> None:
    thousandths = round(p * 1000)
    expected = next(
        value
        for value in sorted(samples)
        if 1000 * sum(other <= value for other in samples) >= thousandths * len(samples)
    )
    assert percentile(samples, p) == expected


def test_early_stopping_numbers_are_those_of_mlperf() -> None:
    """inference_rules.adoc of MLPerf: queries for 0, 1 and 2 late ones at 99 %; 64 and 662 are
    LoadGen's own."""
    found = {p: tuple(cases_needed(p, 0.99, late) for late in range(3)) for p in (0.9, 0.95, 0.99)}
    assert found == {0.9: (44, 64, 81), 0.95: (90, 130, 165), 0.99: (459, 662, 838)}
    assert [cases_needed(0.999, 0.99, late) for late in range(3)] == [4603, 6636, 8403]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))],
)
def test_ranks_around_the_median_are_those_of_the_tables(
    count: int, expected: tuple[int, int]
) -> None:
    """Le Boudec, Performance Evaluation of Computer and Communication Systems, annex A."""
    assert _ranks(count, 0.5, 0.95) == expected


@settings(deadline=None)
@given(st.integers(1, 3000), st.floats(0.01, 0.999), st.floats(0.5, 0.999))
def test_ranks_reach_the_confidence_and_none_inside_them_does(
    count: int, p: float, confidence: float
) -> None:
    found = _ranks(count, p, confidence)
    side = (1 - confidence) / 2
    if found is None:
        assert max(p**count, (1 - p) ** count) > side * (1 - 1e-9)
        return
    low, high = found
    at_most = lambda k: scipy_stats.binom.cdf(k, count, p)
    assert 1 <= low <= high <= count
    assert at_most(low - 1) <= side * (1 + 1e-9)
    assert 1 - at_most(high - 1) <= side * (1 + 1e-9) + 1e-15
    assert at_most(low) > side * (1 - 1e-9)
    assert 1 - at_most(high - 2) > side * (1 - 1e-9) - 1e-15


@pytest.mark.parametrize(
    ("p", "confidence", "cases"), [(0.5, 0.95, 6), (0.5, 0.99, 8), (0.99, 0.95, 368)]
)
def test_too_few_samples_state_nothing(p: float, confidence: float, cases: int) -> None:
    assert interval_cases(p, confidence) == cases
    samples = [10 + index % 2 for index in range(cases)]
    assert percentile_interval(samples[1:], p, confidence) is None
    assert percentile_interval(samples, p, confidence) is not None


def test_an_upper_bound_of_p99_takes_459_samples() -> None:
    samples = [1000 + 100 * index % 459 for index in range(459)]  # 1000 to 1458, well mixed
    assert percentile_upper(samples[1:], 0.99, 0.99) is None
    assert percentile_upper(samples, 0.99, 0.99) == 1458


def test_an_autoregressive_series_is_worth_what_theory_says() -> None:
    """AR(1): integrated autocorrelation time (1 + r) / (1 - r), so 3 at r = 0.5."""
    draw = np.random.default_rng(7)
    for r in (0.0, 0.5, 0.9):
        worth = independent(autoregressive(draw, 40_000, r))
        assert 40_000 / worth == pytest.approx((1 + r) / (1 - r), rel=0.15)


def test_a_constant_or_alternating_series_is_worth_its_length() -> None:
    assert independent(np.ones(50)) == 50
    assert independent(np.arange(50) % 2) == 50
    assert median_interval([7] * 10).low == median_interval([7] * 10).high == 7  # type: ignore[union-attr]


def test_sessions_bound_the_median_by_its_order_statistics_once_they_are_enough() -> None:
    """Ranks 6 and 16 of 21 bound a median at 95 %, as tables of the sign test give them."""
    samples = np.full(100, 11)
    few = session_interval(samples, (7, 30))
    assert few is not None
    assert (few.low, few.high) == (7, 30)
    many = session_interval(samples, [*range(1, 11), *range(12, 22)])
    assert many is not None
    assert (many.low, many.high) == (6, 16)


def test_a_session_of_its_own_is_never_outside_what_all_of_them_state() -> None:
    samples = np.random.default_rng(1).permutation(np.arange(1, 101))
    lowest = session_interval(samples, [1000 + place for place in range(20)])
    assert lowest is not None
    own = percentile_interval(samples, 0.5)
    assert own is not None
    assert lowest.low == own.low
    assert lowest.high >= 1009


def test_too_few_samples_are_bounded_by_six_sessions_and_not_by_five() -> None:
    """Half of all is on one side of five sessions with a chance of 6 %, of six with 3 %."""
    assert session_interval([5, 6, 7], (4, 5, 6, 9)) is None
    six = session_interval([5, 6, 7], (4, 5, 6, 9, 8))
    assert six is not None
    assert (six.low, six.high) == (4, 9)


@pytest.mark.parametrize("sessions", [2, 6, 15])
def test_a_machine_of_two_speeds_is_covered_by_its_sessions(sessions: int) -> None:
    """Each session sees one speed alone, or both; the median of all is that of the mixture."""
    draw = np.random.default_rng(4)
    held = wanted = 0
    for _ in range(40):
        parts = draw.beta(0.5, 0.5, sessions)  # of a session's time at the slow speed
        times = [np.where(draw.random(300) < part, 690, 430) for part in parts]
        taken = [(one + draw.normal(0, 5, 300)).astype(int) for one in times]
        truth = percentile(np.concatenate(taken), 0.5)
        earlier: list[int] = []
        for one in taken:
            found = session_interval(one, earlier)
            earlier.append(percentile(one, 0.5))
            if len(earlier) > 1:  # the first knows of no other
                wanted += 1
                held += found is not None and found.low <= truth <= found.high
    assert held >= 0.85 * wanted  # their own intervals: 12 to 31 %


def autoregressive(draw: np.random.Generator, count: int, r: float) -> Series:
    steps = draw.normal(0, 0.02, count)
    steps[0] /= math.sqrt(1 - r * r)
    for index in range(1, count):
        steps[index] += r * steps[index - 1]
    return steps


def heavy_tails(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    a, b = np.clip(0.02 * draw.standard_t(1.5, (2, count)), -5, 5)
    return np.zeros(count), a, b


def one_sided_spikes(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    a, b = draw.exponential(0.05, (2, count)) + (draw.random((2, count)) < 0.05)
    return np.zeros(count), a, b


def shared_drift(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    a, b = draw.normal(0, 0.02, (2, count))
    return np.cumsum(draw.normal(0, 0.03, count)), a, b


def own_waves(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    return np.zeros(count), autoregressive(draw, count, 0.5), autoregressive(draw, count, 0.5)


def latencies(
    noise: Noise, draw: np.random.Generator, count: int, ratio: float = 1.0
) -> list[Series]:
    shared, a, b = noise(draw, count)
    return [
        np.asarray(np.exp(shared + a) * ratio * 1e7, np.int64),
        np.asarray(np.exp(shared + b) * 1e7, np.int64),
    ]


def long_waves(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    return np.zeros(count), autoregressive(draw, count, 0.9), autoregressive(draw, count, 0.9)


def waves_of_every_length(draw: np.random.Generator, count: int) -> Series:
    """Fractional Gaussian noise, H = 0.8, exactly (Davies and Harte, Biometrika 74, 1987)."""
    lags = np.arange(count + 1.0)
    power = 2 * 0.8
    covariance = (np.abs(lags - 1) ** power - 2 * lags**power + (lags + 1) ** power) / 2
    spectrum = np.fft.fft(np.concatenate([covariance, covariance[-2:0:-1]])).real.clip(0)
    size = len(spectrum)
    noise = draw.normal(size=size) + 1j * draw.normal(size=size)
    return np.asarray(0.02 * np.fft.fft(np.sqrt(spectrum / size) * noise).real[:count])


def every_wave(draw: np.random.Generator, count: int) -> tuple[Series, Series, Series]:
    return np.zeros(count), waves_of_every_length(draw, count), waves_of_every_length(draw, count)


@pytest.mark.parametrize(
    ("noise", "pairs", "level"), [(long_waves, 200, 0.01), (every_wave, 500, 0.2)]
)
def test_long_waves_of_their_own_seldom_look_like_a_difference(
    noise: Noise, pairs: int, level: float
) -> None:
    """Where waves are as long as the series, no estimate from within it keeps 1 %; by the
    autocorrelation alone more than a quarter would be wrong."""
    draw = np.random.default_rng(17)
    wrong = sum(
        compare(*latencies(noise, draw, pairs)).verdict != "cannot-tell" for _ in range(150)
    )
    assert wrong <= quantile(0.999, 150, level)


@pytest.mark.parametrize("noise", [heavy_tails, one_sided_spikes, shared_drift, own_waves])
@pytest.mark.parametrize("pairs", [20, 200])
def test_a_against_a_cannot_be_told_apart(noise: Noise, pairs: int) -> None:
    """Of 300 comparisons at 99 % no more are wrong than chance allows, at one in a thousand.

    Waves of their own are allowed 3 % with 20 pairs, which know the waves too badly; ``doubts``
    says so of any measurement that is worth fewer than 30 independent ones.
    """
    draw = np.random.default_rng(pairs)
    wrong = 0
    for _ in range(300):
        a, b = latencies(noise, draw, pairs)
        wrong += compare(a, b).verdict != "cannot-tell"
    level = 0.03 if noise is own_waves and pairs == 20 else 0.01
    assert wrong <= quantile(0.999, 300, level)


@pytest.mark.parametrize("noise", [heavy_tails, shared_drift, own_waves])
def test_five_percent_more_are_found_and_bounded(noise: Noise) -> None:
    draw = np.random.default_rng(5)
    found = covered = 0
    for _ in range(100):
        a, b = latencies(noise, draw, 150, ratio=1.05)
        comparison = compare(a, b)
        found += comparison.verdict == "slower"
        covered += comparison.low <= 1.05 <= comparison.high
    assert found >= (90 if noise is own_waves else 95)  # waves have to be allowed for
    assert covered >= 100 - quantile(0.999, 100, 0.01)


def test_turning_a_comparison_round_inverts_it() -> None:
    draw = np.random.default_rng(1)
    a, b = latencies(heavy_tails, draw, 101, ratio=1.2)
    there, back = compare(a, b), compare(b, a)
    assert (there.verdict, back.verdict) == ("slower", "faster")
    assert (1 / back.ratio, 1 / back.high, 1 / back.low) == pytest.approx(
        (there.ratio, there.low, there.high)
    )


def test_pairs_cancel_what_slows_both_down() -> None:
    """The machine halves its clock midway: 1 % between A and B is still found."""
    draw = np.random.default_rng(3)
    clock = np.where(np.arange(100) < 50, 1e7, 2e7)
    a = np.asarray(clock * 1.01 * np.exp(draw.normal(0, 0.005, 100)), np.int64)
    b = np.asarray(clock * np.exp(draw.normal(0, 0.005, 100)), np.int64)
    assert compare(a, b).verdict == "slower"
    assert compare(a, draw.permutation(b)).verdict == "cannot-tell"


def test_seven_pairs_tell_nothing_at_99_percent_and_eight_do() -> None:
    a, b = [300, 310, 290, 305, 295, 302, 298, 300], [200, 210, 190, 205, 195, 202, 198, 200]
    few = compare(a[:7], b[:7])
    assert (few.verdict, few.low, few.high) == ("cannot-tell", 0.0, math.inf)
    assert compare([300, 290] * 4, [200, 210] * 4).verdict == "slower"


def test_repeated_looks_stay_within_one_confidence() -> None:
    """Whoever looks every 10 rounds and stops at the first verdict: with ``spent`` 1 in 100 err."""
    draw = np.random.default_rng(11)
    wrong = 0
    for _ in range(200):
        a, b = latencies(heavy_tails, draw, 100)
        each = spent(0.99, looks=10)
        wrong += any(
            compare(a[:look], b[:look], each).verdict != "cannot-tell"
            for look in range(10, 101, 10)
        )
    assert wrong <= quantile(0.999, 200, 0.01)


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize(("r", "count"), [(0.0, 300), (0.5, 300), (0.9, 2000)])
def test_intervals_of_percentiles_hold_them(p: float, r: float, count: int) -> None:
    """95 % intervals of some samples, independent or correlated, miss about 1 in 20."""
    draw = np.random.default_rng(13)
    spread = 0.02 / math.sqrt(1 - r * r)
    truth = math.exp(scipy_stats.norm.ppf(p) * spread) * 1e7
    missed = 0
    for _ in range(200):
        samples = np.asarray(np.exp(autoregressive(draw, count, r)) * 1e7, np.int64)
        interval = percentile_interval(samples, p)
        missed += interval is None or not interval.low <= truth <= interval.high
    assert missed <= quantile(0.999, 200, 0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: percentile([], 0.5), "at least one sample"),
        (lambda: percentile([1.5], 0.5), "float64"),
        (lambda: percentile([1], 0.0), "above 0"),
        (lambda: percentile([1], 99), "found 99"),
        (lambda: compare([1, 2], [1]), "found 2 and 1"),
        (lambda: compare([1, 0], [1, 1]), "above 0 ns"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
