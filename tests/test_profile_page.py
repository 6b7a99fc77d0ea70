"""The page of a profile: what the samples state, what they cannot, and what is doubted."""

from __future__ import annotations

import dataclasses
import random
import re

import msgspec
import pytest
from stored_results import DRIFT, result

from medge.bench.doubts import Doubt
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.profile.run import Profiled
from medge.bench.result import Result
from medge.bench.sections import Absent, Evidence, Golden, Memory, Overhead, Sections
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.pages import profile as page

EVIDENCE = Evidence(
    bundle="tiny 1.0.0",
    model_sha256="a" * 64,
    data_sha256=None,
    versions={},
    seeds={},
    command=(),
    deviations=("energy left out",),
)
MEMORY = Memory(
    base_rss_bytes=50_000_000,
    loaded_rss_bytes=80_000_000,
    peak_rss_bytes=90_000_000,
    base_pss_bytes=None,
    loaded_pss_bytes=None,
    growth_bytes=100_000.0,
    growth_low_bytes=80_000.0,
    growth_high_bytes=120_000.0,
    calls=500,
    source="/proc/self/smaps_rollup",
    device_bytes=Absent(reason="it runs on the CPU"),
)


def taken(stage: str, samples: int, seed: int = 1) -> Measurement:
    """Return 1 ms, 2 ms, ... in an order without waves."""
    times = [1_000_000 * (1 + number) for number in range(samples)]
    random.Random(seed).shuffle(times)  # noqa: S311 - data of a test
    return Measurement(stage, tuple(times), Procedure(span=stage), (1, 1), settled=True)


def found(samples: int = 1000, **changes: object) -> Result:
    sections = Sections(
        evidence=EVIDENCE, golden=Golden(cases=2, max_abs=0.0, tolerance=1.0, shares={"int8": 1.0})
    )
    return msgspec.structs.replace(
        result(2),
        measurements=(taken("file-to-decision", samples), taken("infer", samples)),
        candidate=Candidate(backend="onnxruntime", device="cpu", variant="int8"),
        sections=msgspec.structs.replace(sections, **changes),
        drifts=(),
    )


def rows(section: page.Section, of: Result) -> dict[str, str]:
    return {what: value for _, what, value in section(of)}


def test_the_answer_states_percentiles_with_bounds_that_hold_them() -> None:
    answer = rows(page.answer, found())
    middle = re.fullmatch(
        r"p50 500 ms \((\d+) to (\d+)\); p99 990 ms \(to (\d+)\)", answer["file-to-decision"]
    )
    assert middle is not None
    low, high, tail = map(int, middle.groups())
    # Ranks 469 and 532 of 1,000 independent samples bound the median at 95 % (binomial tables);
    # a shuffled order has some waves by chance, so that these are worth fewer.
    assert 440 <= low <= 469
    assert 532 <= high <= 560
    assert 990 < tail <= 1000
    assert answer["frames a second"].startswith(f"{1000 / tail:.3g} held")


def test_the_answers_of_all_candidates_come_before_any_detail() -> None:
    other = Candidate(backend="openvino", device="cpu", variant="fp32")
    results = (found(), msgspec.structs.replace(found(), candidate=other))
    profiled = Profiled(results=results, reasons=("backend onnxruntime: sealed", "device cpu"))
    with open_bundle(find_bundle("breast-ultrasound")) as bundle:
        table = list(page.profile_rows(bundle, profiled, (7, 8)))
    parts = [part for part, _, _ in table]
    assert table[2] == ("bundle", "run as", "backend onnxruntime: sealed")
    assert [what for part, what, _ in table if part == "answer"].count("measured") == 2
    last_answer = len(parts) - 1 - parts[::-1].index("answer")
    assert last_answer < parts.index("details") < parts.index("stages")
    assert [value for part, _, value in table if part == "details"] == [
        "onnxruntime int8, 1 thread",
        "openvino fp32, 1 thread",
    ]
    assert [value[0] for part, _, value in table if part == "stored"] == ["7", "8"]


def test_what_the_samples_cannot_state_is_a_number_of_calls() -> None:
    few = found(50)
    answer = rows(page.answer, few)
    assert "p99 needs 318 more calls" in answer["file-to-decision"]  # 368 are needed
    stages = rows(page.stages, few)
    assert stages["file-to-decision"].split()[-1] == "-"
    assert stages["p99"] == "needs 318 more calls"
    assert stages["p99.9"] == "needs 3638 more calls"  # 3,688 are


def test_without_a_verdict_the_page_asks_for_one() -> None:
    assert "nobody judged" in rows(page.answer, found())["decisions"]
    judged = msgspec.structs.replace(found(), drifts=(DRIFT,))
    assert "drift inconclusive on avx2: 0 of 100 differ" in rows(page.answer, judged)["decisions"]
    reference = Candidate(backend="onnxruntime", device="cpu", variant="fp32")
    of = msgspec.structs.replace(found(), candidate=reference)
    assert "the reference" in rows(page.answer, of)["decisions"]


def test_what_the_same_took_at_other_times_stands_beside_it_and_in_the_interval() -> None:
    known = found()
    whole, network = known.measurements
    whole = dataclasses.replace(whole, earlier_p50_ns=(390_000_000, 710_000_000))
    known = msgspec.structs.replace(known, measurements=(whole, network))
    told = rows(page.stages, known)
    assert told["at other times"] == (
        "file-to-decision: p50 390 to 710 ms in 2 earlier results, which its interval counts in"
    )
    assert told["file-to-decision"].startswith("500 (390-710)")
    whole = dataclasses.replace(whole, earlier_p50_ns=(390_000_000,))
    known = msgspec.structs.replace(known, measurements=(whole, network))
    assert rows(page.stages, known)["at other times"] == (
        "file-to-decision: p50 390 ms in 1 earlier result, which its interval counts in"
    )
    assert "at other times" not in rows(page.stages, found())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "grows: 100 kB (80 kB to 120 kB), from 500 calls"),
        ({"growth_low_bytes": -5000.0}, "no growth shown: 100 kB (-5 kB to 120 kB), from 500"),
        ({"calls": 60}, "too few calls to tell"),
    ],
)
def test_growth_is_said_only_where_it_is_shown(changes: dict[str, float], expected: str) -> None:
    memory = msgspec.structs.replace(MEMORY, **changes)
    told = rows(page.memory, found(memory=memory))
    assert told["in 1,000 calls"].startswith(expected)
    assert told["loaded"] == "80 MB, 30 MB more"
    assert told["on the device"] == "it runs on the CPU"


def test_own_cost_is_told_as_a_change_of_p50() -> None:
    cost = Overhead(null_ns=5600, ratio=1.002, low=0.998, high=1.006, limit_ratio=1.01)
    told = rows(page.overhead, found(overhead=cost))
    assert told["of a call"].startswith("5.6 us")
    assert told["of sensors"] == "p50 +0.2 % (-0.2 % to +0.6 %), allowed +1 %"
    none = Overhead(null_ns=5600, ratio=None, low=None, high=None, limit_ratio=1.01)
    assert "no sensor is read here" in rows(page.overhead, found(overhead=none))["of sensors"]


def test_what_was_not_asked_for_is_not_shown_and_what_is_absent_has_its_reason() -> None:
    assert list(page.energy(found())) == []
    told = rows(page.energy, found(energy=Absent(reason="no counter")))
    assert told == {"not measured": "no counter"}


def test_a_doubt_of_several_stages_is_told_once_with_every_number() -> None:
    doubt = Doubt("spread", 0.31, 0.1, "close other programs")
    of = found(doubts={"infer": (doubt,), "read": (Doubt("spread", 0.2, 0.1, doubt.text),)})
    assert list(page.doubts(of)) == [
        ("doubts", "spread", "infer 0.31, read 0.2 (limit 0.1): close other programs")
    ]
    assert rows(page.answer, of)["doubts"].startswith("spread: see")
    assert rows(page.answer, found())["doubts"] == "none"


def test_every_deviation_from_the_default_is_said() -> None:
    assert rows(page.proof, found())["not the default"] == "energy left out"
