"""Energy within a profile: a real network at work while a file counts as a RAPL counter does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medge.bench.profile import energy_run
from medge.bench.profile import run as run_module
from medge.bench.profile.request import ProfileRequest
from medge.bench.sections import Energy, Sections
from medge.engine.bundle import find_bundle, open_bundle
from medge.profiles.sensors import open_sensors

WATTS = 25.0
RANGE_UJ = 60_000_000  # it wraps every 2.4 seconds


@contextmanager
def counter(root: Path) -> Iterator[None]:
    """Count 25 W into energy_uj, as the kernel does: whoever reads it finds one number."""
    zone = root / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    handle = os.open(zone / "energy_uj", os.O_CREAT | os.O_WRONLY, 0o644)
    stop, start_ns = threading.Event(), time.perf_counter_ns()

    def count() -> None:
        while not stop.is_set():
            joules = (time.perf_counter_ns() - start_ns) / 1e9 * WATTS
            os.pwrite(handle, b"%020d" % (round(joules * 1e6) % RANGE_UJ), 0)
            stop.wait(0.002)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        os.close(handle)


def sections(request: ProfileRequest) -> Sections:
    with open_bundle(find_bundle("breast-ultrasound")) as bundle:
        (result,) = run_module.profile(bundle, request).results
    assert result.sections is not None
    return result.sections


QUICK = ProfileRequest(budget_ns=200_000_000, cold_starts=0, overhead=False)


def test_constant_power_costs_a_picture_its_time_and_nothing_above_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy_run, "IDLE_NS", 2_000_000_000)
    monkeypatch.setattr(energy_run, "BUSY_NS", 2_000_000_000)
    with counter(tmp_path):
        monkeypatch.setattr(run_module, "open_sensors", lambda: open_sensors(tmp_path))
        found = sections(QUICK).energy
    assert isinstance(found, Energy), found
    assert found.rails == ("package-0",)
    assert found.idle_w == pytest.approx(WATTS, rel=0.2)
    assert found.busy_w == pytest.approx(WATTS, rel=0.2)
    assert found.raw_mj == pytest.approx(WATTS * found.seconds / found.pictures * 1e3, rel=0.2)
    assert abs(found.net_mj) < 0.2 * found.raw_mj
    assert found.raw_low_mj < found.raw_mj < found.raw_high_mj
