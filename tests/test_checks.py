"""Checks pass on bounds, never on values, and say how many cases they lack; the worst counts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from medge.bench.checks import auc_check, flip_check, loss_check, verdict_of
from medge.engine.evidence import Check

MARGINS = st.sampled_from([0.002, 0.01, 0.05, 0.2])


@pytest.mark.parametrize(("flips", "cases"), [(0, 299), (1, 473), (2, 628)])
def test_the_smallest_samples_that_bound_flips_at_one_percent(flips: int, cases: int) -> None:
    # 299, 473, 628 are the tabled sample sizes for 95/99 content (binomial tolerance, NIST).
    enough, short = (flip_check("flips", flips, n, 0.01) for n in (cases, cases - 1))
    assert (enough.verdict, enough.missing_cases) == ("pass", 0)
    assert (short.verdict, short.missing_cases) == ("inconclusive", 1)


def test_the_table_of_the_user_page_is_exact() -> None:
    page = (Path(__file__).parents[1] / "docs/drift.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) % \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    assert len(rows) == 5
    for margin, *counts in rows:
        for flips, cases in zip((0, 1, 2, 5), map(int, counts), strict=True):
            limit = float(margin) / 100
            assert flip_check("flips", flips, cases, limit).verdict == "pass"
            assert flip_check("flips", flips, cases - 1, limit).missing_cases == 1


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(1, 2000), MARGINS)
def test_flips_have_the_exact_bounds_and_the_count_that_is_missing(
    flips: int, others: int, margin: float
) -> None:
    cases = flips + others
    found = flip_check("flips", flips, cases, margin)
    exact = binomtest(flips, cases)
    assert found.high == pytest.approx(exact.proportion_ci(0.90, "exact").high, abs=1e-9)
    assert found.low == pytest.approx(exact.proportion_ci(0.90, "exact").low, abs=1e-9)
    assert found.value == flips / cases
    if found.verdict == "inconclusive":
        enough = cases + found.missing_cases
        assert flip_check("flips", flips, enough, margin).verdict == "pass"
        assert flip_check("flips", flips, enough - 1, margin).verdict != "pass"
    else:
        assert found.missing_cases == 0
        assert found.verdict == ("pass" if found.high <= margin else "fail")


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(1, 2000), st.integers(1, 500), MARGINS)
def test_a_pass_stays_one_when_cases_that_agree_are_added(
    flips: int, others: int, more: int, margin: float
) -> None:
    before = flip_check("flips", flips, flips + others, margin)
    after = flip_check("flips", flips, flips + others + more, margin)
    assert after.high < before.high
    order = ("fail", "inconclusive", "pass")
    assert order.index(after.verdict) >= order.index(before.verdict)


@pytest.mark.parametrize("cases", [50, 299, 500, 1000])
@pytest.mark.parametrize("margin", [0.01, 0.05])
def test_who_flips_just_beyond_the_margin_passes_at_most_once_in_twenty(
    cases: int, margin: float
) -> None:
    passing = 0
    while flip_check("flips", passing, cases, margin).verdict == "pass":
        passing += 1
    assert binom.cdf(passing - 1, cases, margin) <= 0.05
    failing = passing
    while flip_check("flips", failing, cases, margin).verdict != "fail":
        failing += 1
    assert binom.sf(failing - 1, cases, margin) <= 0.05


def test_gains_elsewhere_do_not_pay_for_what_was_lost() -> None:
    found = loss_check("sensitivity drop", lost=9, gained=9, cases=300, margin=0.01)
    assert found.value == 0.0
    assert found.high > 0.03
    assert found.verdict == "inconclusive"


def test_a_loss_fails_only_when_it_is_one_on_balance() -> None:
    assert loss_check("x", lost=20, gained=0, cases=300, margin=0.01).verdict == "fail"
    assert loss_check("x", lost=20, gained=20, cases=300, margin=0.01).verdict == "inconclusive"
    assert loss_check("x", lost=0, gained=20, cases=300, margin=0.01).verdict == "pass"


def test_without_a_case_of_its_kind_a_check_asks_for_them() -> None:
    for found in (loss_check("x", 0, 0, 0, 0.01), flip_check("x", 0, 0, 0.01)):
        assert (found.verdict, found.missing_cases, found.cases) == ("inconclusive", 299, 0)


def scores(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive = np.arange(count) % 2 == 0
    before = random.normal(size=count) + positive
    return before, before + random.normal(0, noise, count), positive


def test_equal_areas_pass_and_a_clear_loss_fails() -> None:
    before, _, positive = scores(400, 0)
    same = auc_check("AUC drop", before, before, positive, 0.005)
    assert (same.verdict, same.value, same.low, same.high) == ("pass", 0.0, 0.0, 0.0)
    assert auc_check("AUC drop", before, -before, positive, 0.005).verdict == "fail"


@pytest.mark.parametrize(
    ("positives", "negatives", "missing"), [(29, 90, 1), (0, 3, 57), (29, 29, 2)]
)
def test_fewer_than_thirty_of_either_kind_say_nothing_of_areas(
    positives: int, negatives: int, missing: int
) -> None:
    positive = np.arange(positives + negatives) < positives
    equal = np.arange(len(positive), dtype=float)
    found = auc_check("AUC drop", equal, equal, positive, 0.005)
    assert (found.verdict, found.missing_cases) == ("inconclusive", missing)


def test_the_count_that_an_area_lacks_is_about_enough() -> None:
    before, after, positive = scores(200, 0.3)
    found = auc_check("AUC drop", before, after, positive, 0.005)
    assert found.verdict == "inconclusive"
    # Cases without a difference: each pair of them once on either side of all others.
    half = found.missing_cases // 2 + 1
    far = np.concatenate([np.full(half, 99.0), np.full(half, -99.0)])
    there = np.arange(2 * half) < half
    more = [np.concatenate([old, far]) for old in (before, after)]
    assert auc_check("AUC drop", *more, np.concatenate([positive, there]), 0.005).verdict == "pass"


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_cases_does_not_matter(seed: int) -> None:
    before, after, positive = scores(100, 0.3, seed)
    order = np.random.default_rng(seed).permutation(100)
    one = auc_check("x", before, after, positive, 0.005)
    other = auc_check("x", before[order], after[order], positive[order], 0.005)
    assert other.high == pytest.approx(one.high, abs=1e-12)


def test_the_worst_check_is_the_verdict() -> None:
    good = flip_check("a", 0, 299, 0.01)
    bad, open_ = flip_check("b", 50, 299, 0.01), flip_check("c", 0, 10, 0.01)
    found: list[tuple[list[Check], str]] = [
        ([good, good], "pass"),
        ([good, open_], "inconclusive"),
        ([open_, bad, good], "fail"),
    ]
    for checks, verdict in found:
        assert verdict_of(checks) == verdict
