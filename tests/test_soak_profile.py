"""A soak within a profile: a real network in its own process, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medge.bench.profile import run as run_module
from medge.bench.profile.process import Worker
from medge.bench.profile.request import ProfileRequest
from medge.bench.profile.run import Profiled, profile
from medge.bench.scenario.soak import Duty
from medge.bench.sections import Absent, Sections, Soak
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.profiles.sensors import open_sensors

SECOND = 1_000_000_000
SHORT = ProfileRequest(
    budget_ns=200_000_000,
    cold_starts=0,
    overhead=False,
    soak=Duty(2 * SECOND, SECOND // 2, SECOND // 2),
)


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    with open_bundle(find_bundle("breast-ultrasound")) as opened:
        yield opened


def sections(profiled: Profiled) -> Sections:
    (result,) = profiled.results
    assert result.sections is not None
    return result.sections


def test_a_real_network_is_soaked_after_all_else_and_what_no_sensor_tells_has_its_reason(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "open_sensors", lambda: open_sensors(tmp_path))
    told: list[str] = []
    profiled = profile(bundle, SHORT, told.append)
    whole = sections(profiled)
    assert isinstance(whole.energy, Absent)
    assert "/sys/class/powercap has no energy counter" in whole.energy.reason
    found = whole.soak
    assert isinstance(found, Soak)
    assert found.throttle_s == Absent(
        reason="the kernel tells neither thermal_throttle of a CPU nor a cooling device that slows "
        "one"
    )
    assert told[-1].startswith("soaking ")
    assert (found.interrupted, profiled.interrupted) == (False, False)
    assert found.sustained_per_s > 1.0
    (minute,) = found.minutes
    assert minute.pictures >= 2
    assert found.lasted_ns is not None
    assert 1.4 * SECOND < found.lasted_ns < 30 * SECOND
    assert found.ratio == 1.0  # the only minute is the first and the last


def test_a_candidate_that_dies_in_its_soak_keeps_what_was_measured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: list[Worker] = []
    start = Worker.__init__

    def remembered(self: Worker) -> None:
        start(self)
        workers.append(self)

    monkeypatch.setattr(Worker, "__init__", remembered)

    def told(step: str) -> None:
        if step.startswith("soaking "):
            threading.Timer(2.0, os.kill, (workers[-1].pid, signal.SIGKILL)).start()

    long = ProfileRequest(
        budget_ns=200_000_000, cold_starts=0, overhead=False, energy=False, sensors=False,
        soak=Duty(600 * SECOND, 600 * SECOND, 0),
    )  # fmt: skip
    monkeypatch.setattr("medge.bench.scenario.soak.LONGEST_NS", SECOND // 4)
    profiled = profile(bundle, long, told)
    found = sections(profiled)
    assert isinstance(found.soak, Soak)
    assert found.soak.interrupted
    assert isinstance(found.soak.throttle_s, Absent)
    assert "the soak ended before its time: worker-crash" in found.evidence.deviations
    assert not profiled.interrupted
