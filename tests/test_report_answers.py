"""A report answers first: what is fastest, whether it is safe, whether the rate holds."""

from __future__ import annotations

import msgspec
import pytest
from report_pages import in_time, plain, subject
from report_results import candidate, deadline, drift, profiled, session

from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.report.answers import answers
from medge.bench.sections import Golden

MS = 1_000_000


def test_the_fastest_that_may_run_is_the_answer_even_where_another_is_faster() -> None:
    first, safe, _ = answers(subject(*session()))
    assert first.headline == "onnxruntime int8, 2 threads"
    assert first.verdict == "yes"
    assert "1 faster one may not run" in first.detail
    assert safe.headline == "Yes: drift pass, 1 flip in 2,024 images"


def test_its_ratio_to_the_reference_is_that_of_the_rounds_they_shared() -> None:
    times = tuple(10 * MS + place * 1000 for place in range(60))
    twice = tuple(2 * each for each in times)
    fast = profiled(1, 1.0, candidate(variant="int8"), (drift("int8"),))
    slow = profiled(2, 2.0)
    one = msgspec.structs.replace(fast, measurements=(Measurement("infer", times, Procedure()),))
    two = msgspec.structs.replace(slow, measurements=(Measurement("infer", twice, Procedure()),))
    assert "takes 2.00 times as long (2.00 to 2.00, 99 %)" in answers(subject(one, two))[0].detail
    other = msgspec.structs.replace(slow.sections, rounds="others")
    apart = msgspec.structs.replace(two, sections=other)
    assert "in rounds of its own" in answers(subject(one, apart))[0].detail


def test_where_nothing_may_run_the_answer_is_that_none_may() -> None:
    bare = profiled(1, 5.0, candidate("openvino", precision="bf16"))
    first, safe, _ = answers(subject(bare))
    assert first.headline == "None; fastest is openvino bf16, 2 threads"
    assert (first.verdict, safe.verdict) == ("open", "open")
    assert "nobody judged its decisions" in safe.headline


@pytest.mark.parametrize(
    ("verdict", "said"), [("fail", "no"), ("inconclusive", "open"), ("pass", "yes")]
)
def test_safety_follows_the_verdict_on_drift(verdict: str, said: str) -> None:
    judged = profiled(1, 5.0, candidate(variant="int8"), (drift("int8", verdict, 40),))
    assert answers(subject(judged))[1].verdict == said


def test_a_reference_whose_golden_answers_differ_here_may_not_run() -> None:
    golden = Golden(cases=8, max_abs=0.2, tolerance=0.001, shares={"fp32": 1.0})
    wrong = profiled(1, 5.0, golden=golden)
    first, safe, _ = answers(subject(wrong))
    assert (first.verdict, safe.verdict) == ("no", "no")
    assert "differ by 0.20, 0.001 is allowed" in safe.headline
    nothing = msgspec.structs.replace(golden, max_abs=float("nan"))
    assert answers(subject(profiled(1, 5.0, golden=nothing)))[1].verdict == "no"


@pytest.mark.parametrize(
    ("late", "said", "headline"),
    [((), "yes", "Yes: 600 of 600"), ((5,), "open", "Not proven: 599 of 600")],
)
def test_a_replayed_cine_answers_whether_the_rate_holds(
    late: tuple[int, ...], said: str, headline: str
) -> None:
    answer = answers(subject(profiled(1, 17.0, deadline=deadline(late=late))))[2]
    assert answer.verdict == said
    assert answer.headline.startswith(headline)
    assert ("238 more frames" in answer.detail) == (said == "open")


def test_too_many_misses_are_a_no() -> None:
    found = msgspec.structs.replace(deadline(late=(3, 4), dropped=(9,)), missing_frames=0)
    answer = answers(subject(profiled(1, 17.0, deadline=found)))[2]
    assert (answer.verdict, answer.headline) == ("no", "No: 597 of 600 frames on time")


@pytest.mark.parametrize(
    # MLPerf's early stopping: p99 with 99 % confidence needs 459 in time, 662 where one was
    # not, 838 where two were not.
    ("calls", "late", "said", "more"),
    [
        (458, 0, "Not proven: 458 of 458 calls in time", "1 more call in time"),
        (459, 0, "Likely: 459 of 459 calls in time", None),
        (600, 1, "Not proven: 599 of 600 calls in time", "62 more calls in time"),
        (100, 2, "Not proven: 98 of 100 calls in time", "738 more calls in time"),
        (100, 9, "No: only 91 of 100 calls in time", None),
    ],
)
def test_without_a_cine_single_calls_tell_how_many_are_missing(
    calls: int, late: int, said: str, more: str | None
) -> None:
    answer = answers(subject(plain(in_time(calls, late))))[2]
    assert answer.headline == said
    assert ("more call" in answer.detail) == (more is not None)
    assert (more or "no cine was replayed") in answer.detail or "No cine" in answer.detail
    assert answer.verdict != "yes"  # only frames that arrive at their rate prove it
