"""What LoadGen is asked to run, and again with what, against a network of known speed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from medge.bench.profile.process import Worker
from medge.bench.scenario.loadgen import Gauge, Gauged, Run
from medge.bench.scenario.loadgen_plan import TOO_EARLY, Request, loadgen_runs
from medge.bench.sections import LoadgenRun

MS = 1_000_000


class Network:
    """Answers as LoadGen would of a network that holds ``qps`` under Server's latency bound.

    ``long_qps`` is what it holds over a whole run, and ``pictures_per_s`` what it answers Offline.
    """

    def __init__(
        self, qps: float = 60.0, long_qps: float | None = None, pictures_per_s: float = 100.0
    ) -> None:
        self.qps, self.pictures_per_s = qps, pictures_per_s
        self.long_qps = qps if long_qps is None else long_qps
        self.one_ns, self.one_p99_ns = 10 * MS, 7 * MS
        self.asked: list[Run] = []

    def ask(self, _function: Callable[..., Any], asked: Gauge | Run, limit_s: float) -> Any:
        assert limit_s > 100
        if isinstance(asked, Gauge):
            return Gauged(
                one_ns=self.one_ns,
                one_p99_ns=self.one_p99_ns,
                eight_ns=8 * self.one_ns,
                pictures_per_s=100.0,
            )
        self.asked.append(asked)
        seconds = (asked.min_duration_ms or 600_000) / 1e3
        in_time = asked.qps <= (self.qps if seconds < 600 else self.long_qps)
        # LoadGen makes 1.1 times the pictures that it is told to expect.
        offline = asked.scenario == "Offline" and asked.mode != "AccuracyOnly"
        early = offline and 1.1 * asked.qps < self.pictures_per_s
        valid = not early and (asked.scenario != "Server" or in_time)
        return LoadgenRun(
            scenario=asked.scenario,
            mode=asked.mode,
            version="6",
            official=False,
            settings={},
            valid=valid,
            in_time=in_time,
            metric="figure",
            value=self.pictures_per_s,
            unit="pictures/s",
            told=(TOO_EARLY,) if early else (),
            folder=os.fsdecode(asked.folder),
        )

    def runs(self, request: Request, folder: Path = Path("/logs")) -> tuple[LoadgenRun, ...]:
        return tuple(loadgen_runs(cast(Worker, self), request, folder))

    def names(self) -> list[str]:
        return [Path(os.fsdecode(run.folder)).name for run in self.asked]


def test_official_runs_change_no_number_of_mlperf_conf() -> None:
    network = Network()
    network.runs(Request(official=True))
    for run in network.asked:
        if "probe" not in os.fsdecode(run.folder):
            assert (run.min_duration_ms, run.min_queries, run.bound_ns) == (None, None, None)
        assert run.pictures.wanted == 1024


def test_each_scenario_is_proven_run_and_audited() -> None:
    network = Network()
    runs = network.runs(Request(official=True, scenarios=("MultiStream",)))
    assert [run.mode for run in runs] == ["AccuracyOnly", "PerformanceOnly", "TEST01", "TEST04"]
    accuracy, plain, audit, _ = network.asked
    assert (audit.reference, audit.answers) == (runs[1], accuracy.folder)
    assert (audit.expected_ns, audit.qps) == (plain.expected_ns, plain.qps)


@pytest.mark.parametrize("held", [3.0, 31.0, 60.0, 99.0])
def test_servers_rate_is_found_within_a_thirtieth_of_what_the_network_does(held: float) -> None:
    network = Network(qps=held)
    *_, found = network.runs(Request(official=True, audits=False, scenarios=("Server",)))
    assert found.valid
    assert sum("probe" in name for name in network.names()) == 5
    final = network.asked[-1].qps
    assert held - 100 / 32 < final / 0.9
    assert final <= held


def test_a_rate_that_is_not_held_for_the_whole_run_is_lowered_and_every_run_told() -> None:
    network = Network(qps=60.0, long_qps=45.0)
    runs = network.runs(Request(official=True, audits=False, scenarios=("Server",)))
    told = [run.valid for run in runs if run.mode == "PerformanceOnly"]
    assert told == [False, False, True]  # 53, 48 and 43 a second
    assert network.names()[-3:] == ["Server-run", "Server-run-2", "Server-run-3"]


def test_a_network_that_holds_no_rate_is_told_invalid_and_not_audited() -> None:
    network = Network(qps=0.0)
    runs = network.runs(Request(official=True, scenarios=("Server",)))
    assert [run.valid for run in runs if run.mode == "PerformanceOnly"] == [False] * 3
    assert not any(run.mode.startswith("TEST") for run in runs)


def test_the_latency_bound_is_twice_p99_only_where_mlperfs_leaves_no_room() -> None:
    fast, slow = Network(), Network()
    slow.one_p99_ns = 20 * MS
    for network in (fast, slow):
        network.runs(Request(official=True, audits=False, scenarios=("Server",)))
    assert fast.asked[-1].bound_ns is None  # 2 x 7 ms is within 15 ms
    assert slow.asked[-1].bound_ns == 40 * MS


def test_a_network_faster_than_expected_gets_more_pictures() -> None:
    network = Network(pictures_per_s=150.0)  # the gauge said 100
    runs = network.runs(Request(official=True, audits=False, scenarios=("Offline",)))
    assert [run.valid for run in runs] == [True, False, True]
    assert network.asked[-1].qps > network.asked[-2].qps


def test_a_shortened_run_keeps_to_its_budget() -> None:
    network = Network()
    network.runs(Request(seconds=60.0))
    for run in network.asked:
        assert run.min_duration_ms is not None
        assert run.min_duration_ms <= 6000
        assert run.pictures.wanted == 64
        if run.scenario == "MultiStream":
            assert run.min_queries == 75  # of 80 ms each in 6 s; mlperf.conf has 662
    timed = [run for run in network.asked if run.mode != "AccuracyOnly"]
    assert sum(run.min_duration_ms or 0 for run in timed) <= 60_000
