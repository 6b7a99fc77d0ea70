"""Figures of a profile that need no worker: growth, own cost, cold starts, and their doubts."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from medge.bench.profile.cold_start import STEPS
from medge.bench.profile.cold_start import told as told_starts
from medge.bench.profile.document import of_overhead
from medge.bench.profile.growth import MIN_POINTS, slope
from medge.bench.profile.loaded import LoadFacts
from medge.bench.profile.memory import Grown, device_bytes
from medge.bench.profile.memory import told as told_memory
from medge.bench.profile.overhead import LIMIT_RATIO, MIN_PAIRS, check
from medge.bench.profile.overhead import told as told_overhead
from medge.bench.profile.request import BUDGET_NS, ProfileRequest
from medge.bench.sections import Absent
from medge.engine.sealed import Candidate
from medge.errors import GateError

CPU = Candidate(backend="onnxruntime", device="cpu", variant="fp32")
NOBODY = 1 << 30  # no process has such a number
GPU = Candidate(backend="openvino", device="GPU.0", variant="fp32")
FACTS = LoadFacts(
    backend_version="1",
    device="cpu",
    answers=True,
    cases=1,
    max_abs=0.0,
    tolerance=1.0,
    self_test_ns=1,
    shares={},
    elsewhere=0,
    base_rss_bytes=100,
    base_pss_bytes=None,
    loaded_rss_bytes=300,
    loaded_pss_bytes=None,
)


# Growth


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-1000, 1000), min_size=MIN_POINTS, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_the_slope_is_theil_and_sens_and_its_interval_never_narrower(
    y: list[int], seed: int
) -> None:
    x = np.cumsum(np.random.default_rng(seed).integers(1, 9, len(y)))
    found = slope(x, y)
    expected = scipy_stats.theilslopes(y, x, alpha=0.95)
    assert found.value == pytest.approx(expected.slope)
    assert found.low <= expected.low_slope + 1e-9
    assert found.high >= expected.high_slope - 1e-9
    assert found.low <= found.value <= found.high


def test_memory_that_does_not_move_does_not_grow() -> None:
    assert slope(range(1, 26), [77] * 25) == (0.0, 0.0, 0.0)


def test_one_step_of_an_allocator_is_no_growth() -> None:
    found = slope(range(25), [0.0] * 20 + [4096.0] * 5)
    assert found.low <= 0.0 == found.value


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_interval_holds_the_slope_as_often_as_it_says(correlation: float) -> None:
    random = np.random.default_rng(7)
    x = np.arange(40.0)
    held = 0
    for _ in range(300):
        noise = random.normal(size=140)
        for place in range(1, 140):
            noise[place] += correlation * noise[place - 1]
        found = slope(x, 0.05 * x + noise[100:])
        held += found.low <= 0.05 <= found.high
    # 95 % of 300 is 285; below 273 has a chance of 0.1 %. Waves are known too badly from 40 points.
    assert held >= (273 if correlation == 0.0 else 255)


def test_too_few_points_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        slope(range(7), range(7))


def test_growth_is_told_for_1000_calls() -> None:
    calls = tuple(range(10, 260, 10))
    grown = Grown(calls, tuple(1000 + 5 * each for each in calls), 9000, "/proc/self/smaps_rollup")
    found = told_memory(FACTS, grown, Absent(reason="none"))
    assert (found.growth_bytes, found.growth_low_bytes, found.growth_high_bytes) == (5000,) * 3
    assert (found.base_rss_bytes, found.loaded_rss_bytes, found.peak_rss_bytes) == (100, 300, 9000)
    assert found.base_pss_bytes is None
    assert found.calls == 250


def test_the_highest_of_a_helper_is_that_of_loading_or_of_working() -> None:
    calls = tuple(range(10, 260, 10))
    for at_load, at_work in ((700, 0), (0, 800), (700, 800), (0, 0)):
        grown = Grown(calls, (1000,) * 25, 9000, "/proc/self/smaps_rollup", at_work)
        facts = msgspec.structs.replace(FACTS, helpers_peak_rss_bytes=at_load)
        told = told_memory(facts, grown, Absent(reason="none"))
        assert told.helpers_peak_rss_bytes == max(at_load, at_work)


# Memory of a device


class NoGpuError(Exception):
    value = 9


def nvml(*processes: tuple[int, int | None]) -> Any:
    """Return what pynvml is on a machine with two GPUs, on which each process is."""
    held = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]
    return SimpleNamespace(
        NVMLError=NoGpuError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: held,
    )


def test_a_cpu_has_no_memory_of_its_own_and_says_so() -> None:
    found = device_bytes(CPU, 1)
    assert isinstance(found, Absent)
    assert "CPU" in found.reason


def test_the_memory_of_a_process_is_added_up_over_gpus() -> None:
    assert device_bytes(GPU, NOBODY, lambda: nvml((NOBODY, 100), (NOBODY + 1, 900))) == 200


def test_what_a_child_of_the_process_holds_is_counted_with_it() -> None:
    with subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE) as child:
        held = device_bytes(GPU, os.getpid(), lambda: nvml((child.pid, 100), (1, 900)))
        child.communicate()
    assert held == 200  # the stand-in has two GPUs


@pytest.mark.parametrize("processes", [(), ((NOBODY + 1, 900),), ((NOBODY, None),)])
def test_what_nvml_does_not_tell_is_absent_and_never_0(processes: Any) -> None:
    assert isinstance(device_bytes(GPU, NOBODY, lambda: nvml(*processes)), Absent)


def test_the_real_library_says_why_without_a_driver() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        found = device_bytes(GPU, 1)
        assert isinstance(found, Absent)
        assert "NVML did not start" in found.reason
    else:
        pytest.skip("there is a driver here")


# What the profiler itself costs


def pairs(ratio: float, count: int = 40, spread: float = 0.004) -> tuple[list[int], list[int]]:
    random = np.random.default_rng(3)
    off = 1e6 * np.exp(random.normal(0, 0.05, count))  # both members of a pair wander together
    on = off * ratio * np.exp(random.normal(0, spread, count))
    return [round(each) for each in on], [round(each) for each in off]


def test_sensors_that_cost_nothing_are_shown_to() -> None:
    found = told_overhead(*pairs(1.0), fixed_ns=5000)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1.0 < found.high < LIMIT_RATIO
    check(found)
    assert list(of_overhead(found)) == []


def test_a_result_that_the_profiler_slowed_down_is_refused() -> None:
    found = told_overhead(*pairs(1.05), fixed_ns=5000)
    with pytest.raises(GateError, match=r"1\.0\d\d") as refused:
        check(found)
    assert refused.value.rule == "overhead"
    assert refused.value.exit_code == 8


def test_what_cannot_be_bounded_is_doubted_and_not_refused() -> None:
    found = told_overhead(*pairs(1.0, spread=0.1), fixed_ns=5000)
    check(found)
    (doubt,) = of_overhead(found)
    assert doubt.name == "overhead"
    assert doubt.value > doubt.limit == LIMIT_RATIO


def test_too_few_pairs_bound_nothing_and_are_doubted() -> None:
    found = told_overhead(*pairs(1.0, count=4), fixed_ns=5000)
    assert (found.low, found.high) == (None, None)
    check(found)
    assert [doubt.name for doubt in of_overhead(found)] == ["overhead"]
    assert MIN_PAIRS >= 8  # the fewest that bound a median at 99 %


# Cold starts and the request


def test_steps_are_medians_and_totals_are_those_of_each_process() -> None:
    rows = [(0, 10, 30, 40, 90, 95, 100), (5, 25, 45, 65, 85, 105, 125), (0, 1, 2, 3, 4, 5, 6)]
    found = told_starts(rows)
    assert found.total_ns == (100, 120, 6)
    assert found.steps_ns == dict(zip(STEPS, (10, 20, 10, 20, 5, 5), strict=True))


def test_what_is_not_the_default_is_a_deviation() -> None:
    assert ProfileRequest().deviations() == ()
    said = ProfileRequest(budget_ns=BUDGET_NS // 2, cold_starts=1, energy=False).deviations()
    assert said == (
        "22.5 s for timed calls instead of 45",
        "1 cold starts instead of 5",
        "energy left out",
    )
