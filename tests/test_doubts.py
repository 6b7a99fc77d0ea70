"""Doubts about the device while it was measured: its clock, its heat, and what ran where."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import tiny_bundle
from narrow_graphs import int8_graph, narrow_bundle

from medge.bench.doubts import Doubt, doubts, meant_shares, placement_doubts, trace_doubts
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.sections import Golden
from medge.engine.bundle import open_bundle
from medge.engine.sealed import Candidate
from medge.profiles.sensors.trace import Channel, Quantity, Trace

UNITS = {"clock": "MHz", "throttle": "reasons", "temperature": "C"}


def trace(**columns: list[float | None]) -> Trace:
    """Return a trace of columns named ``clock_cpu0``, ``throttle_gpu0``."""
    channels = []
    for name in columns:
        kind, _, part = name.partition("_")
        quantity: Quantity = kind  # type: ignore[assignment]
        unit = UNITS[kind]
        channels.append(
            Channel(quantity=quantity, part=part, unit=unit, source="test")  # type: ignore[arg-type]
        )
    length = len(next(iter(columns.values())))
    return Trace(
        channels=tuple(channels),
        at_ns=tuple(range(length)),
        values=tuple(tuple(column) for column in columns.values()),
    )


def found(*args: object) -> dict[str, Doubt]:
    return {doubt.name: doubt for doubt in trace_doubts(*args)}  # type: ignore[arg-type]


def test_a_steady_clock_is_no_reason_for_doubt() -> None:
    assert not found(trace(clock_cpu0=[3000.0] * 50, throttle_cpu0=[0.0] * 50))
    assert not found(trace(clock_cpu0=[*np.linspace(2950, 3050, 50)]))


def test_a_clock_that_moves_is_told_with_its_number() -> None:
    doubt = found(trace(clock_cpu0=[3000.0] * 30 + [2400.0] * 20))["clock"]
    assert doubt.value == pytest.approx(0.2)
    assert doubt.limit == 0.05
    assert "cpupower" in doubt.text


def test_one_odd_reading_of_a_clock_is_no_change() -> None:
    assert not found(trace(clock_cpu0=[3000.0] * 30 + [800.0] + [3000.0] * 30))


def test_the_busiest_core_counts_and_readings_that_failed_do_not() -> None:
    """Work moves from one core to the other, and each sleeps meanwhile."""
    first = [3000.0, 800.0, None, 3000.0] * 10
    second = [800.0, 3000.0, 3000.0, None] * 10
    assert not found(trace(clock_cpu0=first, clock_cpu1=second))
    assert not found(trace(clock_cpu0=[None] * 10))


def test_the_clock_of_the_device_that_ran_counts() -> None:
    both = trace(clock_cpu0=[3000.0] * 20 + [1500.0] * 20, clock_gpu0=[1200.0] * 40)
    assert set(found(both)) == {"clock"}
    assert not found(both, "GPU.0")


def test_throttling_is_told_with_the_part_of_the_readings() -> None:
    doubt = found(trace(throttle_gpu0=[0.0] * 30 + [8.0] * 10))["throttling"]
    assert (doubt.value, doubt.limit) == (0.25, 0.0)


def test_a_sensor_that_tells_nothing_raises_no_doubt() -> None:
    assert not found(trace(throttle_cpu0=[None] * 10, temperature_cpu0=[95.0] * 10))
    assert not found(Trace(channels=(), at_ns=(), values=(), missing={"clock": "no driver"}))


def golden(shares: dict[str, float], elsewhere: int = 0) -> Golden:
    return Golden(cases=3, max_abs=0.0, tolerance=1e-3, shares=shares, elsewhere=elsewhere)


def placed(
    shares: dict[str, float], meant: dict[str, float], elsewhere: int = 0
) -> dict[str, float]:
    return {each.name: each.value for each in placement_doubts(golden(shares, elsewhere), meant)}


def test_layers_as_asked_raise_no_doubt() -> None:
    assert not placed({"fp32": 1.0}, {"fp32": 1.0})
    assert not placed({"int8": 0.98, "fp32": 0.02}, {"int8": 1.0})
    assert not placed({"int8": 0.7, "bf16": 0.3}, {"int8": 0.7, "bf16": 0.3})
    assert not placed({}, {"fp32": 1.0})  # the backend without a network


def test_layers_in_another_precision_are_counted_once() -> None:
    assert placed({"int8": 0.9, "fp32": 0.1}, {"int8": 1.0}) == {"precision": pytest.approx(0.1)}
    assert placed({"fp32": 1.0}, {"bf16": 1.0}) == {"precision": 1.0}
    wide = placed({"int8": 0.5, "fp32": 0.5}, {"int8": 0.7, "fp32": 0.3})
    assert wide == {"precision": pytest.approx(0.2)}


def test_operations_elsewhere_are_counted() -> None:
    assert placed({"fp32": 1.0}, {"fp32": 1.0}, elsewhere=3) == {"elsewhere": 3}


def made(above: Path, name: str) -> Path:
    folder = above / name
    folder.mkdir()
    return folder


def test_what_layers_are_meant_to_run_in_is_what_the_bundle_says(tmp_path: Path) -> None:
    narrow = Candidate(backend="openvino", device="cpu", variant="int8", precision="bf16")
    with open_bundle(narrow_bundle(made(tmp_path, "a"), "int8", int8_graph())) as bundle:
        assert meant_shares(bundle.manifest, narrow) == {"bf16": 0.0, "int8": 1.0}
    wide = Candidate(backend="openvino", device="cpu", variant="fp32", precision="bf16")
    with open_bundle(tiny_bundle(made(tmp_path, "b"))) as bundle:
        assert meant_shares(bundle.manifest, wide) == {"bf16": 1.0}


def test_what_is_doubted_of_a_series_that_wanders_can_be_stored() -> None:
    steps_ns = np.random.default_rng(0).normal(0, 1e5, 400)
    wandering = tuple(int(ns) for ns in 1e7 + np.cumsum(steps_ns))
    told = tuple(doubts(Measurement("infer", wandering, Procedure()), (0.5, 0.99)))
    assert {"samples", "correlation", "drift"} <= {doubt.name for doubt in told}
    assert msgspec.json.decode(msgspec.json.encode(told), type=tuple[Doubt, ...]) == told
