"""Comparisons: A cannot be told from A, a planted slow-down is found, unlike is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from scipy import stats as scipy_stats
from stored_results import result

from medge.bench.compare import DEVICES, compare_measurements, compare_results
from medge.bench.effect import _outer_rank, rate_effect
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, WarmUp
from medge.errors import UsageError

Series = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Series]
PROCEDURE = Procedure()


def waves(draw: np.random.Generator, count: int, r: float, step: float) -> Series:
    """An autoregressive series of order one."""
    found = draw.normal(0, step, count)
    found[0] /= np.sqrt(1 - r * r)
    for index in range(1, count):
        found[index] += r * found[index - 1]
    return found


def bursts(draw: np.random.Generator, count: int) -> Series:
    """Skewed noise, and now and then some ten calls in a row that come late."""
    found, late = draw.gamma(2, 0.01, count), False
    for index in range(count):
        late ^= bool(draw.random() < (0.1 if late else 0.01))
        found[index] += draw.exponential(0.3) if late else 0.0
    return found


NOISES: dict[str, Noise] = {
    "independent": lambda draw, count: draw.normal(0, 0.02, count),
    "AR(1), r = 0.5": lambda draw, count: waves(draw, count, 0.5, 0.02),
    "AR(1), r = 0.9": lambda draw, count: waves(draw, count, 0.9, 0.01),
    "bursts": bursts,
}


CASES = [
    *(pytest.param(noise, True, id=f"{name}, rounds shared") for name, noise in NOISES.items()),
    *(
        pytest.param(NOISES[name], False, id=f"{name}, two sessions")
        for name in ("AR(1), r = 0.9", "bursts")
    ),
]


def taken(logs: Series, times: float = 1.0) -> Measurement:
    samples = np.rint(5e6 * times * np.exp(logs)).astype(int)
    return Measurement("infer", tuple(samples.tolist()), PROCEDURE)


def pair(noise: Noise, seed: int, count: int, *, shared: bool) -> tuple[Series, Series]:
    draw = np.random.default_rng(seed)
    together = noise(draw, count) if shared else np.zeros(count)
    part = 0.5 if shared else 1.0
    return together + part * noise(draw, count), together + part * noise(draw, count)


@pytest.mark.parametrize(("noise", "paired"), CASES)
def test_a_against_a_cannot_be_told_in_95_of_100(noise: Noise, paired: bool) -> None:
    wrong = 0
    for seed in range(100):
        a, b = pair(noise, seed, 300, shared=paired)
        found = compare_measurements(taken(a), taken(b), paired=paired)
        wrong += any(effect.verdict != "cannot-tell" for effect in found.effects)
    assert wrong <= 5


@pytest.mark.parametrize(("noise", "paired"), CASES)
def test_a_planted_slow_down_of_5_percent_is_found_in_17_of_20(noise: Noise, paired: bool) -> None:
    found = 0
    for seed in range(20):
        a, b = pair(noise, seed, 3000, shared=paired)  # half a minute of calls of 5 ms, both sides
        sides = taken(a), taken(b, 1.05)
        before, after = sides if seed % 2 else sides[::-1]
        verdict = compare_measurements(before, after, paired=paired).verdict
        assert verdict in ("cannot-tell", "slower" if seed % 2 else "faster")
        found += verdict != "cannot-tell"
    assert found >= 17


def test_a_slower_tail_alone_is_seen_in_p99() -> None:
    draw = np.random.default_rng(3)
    late = np.where(draw.random(8000) < 0.03, 0.5, 0.0)
    found = compare_measurements(
        taken(draw.normal(0, 0.02, 8000)), taken(draw.normal(0, 0.02, 8000) + late)
    )
    words = {effect.metric: effect.verdict for effect in found.effects}
    assert words == {"p50": "cannot-tell", "p90": "cannot-tell", "p99": "higher"}


def test_too_few_samples_say_how_many_are_missing_and_bound_nothing() -> None:
    """0.99 ** 637 is the first below half of a third of 1 %."""
    draw = np.random.default_rng(1)
    found = compare_measurements(taken(draw.normal(0, 0.02, 200)), taken(draw.normal(0, 0.02, 200)))
    last = found.effects[-1]
    assert (last.low, last.high, last.verdict) == (None, None, "cannot-tell")
    assert last.missing >= 637 - 200


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """The percentile's true ratio is 1.05 for every percentile, both sides scaled noise."""
    missed = 0
    for seed in range(150):
        a, b = pair(NOISES["independent"], seed, 500, shared=False)
        found = compare_measurements(
            taken(a), taken(b, 1.05), session_ratio=0.0, percentiles=(0.5, 0.9), level=0.1
        )
        for effect in found.effects:
            assert effect.low is not None
            assert effect.high is not None
            missed += not effect.low <= 0.05 <= effect.high
    assert missed <= 24  # of 300 at 95 %: 15 are expected


@pytest.mark.parametrize("paired", [True, False])
def test_what_two_processes_may_differ_by_widens_the_bounds(paired: bool) -> None:
    a, b = pair(NOISES["independent"], 1, 300, shared=paired)
    strict = compare_measurements(taken(a), taken(b), paired=paired, session_ratio=0.0).effects[0]
    wide = compare_measurements(taken(a), taken(b), paired=paired).effects[0]
    assert wide.low == pytest.approx((1 + (strict.low or 0)) / 1.02 - 1)
    assert wide.high == pytest.approx((1 + (strict.high or 0)) * 1.02 - 1)


def test_unlike_procedures_are_refused_by_the_fields_that_differ() -> None:
    a, b = pair(NOISES["independent"], 1, 100, shared=False)
    other = Procedure(batch=2, warm_up=WarmUp(window=20), seed=7)
    with pytest.raises(UsageError, match=r"batch 1 and 2; warm_up.window 10 and 20\.") as refused:
        compare_measurements(taken(a), Measurement("infer", taken(b).samples_ns, other))
    assert refused.value.rule == "compare-procedures"


def test_what_is_compared_may_differ_and_nothing_else() -> None:
    a, b = (taken(side) for side in pair(NOISES["independent"], 1, 100, shared=False))
    b = Measurement(b.stage, b.samples_ns, replace(PROCEDURE, threads=8, cpus=(0, 1)))
    with pytest.raises(UsageError, match="threads None and 8"):
        compare_measurements(a, b)
    compare_measurements(a, b, may_differ=DEVICES)
    b = Measurement(b.stage, b.samples_ns, replace(b.procedure, streams=2))
    with pytest.raises(UsageError, match="streams"):
        compare_measurements(a, b, may_differ=DEVICES)


def test_one_and_two_threads_of_a_bundle_are_compared_as_two_backends_are() -> None:
    results = []
    for threads in (1, 2):
        made = result(seed=threads)
        infer = Measurement(
            "infer", made.measurements[0].samples_ns, replace(PROCEDURE, threads=threads)
        )
        results.append(
            replace(
                made,
                candidate=replace(made.candidate, threads=threads),
                measurements=(infer,),
            )
        )
    found = compare_results(*results)
    assert [side.candidate and side.candidate.threads for side in (found.a, found.b)] == [1, 2]
    # Without the candidates nobody could see that they differ.
    nameless = [replace(result, candidate=None) for result in results]
    with pytest.raises(UsageError, match="threads 1 and 2"):
        compare_results(*nameless)


def test_a_side_without_samples_is_refused() -> None:
    one = taken(np.zeros(10))
    for samples in ((), (0, 1)):
        with pytest.raises(UsageError, match="A has") as refused:
            compare_measurements(Measurement("infer", samples, PROCEDURE), one)
        assert refused.value.rule == "compare-samples"


def test_samples_beyond_the_shorter_of_two_paired_series_have_no_partner() -> None:
    a, b = pair(NOISES["independent"], 1, 100, shared=True)
    whole = compare_measurements(taken(a), taken(b), paired=True).effects[0]
    more = compare_measurements(taken(np.append(a, np.ones(50))), taken(b), paired=True).effects[0]
    assert (more.low, more.high) == (whole.low, whole.high)


@pytest.mark.parametrize(("a", "b"), [(5, 5), (4, 9), (10, 12), (20, 20)])
def test_the_ranks_of_few_times_are_those_of_mann_and_whitney(a: int, b: int) -> None:
    """The chance of what lies below the rank is at most half of 1 %, with one more it is not."""
    rank = _outer_rank(a, b, 0.99)

    def chance(u: int) -> float:
        """P(U <= u), asked with times of which exactly u pairs are in order."""
        full, rest = divmod(u, b)
        first = [*[1000.0] * full, *[rest - 0.5] * (rest > 0)]
        first += [-1000.0] * (a - len(first))
        apart = np.asarray(first) + 0.001 * np.arange(a)
        found = scipy_stats.mannwhitneyu(apart, np.arange(b), alternative="less", method="exact")
        assert found.statistic == u
        return float(found.pvalue)

    assert rank >= 1
    assert chance(rank - 1) <= 0.005 < chance(rank)


def test_the_ranks_of_many_times_are_those_of_the_normal_distribution() -> None:
    """Exactly counted and approximated, the rank of 20 and 20 differs by one at most."""
    middle, spread = 200, np.sqrt(400 * 41 / 12)
    assert abs(_outer_rank(20, 20, 0.99) - (middle - 2.5758 * spread + 0.5)) < 1.5
    assert _outer_rank(30, 40, 0.99) == int(600 - 2.5758 * np.sqrt(1200 * 71 / 12) + 0.5)


def test_rates_differ_when_their_exact_bounds_say_so() -> None:
    assert rate_effect("flips", (0, 299), (0, 299), 0.99).verdict == "cannot-tell"
    assert rate_effect("flips", (0, 2000), (40, 2000), 0.99).verdict == "higher"
    assert rate_effect("flips", (40, 2000), (0, 2000), 0.99).verdict == "lower"
