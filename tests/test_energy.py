"""Energy of a picture: counters and power against exact integrals, intervals, and refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from medge.bench import energy as energy_module
from medge.bench.energy import Span, energy, nvml_part, ratio_of_sums, shortest_ns
from medge.bench.sections import Absent, Energy
from medge.bench.student import t_quantile
from medge.engine.sealed import Candidate
from medge.profiles import cuda_gpus
from medge.profiles.cuda_driver import CudaDriver, CudaGpu
from medge.profiles.sensors.trace import Channel, Trace

SECOND = 1_000_000_000
PERIOD = 50_000_000
PACKAGE = Channel(
    quantity="energy", part="package-0", unit="J", source="RAPL", update_ns=1_000_000, wraps_at=64.0
)
RAIL = Channel(quantity="power", part="VDD_IN", unit="W", source="INA3221")
RAIL_COUNTED = Channel(quantity="energy", part="VDD_IN", unit="J", source="INA238")
IDLE_W, BUSY_W = 10.0, 30.0
IDLE = [Span(SECOND, 5 * SECOND)]
BUSY = [Span(start * SECOND, (start + 1) * SECOND, 20) for start in range(6, 16)]


def joules(at_ns: float) -> float:
    """Return the energy since 0: idle to second 6, busy to 16, idle again."""
    seconds = at_ns / SECOND
    busy = min(max(seconds - 6.0, 0.0), 10.0)
    return IDLE_W * seconds + (BUSY_W - IDLE_W) * busy


def watts(at_ns: float) -> float:
    return BUSY_W if 6 * SECOND <= at_ns <= 16 * SECOND else IDLE_W


MOMENTS = tuple(range(0, 17 * SECOND, PERIOD))


def counted(channel: Channel = PACKAGE, start_j: float = 40.0) -> Trace:
    """Return a trace of one counter that wraps at 64 J, again and again."""
    values = tuple((start_j + joules(at)) % (channel.wraps_at or math.inf) for at in MOMENTS)
    return Trace(channels=(channel,), at_ns=MOMENTS, values=(values,), period_ns=PERIOD)


def found(trace: Trace, **changes: object) -> Energy:
    told = energy(trace, IDLE, BUSY, **changes)  # type: ignore[arg-type]
    assert isinstance(told, Energy), told
    return told


def reason(trace: Trace, idle: list[Span] = IDLE, busy: list[Span] = BUSY) -> str:
    told = energy(trace, idle, busy)
    assert isinstance(told, Absent)
    return told.reason


def test_a_counter_that_wraps_tells_the_exact_energy_of_a_picture() -> None:
    told = found(counted())
    assert told.rails == ("package-0",)
    assert (told.pictures, told.seconds) == (200, 10.0)
    assert told.idle_w == pytest.approx(IDLE_W)
    assert told.busy_w == pytest.approx(BUSY_W)
    assert told.raw_mj == pytest.approx(30.0 / 20.0 * 1e3)
    assert told.net_mj == pytest.approx(20.0 / 20.0 * 1e3)
    assert told.raw_low_mj == pytest.approx(told.raw_high_mj)  # every block was the same


def test_power_is_summed_by_trapezoids() -> None:
    values = tuple(watts(at) for at in MOMENTS)
    trace = Trace(channels=(RAIL,), at_ns=MOMENTS, values=(values,), period_ns=PERIOD)
    told = found(trace)
    assert told.rails == ("VDD_IN",)
    assert told.raw_mj == pytest.approx(1500.0)
    assert told.net_mj == pytest.approx(1000.0)


@settings(max_examples=50, deadline=None)
@given(
    powers=st.lists(st.floats(0.0, 400.0), min_size=18, max_size=18),
    offset_ns=st.integers(0, PERIOD - 1),
    dropped=st.sets(st.integers(2, 300), max_size=20),
)
def test_power_that_changes_is_summed_as_the_slow_reference_sums_it(
    powers: list[float], offset_ns: int, dropped: set[int]
) -> None:
    def at_moment(at_ns: float) -> float:
        """Return power between its corners, one a second, on straight lines."""
        corner = min(int(at_ns // SECOND), 16)
        part = at_ns / SECOND - corner
        return powers[corner] * (1.0 - part) + powers[corner + 1] * part

    moments = tuple(at + offset_ns for at in range(-SECOND, 17 * SECOND, PERIOD))
    kept = tuple(at for place, at in enumerate(moments) if place not in dropped)
    values = tuple(
        None if place in dropped else at_moment(max(0, at)) for place, at in enumerate(moments)
    )
    trace = Trace(channels=(RAIL,), at_ns=moments, values=(values,), period_ns=PERIOD)
    gaps = [b - a for a, b in pairwise(kept)]
    told = energy(trace, IDLE, BUSY)
    if max(gaps) > 5 * PERIOD:
        assert isinstance(told, Absent)
        return
    # The reference: a thousand steps a second between readings that are joined by straight lines.
    fine = np.arange(6 * SECOND, 16 * SECOND + 1, SECOND // 1000)
    line = np.interp(fine, kept, [at_moment(max(0, at)) for at in kept])
    expected_j = float(np.sum((line[1:] + line[:-1]) / 2.0) * 1e-3)
    assert isinstance(told, Energy)
    assert told.raw_mj == pytest.approx(expected_j / 200 * 1e3, rel=0.02, abs=1.0)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    covered = {"raw": 0, "net": 0}
    for _ in range(300):
        steps = [
            (BUSY_W if 6 <= second < 16 else IDLE_W) * random.normal(1.0, 0.05)
            for second in range(17)
        ]
        power = np.repeat(steps, SECOND // PERIOD)  # it wanders from second to second
        read = np.concatenate([[0.0], np.cumsum(power) * PERIOD / SECOND])
        trace = Trace(
            channels=(msgspec.structs.replace(PACKAGE, wraps_at=None),),
            at_ns=tuple(range(0, 17 * SECOND + 1, PERIOD)),
            values=(tuple(read.tolist()),),
            period_ns=PERIOD,
        )
        idle = [Span(second * SECOND, (second + 1) * SECOND) for second in range(6)]
        told = energy(trace, idle, BUSY)
        assert isinstance(told, Energy)
        covered["raw"] += told.raw_low_mj <= 1500.0 <= told.raw_high_mj
        covered["net"] += told.net_low_mj <= 1000.0 <= told.net_high_mj
    # Idle pieces of one second resemble each other here, so net may cover a little less.
    assert covered["raw"] >= 300 * 0.91
    assert covered["net"] >= 300 * 0.88


def test_what_lies_within_another_part_is_not_counted_twice() -> None:
    core = msgspec.structs.replace(PACKAGE, part="package-0 core", within="package-0")
    memory = msgspec.structs.replace(PACKAGE, part="package-0 dram")
    one = counted()
    three = Trace(
        channels=(PACKAGE, core, memory),
        at_ns=one.at_ns,
        values=one.values * 3,
        period_ns=PERIOD,
    )
    told = found(three)
    assert told.rails == ("package-0", "package-0 dram")
    assert told.raw_mj == pytest.approx(2 * found(one).raw_mj)


def test_only_the_gpu_that_ran_it_counts_and_by_its_counter() -> None:
    gpus = tuple(
        Channel(quantity=quantity, part=part, unit=unit, source=f"NVML {quantity}")  # type: ignore[arg-type]
        for part in ("gpu0", "gpu1")
        for quantity, unit in (("energy", "J"), ("power", "W"))
    )
    endless = tuple(joules(at) for at in MOMENTS)
    trace = Trace(
        channels=(*gpus, PACKAGE),
        at_ns=MOMENTS,
        values=(endless, endless, endless, endless, counted().values[0]),
        period_ns=PERIOD,
    )
    assert found(trace).rails == ("package-0",)
    assert found(trace, gpu="gpu1").rails == ("gpu1", "package-0")
    assert found(trace, gpu="gpu1").source == "NVML energy; RAPL"


@pytest.mark.parametrize(
    ("backend", "device", "part"),
    [
        ("onnxruntime", "cpu", None),
        ("openvino", "GPU.1", None),  # Intel's, which lies within the package
        ("tensorrt-rtx", "nvidia:0", "gpu1"),  # CUDA's first sits on the bus of NVML's second
        ("onnxruntime", "nvidia:1", "gpu0"),
        ("onnxruntime", "nvidia:2", "nvidia:2"),  # NVML does not name it: no sensor has this name
    ],
)
def test_only_gpus_that_nvml_knows_have_a_rail_of_their_own(
    monkeypatch: pytest.MonkeyPatch, backend: str, device: str, part: str | None
) -> None:
    buses = ("0000:41:00.0", "0000:01:00.0", "0000:81:00.0")
    gpus = tuple(
        CudaGpu(
            ordinal=number,
            name="A GPU",
            compute_capability="8.6",
            sm_count=20,
            memory_bytes=1 << 33,
            pci_bus_id=bus,
        )
        for number, bus in enumerate(buses)
    )
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: CudaDriver(state="ready", gpus=gpus))
    monkeypatch.setattr(energy_module, "index_of", {buses[1]: 0, buses[0]: 1}.get)
    assert nvml_part(Candidate(backend=backend, device=device, variant="fp32")) == part


def test_the_energy_of_a_gpu_is_never_that_of_the_cpu_alone() -> None:
    told = energy(counted(), IDLE, BUSY, "gpu0")
    assert isinstance(told, Absent)
    assert energy(counted(RAIL_COUNTED), IDLE, BUSY, "gpu0") == energy(
        counted(RAIL_COUNTED), IDLE, BUSY
    )  # a board's rails feed its GPU too


def test_a_span_too_short_for_the_sensor_is_refused_with_the_length_it_needs() -> None:
    slow = msgspec.structs.replace(PACKAGE, update_ns=SECOND)
    assert "at least 20 s are needed" in reason(counted(slow))
    assert shortest_ns(counted(slow)) == 20 * SECOND
    assert shortest_ns(counted()) == 20 * PERIOD
    assert "busy for 0.9 s" in reason(counted(), busy=[Span(6 * SECOND, 6_900_000_000, 9)])
    assert "idle for 0.5 s" in reason(counted(), idle=[Span(0, SECOND // 2)])


def test_too_few_blocks_cannot_bound_anything() -> None:
    assert "an interval needs 5" in reason(counted(), busy=[Span(6 * SECOND, 16 * SECOND, 200)])


def test_short_pieces_are_joined_until_the_sensor_sees_them() -> None:
    tenth = SECOND // 10
    pieces = [Span(6 * SECOND + n * tenth, 6 * SECOND + (n + 1) * tenth, 2) for n in range(95)]
    told = energy(counted(msgspec.structs.replace(PACKAGE, update_ns=2 * tenth)), IDLE, pieces)
    assert isinstance(told, Energy)
    assert told.pictures == 190
    assert told.raw_mj == pytest.approx(1500.0)


def test_without_a_sensor_the_reason_is_the_sensors_own() -> None:
    empty = Trace(channels=(), at_ns=(), values=(), missing={"energy": "only root may read it"})
    assert reason(empty) == "only root may read it"
    assert shortest_ns(empty) is None
    gpu_only = Trace(
        channels=(Channel(quantity="power", part="gpu0", unit="W", source="NVML x"),),
        at_ns=MOMENTS,
        values=((1.0,) * len(MOMENTS),),
        missing={"energy of cpu": "no RAPL"},
    )
    assert reason(gpu_only) == "no RAPL"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((None,) * len(MOMENTS), "0 values"),
        (tuple(100.0 - place for place in range(len(MOMENTS))), "its counter went back"),
    ],
)
def test_a_counter_that_breaks_is_no_energy(values: tuple[float | None, ...], said: str) -> None:
    trace = Trace(channels=(PACKAGE,), at_ns=MOMENTS, values=(values,), period_ns=PERIOD)
    assert said in reason(trace)


def test_spans_that_were_not_watched_are_refused() -> None:
    assert "over the whole span" in reason(counted(), busy=[*BUSY, Span(16 * SECOND, 18 * SECOND)])
    gap = tuple(None if 8 * SECOND < at < 9 * SECOND else watts(at) for at in MOMENTS)
    trace = Trace(channels=(RAIL,), at_ns=MOMENTS, values=(gap,), period_ns=PERIOD)
    assert "told no power for 1 s" in reason(trace)
    assert "no picture" in reason(counted(), busy=[Span(s.start_ns, s.end_ns) for s in BUSY])


def test_a_ratio_of_sums_has_the_error_that_the_textbook_gives() -> None:
    over, under = np.array([3.0, 5.0, 4.0, 6.0, 2.0]), np.array([1.0, 2.0, 2.0, 2.0, 1.0])
    told = ratio_of_sums(over, under)
    # Cochran 1977, section 6.3 without the finite population: each step written out.
    ratio = 20.0 / 8.0
    residual = [o - ratio * u for o, u in zip(over, under, strict=True)]
    variance = sum(r * r for r in residual) / 4 / 5 / (8.0 / 5) ** 2
    assert told.value == ratio
    assert told.error == pytest.approx(math.sqrt(variance))
    assert told.freedom == 4.0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.975, 0.99, 0.999])
def test_students_t_is_that_of_scipy(confidence: float) -> None:
    for freedom in (1.0, 2.0, 2.6, 3.0, 4.0, 4.7, 9.0, 30.0, 117.5, 1e4):
        expected = scipy_stats.t.ppf(0.5 + confidence / 2.0, freedom)
        assert t_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-3)
    for wrong in ((1.0, 4.0), (0.0, 4.0), (0.95, 0.5)):
        with pytest.raises(ValueError, match="degrees of freedom"):
            t_quantile(*wrong)
