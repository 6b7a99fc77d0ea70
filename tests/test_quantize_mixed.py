"""Mixed precision: few reverts, none on noise, within the time, and a killed search goes on."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from quantize_kit import judged

from medge.engine.evidence import Drift
from medge.engine.state import state_folder
from medge.exporters.journal import Journal
from medge.exporters.mixed import (
    GROUPS,
    Means,
    can_improve,
    layer_groups,
    rank_groups,
    search,
    surely_positive,
)
from medge.exporters.precision import Candidate


@dataclass
class Net:
    """A network of single layers whose INT8 losses add up, as a search sees it.

    ``error`` is each layer's part of the squared error, ``flips`` its part of 1000 decisions,
    ``cost`` how much slower it makes the graph to keep it in fp32.
    """

    error: dict[int, float]
    flips: dict[int, int]
    cost: dict[int, float] = field(default_factory=dict)
    steps: int = 10**6
    noise: float = 0.0
    asked: list[frozenset[int]] = field(default_factory=list)

    def make(self, wide: frozenset[int]) -> Candidate:
        return Candidate("mixed", "", repr(sorted(wide)).encode(), 17, 0, 0, wide=wide)

    def errors(self, candidate: Candidate) -> np.ndarray:
        random = np.random.default_rng(len(candidate.wide) * 1000 + sum(candidate.wide))
        left = sum(value for layer, value in self.error.items() if layer not in candidate.wide)
        return left * np.ones(32) + self.noise * random.normal(size=32)

    def slower(self, one: Candidate, other: Candidate) -> float:
        return 1 + sum(self.cost.get(layer, 0.1) for layer in other.wide - one.wide)

    def judge(self, candidate: Candidate) -> tuple[Drift, ...]:
        self.asked.append(candidate.wide)
        left = sum(value for layer, value in self.flips.items() if layer not in candidate.wide)
        return (judged("mixed", left),)

    def in_time(self) -> bool:
        self.steps -= 1
        return self.steps >= 0

    @property
    def means(self) -> Means:
        return Means(self.make, self.errors, self.slower, self.judge, self.in_time, lambda _: None)

    @property
    def groups(self) -> list[frozenset[int]]:
        return [frozenset({layer}) for layer in self.error]


def test_the_one_layer_that_loses_decisions_is_found_with_one_judgement() -> None:
    net = Net(error={0: 0.1, 1: 5.0, 2: 0.2}, flips={0: 1, 1: 60, 2: 1})
    found = search(net.groups, net.means)
    assert found is not None
    assert found.candidate.wide == {1}
    assert found.judged[0].verdict == "pass"
    assert net.asked == [frozenset({1})]


def test_error_per_time_ranks_and_not_error_alone() -> None:
    net = Net(error={0: 4.0, 1: 3.0}, flips={0: 1, 1: 1}, cost={0: 0.8, 1: 0.1})
    assert [sorted(group.layers) for group in rank_groups(net.groups, frozenset(), net.means)] == [
        [1],
        [0],
    ]


@pytest.mark.parametrize("needed", range(1, 13))
def test_no_more_groups_are_reverted_than_are_needed(needed: int) -> None:
    """Layers in order of error; the first ``needed`` must all be wide for a pass."""
    error = {layer: float(20 - layer) for layer in range(12)}
    flips = {layer: (100 if layer == needed - 1 else 0) for layer in range(12)}
    net = Net(error=error, flips=flips)
    found = search(net.groups, net.means)
    assert found is not None
    assert found.judged[0].verdict == "pass"
    assert found.candidate.wide == frozenset(range(needed))
    assert len(net.asked) <= 8


def test_nothing_is_reverted_on_noise() -> None:
    net = Net(error=dict.fromkeys(range(8), 0.0), flips={0: 60}, noise=1.0)
    assert search(net.groups, net.means) is None
    assert net.asked == []


@pytest.mark.parametrize("seed", range(20))
def test_an_effect_that_resampling_explains_is_no_effect(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert not surely_positive(random.normal(0, 1, 32) - 0.2, 0.05 / 12)
    assert surely_positive(random.normal(3, 1, 32), 0.05 / 12)


def test_verdicts_that_only_more_images_would_better_are_left_alone() -> None:
    assert not can_improve([judged("int8", 0, cases=100)])  # inconclusive without a loss
    assert not can_improve([judged("int8", 3)])  # a pass
    assert not can_improve([judged("int8", 60), judged("int8", 3)])  # a pass on one backend
    assert can_improve([judged("int8", 9)])  # inconclusive, with losses
    assert can_improve([judged("int8", 60)])


def test_when_the_time_is_over_the_best_so_far_is_returned() -> None:
    error = {layer: float(20 - layer) for layer in range(12)}
    net = Net(error=error, flips=dict.fromkeys(range(12), 30), steps=1 + 12 + 2)
    found = search(net.groups, net.means)
    assert found is not None
    assert found.candidate.wide == frozenset(net.asked[-1])
    assert len(net.asked) == 2
    assert search(net.groups, Net(error=error, flips={}, steps=0).means) is None


def test_a_second_round_begins_where_the_first_ended() -> None:
    """Layer 1's effect shows only when layer 0, which drowns it in noise, is wide."""

    class Hidden(Net):
        def errors(self, candidate: Candidate) -> np.ndarray:
            random = np.random.default_rng(len(candidate.wide))
            loud = 0 not in candidate.wide
            quiet = 1.0 if 1 not in candidate.wide else 0.0
            return 500.0 * loud + quiet + 100 * loud * random.normal(size=32) + np.zeros(32)

    net = Hidden(error={0: 1.0, 1: 1.0}, flips={0: 30, 1: 30})
    found = search(net.groups, net.means)
    assert found is not None
    assert found.candidate.wide == {0, 1}
    assert found.judged[0].verdict == "pass"


@pytest.mark.parametrize("needed", range(1, 14))
def test_what_is_told_to_be_left_is_never_too_little(needed: int) -> None:
    """13 is more than there are: no number of reverts is enough."""
    error = {layer: float(20 - layer) for layer in range(12)}
    flips = {layer: (100 if layer == needed - 1 else 0) for layer in range(12)} | {99: 0}
    if needed == 13:
        flips[99] = 100
    net = Net(error=error, flips=flips)
    told: list[str] = []
    means = dataclasses.replace(net.means, told=told.append, clock=lambda: float(len(net.asked)))
    search(net.groups, means)
    left = [int(said.split("at most ")[1].split()[0]) for said in told if "at most" in said]
    assert all(later < sooner for sooner, later in itertools.pairwise(left))
    assert left[0] == 7
    eta = [said for said in told if "at most" in said][1:]
    assert all(said.endswith(" s") for said in eta)  # a judgement takes 1 s on this clock


def test_neighbours_are_joined_where_no_group_alone_can_be_told_from_chance() -> None:
    """Each layer's effect drowns in noise; that of four together does not."""

    class Blurred(Net):
        def errors(self, candidate: Candidate) -> np.ndarray:
            random = np.random.default_rng(sum(candidate.wide) + 100 * len(candidate.wide))
            lost = sum(value for layer, value in self.error.items() if layer not in candidate.wide)
            return lost + 9.0 * random.normal(size=32)

    net = Blurred(error=dict.fromkeys(range(8), 2.0), flips=dict.fromkeys(range(4), 30))
    found = search(net.groups, net.means)
    assert found is not None
    assert all(len(wide) >= 2 for wide in net.asked)
    assert len(found.candidate.wide) % 2 == 0


def test_groups_are_few_hold_every_layer_once_and_leave_first_and_last_alone() -> None:
    class View:
        def __init__(self, count: int) -> None:
            self.count = count

        def weighted_nodes(self) -> list[int]:
            return list(range(0, 3 * self.count, 3))

    for count in (1, 2, 12, 13, 53, 121):
        groups = layer_groups(View(count))  # type: ignore[arg-type]
        assert len(groups) <= GROUPS
        assert sorted(layer for group in groups for layer in group) == View(count).weighted_nodes()
        if count > GROUPS:
            assert len(groups[0]) == len(groups[-1]) == 1


def test_the_journal_answers_what_it_was_told_and_nothing_else() -> None:
    journal = Journal(["bundle", "set"])
    assert journal.ask("errors", b"graph", lambda: [1.0, 2.0], list[float]) == [1.0, 2.0]
    drift = judged("int8", 3)
    assert journal.ask("drift", b"graph", lambda: (drift,), tuple[Drift, ...]) == (drift,)

    def never() -> list[float]:
        raise AssertionError("asked again")

    again = Journal(["bundle", "set"])
    assert again.ask("errors", b"graph", never, list[float]) == [1.0, 2.0]
    assert again.ask("drift", b"graph", never, tuple[Drift, ...]) == (drift,)  # type: ignore[arg-type, comparison-overlap]
    assert again.found == 2
    assert Journal(["bundle", "other"]).ask("errors", b"graph", lambda: [3.0], list[float]) == [3.0]
    assert again.ask("errors", b"another graph", lambda: [4.0], list[float]) == [4.0]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"errors x": "no list"}'])
def test_a_damaged_journal_is_begun_anew(damage: bytes) -> None:
    Journal("key").ask("errors", b"graph", lambda: [1.0], list[float])
    (path,) = (state_folder() / "quantize").glob("*/journal.json")
    path.write_bytes(damage)
    assert Journal("key").ask("errors", b"graph", lambda: [2.0], list[float]) == [2.0]


KILLED = """
import os, signal, sys
from medge.exporters.journal import Journal

journal = Journal("search")
for graph in range(5):
    def answer(graph=graph):
        if graph == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        print(graph)
        return [float(graph)]
    journal.ask("errors", bytes([graph]), answer, list[float])
"""


def run_killed(at: int) -> tuple[int, list[int]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", KILLED, str(at)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    return done.returncode, [int(line) for line in done.stdout.split()]


def test_a_killed_search_asks_nothing_twice() -> None:
    code, _ = run_killed(at=3)
    assert code == -signal.SIGKILL
    code, asked = run_killed(at=99)
    assert code == 0
    assert asked == [3, 4]
