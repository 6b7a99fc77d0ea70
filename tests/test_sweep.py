"""Sweep: which load is tried, when it ends, and what is told of what could not be measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from bundles import tiny_bundle

from medge.bench.entrants import build
from medge.bench.measure import Call
from medge.bench.profile.sweep import Room, best_of, sweep
from medge.bench.sections import LoadPoint
from medge.engine.bundle import open_bundle
from medge.engine.sealed import Candidate
from medge.errors import BackendError

S = 1_000_000_000
MS = 1_000_000
GB = 1_000_000_000
MUCH = 9999 * GB
BASE = Candidate(backend="onnxruntime", device="cpu", variant="fp32", threads=2)
R = TypeVar("R")


class Device:
    """A clock that moves while calls run, and a memory that loading fills.

    ``cost_ns(batch, streams)`` is what one call takes in each of its streams at the same time.
    """

    def __init__(
        self,
        cost_ns: Callable[[int, int], int],
        fixed: int | None = None,
        free_bytes: int = MUCH,
    ) -> None:
        self.now_ns, self.free_bytes = 0, free_bytes
        self.cost_ns, self.fixed = cost_ns, fixed
        self.loaded: list[tuple[int, int]] = []
        self.opened: list[tuple[int, int]] = []
        self.picture_bytes = GB

    def open(self, candidate: Candidate) -> Lanes:
        key = candidate.batch, candidate.streams
        self.opened.append(key)
        self.loaded.append(key)
        self.free_bytes -= self.picture_bytes * candidate.batch * candidate.streams
        return Lanes(self, candidate)

    def clock(self) -> int:
        return self.now_ns

    def sweep(self, cores: int = 1, budget_ns: int = 1000 * S) -> tuple[LoadPoint, ...]:
        room = Room(lambda: MUCH - self.free_bytes, lambda: self.free_bytes)
        found = sweep(self.open, BASE, cores, room, budget_ns=budget_ns, clock=self.clock)
        assert not self.loaded  # everything was closed
        return found


class Lanes:
    def __init__(self, device: Device, candidate: Candidate) -> None:
        self.device, self.candidate = device, candidate
        self.pictures = candidate.batch * candidate.streams
        self.fixed_batch = device.fixed

    def in_streams(self, work: Callable[[Call], R]) -> list[R]:
        device, batch, streams = self.device, self.candidate.batch, self.candidate.streams
        begun, found = device.now_ns, []

        def call() -> None:
            device.now_ns += device.cost_ns(batch, streams)

        for _ in range(streams):
            device.now_ns = begun  # all streams run at the same time
            found.append(work(call))
        return found

    def close(self) -> None:
        self.device.loaded.remove((self.candidate.batch, self.candidate.streams))
        self.device.free_bytes += self.device.picture_bytes * self.pictures


def told(points: tuple[LoadPoint, ...]) -> list[tuple[int, int]]:
    return [(point.batch, point.streams) for point in points]


def test_batches_grow_until_two_in_a_row_bring_no_more() -> None:
    """10 ms for each call and 10 for each picture: beyond batch 32 less than 3 % is gained."""
    points = Device(lambda batch, streams: 10 * MS * (1 + batch)).sweep()
    assert [batch for batch, _ in told(points)] == [1, 2, 4, 8, 16, 32, 64, 128]
    best = best_of(points)
    assert best is not None
    assert best.batch == 128
    assert best.pictures_per_s == pytest.approx(100 * 128 / 129)
    assert points[0].pictures_per_s == pytest.approx(50)


def test_one_bad_size_does_not_end_the_way_up() -> None:
    points = Device(lambda batch, streams: 50 * MS if batch == 2 else 20 * MS).sweep()
    assert [batch for batch, _ in told(points)] == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_streams_come_after_batches_and_then_both() -> None:
    """Streams scale wholly, batches not at all."""
    points = Device(lambda batch, streams: 20 * MS * batch).sweep(cores=4)
    assert told(points) == [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 4), (4, 4)]
    best = best_of(points)
    assert best is not None
    assert (best.batch, best.streams, best.threads) == (1, 4, 4)
    assert best.pictures_per_s == pytest.approx(200)


def test_latency_is_that_of_every_call_under_load() -> None:
    point = Device(lambda batch, streams: 30 * MS, fixed=1).sweep(cores=2)[2]
    assert (point.batch, point.streams) == (1, 2)
    assert point.measurement is not None
    assert set(point.measurement.samples_ns) == {30 * MS}
    assert point.measurement.procedure.streams == 2
    assert point.measurement.procedure.threads == 2


def test_a_graph_of_batch_1_has_a_reason_and_still_its_streams() -> None:
    points = Device(lambda batch, streams: 20 * MS, fixed=1).sweep(cores=2)
    assert told(points) == [(1, 1), (2, 1), (1, 2)]
    assert points[1].reason == "the graph takes batches of 1 only"
    assert points[1].measurement is points[1].pictures_per_s is None


def test_what_would_not_fit_into_memory_is_not_loaded() -> None:
    device = Device(lambda batch, streams: 10 * MS * (1 + batch), free_bytes=20 * GB)
    points = device.sweep()
    assert points[-1].reason == "not tried: it may need 16.0 GB of memory, 12.0 GB are free"
    assert (16, 1) not in device.opened


@pytest.mark.parametrize("budget_s", [1, 5, 20, 60])
def test_the_sweep_ends_within_its_time(budget_s: int) -> None:
    device = Device(lambda batch, streams: 10 * MS * (10 + batch))
    points = device.sweep(cores=2, budget_ns=budget_s * S)
    assert points[0].pictures_per_s is not None  # one point there always is
    assert device.now_ns <= max(budget_s, 4) * 1.1 * S
    reasons = {point.reason for point in points} - {None}
    assert reasons == {"not tried: the time for the sweep was over"}


def test_what_cannot_be_loaded_says_why_and_ends_its_way_only() -> None:
    device = Device(lambda batch, streams: 20 * MS)
    whole = device.open

    def refusing(candidate: Candidate) -> Lanes:
        if candidate.batch == 2:
            raise BackendError("runtime-failed", "too large for this device. Free memory.")
        return whole(candidate)

    device.open = refusing  # type: ignore[method-assign]
    points = device.sweep(cores=2)
    assert points[1].reason == "too large for this device. Free memory."
    assert told(points)[:3] == [(1, 1), (2, 1), (1, 2)]


def test_what_stops_the_whole_sweep_leaves_nothing_loaded() -> None:
    device = Device(lambda batch, streams: 20 * MS)
    calls = 0

    def cost_ns(batch: int, streams: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise KeyboardInterrupt
        return 20 * MS

    device.cost_ns = cost_ns
    room = Room(lambda: 0, lambda: MUCH)
    with pytest.raises(KeyboardInterrupt):
        sweep(device.open, BASE, 1, room, clock=device.clock)
    assert not device.loaded


def test_a_real_network_is_swept(tmp_path: Path) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        points = sweep(
            lambda candidate: build(bundle, candidate),
            BASE,
            2,
            Room(lambda: 0, lambda: MUCH),
            budget_ns=S // 2,
        )
    assert points[0].pictures_per_s is not None
    assert all(point.measurement or point.reason for point in points)
