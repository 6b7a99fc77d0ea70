"""Earlier results: which of them are of the same, and what a new result makes of them."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace
from profiled_results import profiled

from medge.bench.compare import compare_results
from medge.bench.earlier import MOST_EARLIER, beside_earlier
from medge.bench.exchange import decode, encode
from medge.bench.result import Result
from medge.bench.sound import faults
from medge.bench.stats import percentile
from medge.bench.store import Store
from medge.engine.sealed import Candidate
from medge.errors import InputError
from medge.profiles.device import Device


def of(seed: int, p50_ms: float = 5.0) -> Result:
    """Results of one bundle, candidate and device."""
    return replace(profiled(seed, p50_ms), bundle_sha256="b" * 64)


def p50_ns(result: Result) -> int:
    return percentile(result.measurements[0].samples_ns, 0.5)


def earlier_ns(result: Result) -> tuple[int, ...]:
    return result.measurements[0].earlier_p50_ns


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "results.sqlite")


def test_a_first_result_knows_of_no_other_time(store: Store) -> None:
    assert beside_earlier(of(1), store) == of(1)


def test_medians_of_the_same_are_known_the_oldest_first(store: Store) -> None:
    before = [of(1, 4.0), of(2, 7.0), of(3, 5.5)]
    for one in before:
        store.add(one)
    found = beside_earlier(of(4), store)
    assert earlier_ns(found) == tuple(p50_ns(one) for one in before)
    assert found.measurements[1].earlier_p50_ns == tuple(
        percentile(one.measurements[1].samples_ns, 0.5) for one in before
    )


@pytest.mark.parametrize(
    "unlike",
    [
        {"bundle_sha256": "c" * 64},
        {"candidate": Candidate(backend="openvino", device="cpu", variant="int8")},
        {"backend_version": "1.24.0"},
        {"device_identity": "another machine"},
    ],
    ids=["bundle", "candidate", "runtime", "machine"],
)
def test_what_is_of_something_else_is_left_out(store: Store, unlike: dict[str, object]) -> None:
    store.add(replace(of(1), **unlike))
    assert earlier_ns(beside_earlier(of(2), store)) == ()


def test_what_was_measured_under_another_procedure_is_left_out(store: Store) -> None:
    first, second = of(1).measurements
    rested = dataclasses.replace(first, procedure=replace(first.procedure, rest_ns=1000))
    store.add(replace(of(1), measurements=(rested, second)))
    found = beside_earlier(of(2), store)
    assert found.measurements[0].earlier_p50_ns == ()
    assert len(found.measurements[1].earlier_p50_ns) == 1


def test_another_seed_of_the_order_is_the_same_procedure(store: Store) -> None:
    taken = tuple(
        dataclasses.replace(one, procedure=replace(one.procedure, seed=7))
        for one in of(1).measurements
    )
    store.add(replace(of(1), measurements=taken))
    assert len(earlier_ns(beside_earlier(of(2), store))) == 1


def test_only_the_newest_are_known(store: Store) -> None:
    for seed in range(MOST_EARLIER + 3):
        store.add(of(seed))
    known = earlier_ns(beside_earlier(of(99), store))
    assert known == tuple(p50_ns(of(seed)) for seed in range(3, MOST_EARLIER + 3))


def test_a_result_that_cannot_be_read_is_left_out(store: Store, tmp_path: Path) -> None:
    store.add(of(1))
    store.add(of(2))
    with sqlite3.connect(tmp_path / "results.sqlite") as file:
        file.execute("UPDATE measurement SET samples_ns = zeroblob(80) WHERE result = 1")
    assert earlier_ns(beside_earlier(of(3), store)) == (p50_ns(of(2)),)


def test_what_is_known_is_stored_and_exchanged(store: Store) -> None:
    store.add(of(1, 7.0))
    found = beside_earlier(of(2), store)
    assert store.get(store.add(found)) == found
    assert decode(encode(found), "one.json") == found


def test_results_of_other_times_that_lie_apart_are_a_doubt(store: Store) -> None:
    store.add(of(1, 5.1))
    calm = beside_earlier(of(2, 5.0), store)
    assert calm.sections is not None
    assert "sessions" not in {doubt.name for doubt in calm.sections.doubts["infer"]}
    store.add(of(3, 7.5))
    moved = beside_earlier(of(4, 5.0), store)
    assert moved.sections is not None
    (doubt,) = (one for one in moved.sections.doubts["infer"] if one.name == "sessions")
    assert doubt.value == pytest.approx(0.5, abs=0.02)
    assert doubt.limit == 0.05
    assert len(moved.sections.doubts["infer"]) == 2, "the one of its own is lost"


def sessions(store: Store, *p50_ms: float) -> list[Result]:
    """Results of the same, one after the other, each of which knows of those before."""
    found = []
    for seed, middle in enumerate(p50_ms):
        found.append(beside_earlier(of(seed, middle), store))
        store.add(found[-1])
    return found


def test_a_device_whose_speed_changes_by_itself_is_not_called_slower(store: Store) -> None:
    """5 and 6 ms differ; on a device that took 5 to 7 ms for the same before, they tell nothing."""
    *_, before, after = sessions(store, 5.0, 7.0, 5.2, 5.0, 6.0)
    assert compare_results(before, after).latency.verdict == "cannot-tell"


@pytest.mark.parametrize("order", [1, -1], ids=["older first", "newer first"])
def test_a_device_that_changed_once_is_told(store: Store, order: int) -> None:
    """The newer result knows of the older one, which must not hide the change."""
    one, other = sessions(store, 5.0, 6.0)[::order]
    assert compare_results(one, other).latency.verdict == ("slower" if order > 0 else "faster")


def test_a_device_that_was_steady_until_it_changed_is_told(store: Store) -> None:
    *_, before, after = sessions(store, 5.0, 5.02, 4.98, 5.0, 6.0)
    assert compare_results(before, after).latency.verdict == "slower"


def test_a_document_with_an_impossible_earlier_median_is_refused() -> None:
    one = of(1)
    taken = dataclasses.replace(one.measurements[0], earlier_p50_ns=(0,))
    false = replace(one, measurements=(taken,))
    assert any("earlier median" in fault for fault in faults(false))
    with pytest.raises(InputError) as refused:
        decode(encode(false), "false.json")
    assert refused.value.rule == "document-numbers"


def test_devices_are_told_apart_by_what_they_are(store: Store) -> None:
    other = Device("another CPU", 8, 1, "avx512", {})
    store.add(replace(of(1), device=other, device_identity="other"))
    assert earlier_ns(beside_earlier(of(2), store)) == ()
