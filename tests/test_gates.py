"""Gates: a small grammar read strictly, and limits that only a whole interval can break."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from profiled_results import profiled

from medge.bench.compare import compare_results
from medge.bench.gates import METRICS, UNITS, Gate, judge, parse, percentiles
from medge.errors import UsageError

percentile = st.integers(1, 99_999).map(lambda thousandths: f"p{thousandths / 1000:g}")
percentile = percentile.filter(lambda name: not name.startswith("p0"))
metrics = st.one_of(percentile, st.sampled_from(sorted(METRICS)))
spaces = st.sampled_from(["", " ", "  "])
digits = st.one_of(
    st.integers(0, 10**9).map(str), st.decimals(0, 1000, places=3).map(lambda d: f"{d:f}")
)


@given(metrics, st.sampled_from("<>"), st.sampled_from("+-"), digits, spaces)
def test_a_change_is_read_as_it_is_meant(
    metric: str, side: str, sign: str, number: str, blank: str
) -> None:
    gate = parse(f"{blank}{metric}{blank}{side}{blank}{sign}{number}{blank}%")
    assert (gate.metric, gate.change) == (metric, True)
    assert gate.fails == ("above" if side == ">" else "below")
    assert math.isclose(gate.limit, float(f"{sign}{number}") / 100, abs_tol=1e-15)


@given(metrics, digits, st.sampled_from(list(UNITS)))
def test_a_figure_needs_a_unit_of_its_metric(metric: str, number: str, unit: str) -> None:
    kind, factor = UNITS[unit]
    if METRICS.get(metric, "ns") == kind:
        gate = parse(f"{metric}>{number}{unit}")
        assert (gate.change, gate.limit) == (False, float(number) * factor)
        return
    with pytest.raises(UsageError) as refused:
        parse(f"{metric}>{number}{unit}")
    assert refused.value.rule == "gate"


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=30), st.text("p0159.<>=+-% msGB", max_size=14)))
def test_any_text_is_a_gate_that_means_itself_or_is_refused(text: str) -> None:
    try:
        gate = parse(text)
    except UsageError as refused:
        told = (refused.rule, "p99 > +5%" in refused.message)
    else:
        told = ("gate", parse(gate.text) == gate and math.isfinite(gate.limit))
    assert told == ("gate", True)


@pytest.mark.parametrize(
    "text",
    [
        "", "p99", "p99 >", "p99 > 5", "p99 > +5", "p99 > 5%", "p99 > +5ms", "p99 >= +5%",
        "p99 => +5%", "p99 > 5 %%", "p0 > +5%", "p100 > +5%", "p099 > +5%", "P99 > +5%",
        "mean > +5%", "energy > 5ms", "memory > 5mJ", "p99 > 5MS", "p99 > .5ms", "p99 > 1e3ms",
        "p99 > +-5%", "p99 > \uff15ms", "p99 > +5%; rm", "p99 > nan%", "flips > 1ms", "p99\n> +5%",
    ],
)  # fmt: skip
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert refused.value.rule == "gate"


def judged(text: str, p50_ms: float) -> str:
    found = compare_results(profiled(1), profiled(2, p50_ms))
    return judge([parse(text)], found)[0].outcome


@pytest.mark.parametrize(
    ("text", "p50_ms", "outcome"),
    [
        ("p50 > +5%", 5.0, "holds"),
        ("p50 > +5%", 6.0, "fails"),
        ("p50 > +20%", 6.0, "cannot-tell"),
        ("p50 < -20%", 4.0, "cannot-tell"),
        ("p50 < -5%", 4.0, "fails"),
        ("p50 < -30%", 4.0, "holds"),
        ("p50 > 5.5ms", 5.0, "holds"),
        ("p50 > 5500us", 6.0, "fails"),
        ("p50 > 5 ms", 5.0, "cannot-tell"),
        ("p99 > +5%", 6.0, "fails"),
        ("memory > +10%", 5.0, "holds"),
        ("memory > 100MB", 5.0, "fails"),
        ("energy > +50%", 5.0, "holds"),
        ("energy > 1mJ", 5.0, "fails"),
        ("cold-start > +50%", 5.0, "holds"),
        ("misses > +90%", 5.0, "holds"),
        ("misses > +1%", 5.0, "cannot-tell"),
        ("misses > 1%", 5.0, "fails"),
    ],
)
def test_a_gate_fails_only_when_the_interval_says_so(
    text: str, p50_ms: float, outcome: str
) -> None:
    assert judged(text, p50_ms) == outcome


def test_what_was_not_measured_cannot_be_judged_and_says_why() -> None:
    found = compare_results(profiled(1), replace(profiled(2), sections=None))
    with pytest.raises(UsageError, match="energy: B: not measured") as refused:
        judge([parse("energy > +5%")], found)
    assert refused.value.rule == "gate-metric"
    with pytest.raises(UsageError, match="neither side has it"):
        judge([parse("device-memory > +5%")], found)


def test_percentiles_that_gates_name_are_compared() -> None:
    gates = [parse("p95 > +5%"), parse("p50.0 > 1ms"), parse("memory > +5%")]
    assert percentiles(gates) == (0.95, 0.5)
    found = compare_results(profiled(1), profiled(2), percentiles=(0.5, 0.95))
    assert [one.outcome for one in judge(gates, found)] == ["holds", "fails", "holds"]


def test_a_change_that_is_not_bounded_cannot_be_told() -> None:
    found = compare_results(profiled(1, samples=50), profiled(2, 50.0, samples=50))
    gate = Gate(text="p99 > +5%", metric="p99", fails="above", change=True, limit=0.05)
    assert judge([gate], found)[0].outcome == "cannot-tell"
