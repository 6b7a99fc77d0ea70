"""What a network would do on planned devices: chosen runtimes, memory, and reasons for silence."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from medge.errors import UsageError
from medge.profiles.estimate import memory as memory_module
from medge.profiles.estimate.latency import Measured
from medge.profiles.estimate.memory import (
    RuntimeMemory,
    estimate_memory,
    footprint,
    process_bytes,
    runtime_memory,
)
from medge.profiles.estimate.plan import Plan, by_latency, plan
from medge.profiles.network import networks
from medge.profiles.target import Target, find_target, targets

VGG16 = networks()["vgg16"].layers()
P5000 = find_target("nvidia-quadro-p5000")
CPU = find_target("intel-core-i7-8700k")


def one(target: Target, **asked: object) -> Plan:
    (found,) = plan("VGG-16", VGG16, [target], **asked)  # type: ignore[arg-type]
    return found


def test_a_gpu_is_planned_with_tensorrt_and_a_processor_with_openvino() -> None:
    assert one(P5000).runtime == "tensorrt"
    assert one(CPU).runtime == "openvino"
    assert one(find_target("intel-arc-a380")).runtime == "openvino"


def test_a_route_to_the_runtime_comes_with_the_estimate() -> None:
    found = one(P5000)
    assert found.route is not None
    assert found.route.id == "tensorrt"
    assert found.route.possible


def test_a_runtime_that_cannot_run_there_gives_a_reason_and_no_number() -> None:
    found = one(P5000, runtime="openvino")
    assert found.latency is None
    assert found.memory is None
    assert "openvino does not run on a NVIDIA gpu" in str(found.reason)


def test_a_runtime_that_gave_the_device_up_gives_the_last_that_did_not() -> None:
    found = one(find_target("nvidia-tesla-k80"), runtime="pytorch")
    assert found.latency is None
    assert "sm_37" in str(found.reason)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        one(P5000, runtime="cafe")
    assert caught.value.rule == "estimate-runtime"


def test_weights_are_those_of_the_network_and_narrow_with_the_precision() -> None:
    network = footprint(VGG16)
    found = {
        precision: estimate_memory(
            network, P5000, batch=1, precision=precision, runtime="tensorrt"
        ).weights_bytes
        for precision in ("fp32", "amp", "fp16", "int8")
    }
    assert found["fp32"] == found["amp"] == 4 * networks()["vgg16"].parameters
    assert found["fp16"] == found["fp32"] // 2
    assert found["int8"] == found["fp32"] // 4


def test_tensors_grow_with_the_batch_and_weights_do_not() -> None:
    network = footprint(VGG16)
    one_picture, eight = (
        estimate_memory(network, P5000, batch=batch, precision="fp32", runtime="tensorrt")
        for batch in (1, 8)
    )
    assert eight.tensors_bytes == 8 * one_picture.tensors_bytes
    assert eight.weights_bytes == one_picture.weights_bytes


def test_what_was_never_measured_is_a_lower_bound_that_can_only_say_no() -> None:
    found = one(P5000).memory
    assert found is not None
    assert not found.complete
    assert found.peak_bytes == found.weights_bytes + found.tensors_bytes
    assert found.fits is None
    too_small = dataclasses.replace(found, has_bytes=found.peak_bytes - 1)
    assert too_small.fits is False


def test_a_device_without_enough_memory_holds_no_rate() -> None:
    small = msgspec.structs.replace(P5000, memory_gb=0.25)
    found = one(small)
    assert found.latency is not None
    assert found.memory is not None
    assert found.memory.fits is False
    assert found.holds(0.001) is False


def test_a_measured_runtime_adds_its_parts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RuntimeMemory(
        runtime="openvino",
        version="1",
        base_mb=100.0,
        load_fixed_mb=5.0,
        load_convolutions=3.0,
        load_products=2.0,
        load_layers_kb=10.0,
        run_fixed_mb=7.0,
        run_convolutions=1.0,
        run_products=0.5,
        run_tensors=2.0,
        run_layers_kb=20.0,
        networks=1,
        error_ratio=0.1,
        source="made up",
    )
    loading, running = process_bytes(known, 50_000_000, 70_000_000, 8_000_000, 100)
    assert loading == 100_000_000 + 5_000_000 + 150_000_000 + 40_000_000 + 1_000_000
    assert running == 100_000_000 + 7_000_000 + 50_000_000 + 10_000_000 + 16_000_000 + 2_000_000
    monkeypatch.setattr(memory_module, "runtime_memory", lambda: {"openvino": known})
    found = one(CPU).memory
    assert found is not None
    assert found.complete
    assert found.moment == "loading"
    parts = (found.weights_bytes, found.tensors_bytes, found.workspace_bytes, found.base_bytes)
    assert found.peak_bytes == sum(part or 0 for part in parts)


def test_every_measured_runtime_has_where_it_comes_from() -> None:
    for name, row in runtime_memory().items():
        assert name == row.runtime
        assert row.networks >= 8
        assert row.source


def test_a_rate_is_held_over_the_interval_in_a_part_of_it_or_not() -> None:
    found = one(P5000)
    assert found.latency is not None
    slow, fast = 1e3 / found.latency.high_ms, 1e3 / found.latency.low_ms
    assert found.holds(slow * 0.99) is True
    assert found.holds((slow + fast) / 2) is None
    assert found.holds(fast * 1.01) is False


def test_energy_is_the_whole_tdp_for_the_slow_end_of_the_interval() -> None:
    found = one(P5000, batch=4)
    assert found.latency is not None
    assert found.energy_j == pytest.approx(180 * found.latency.high_ms / 1e3 / 4)


def test_devices_come_by_latency_and_those_without_at_the_end() -> None:
    ordered = list(by_latency(plan("VGG-16", VGG16, list(targets().values()), runtime="tensorrt")))
    assert len(ordered) == len(targets())
    timed = [each.latency.latency_ms for each in ordered if each.latency]
    assert timed == sorted(timed)
    assert all(each.latency is None for each in ordered[len(timed) :])
    assert all(each.reason for each in ordered[len(timed) :])


def test_a_measured_row_of_the_same_network_pulls_the_estimate_to_it() -> None:
    plain = one(CPU, runtime="openvino")
    assert plain.latency is not None
    measured_ms = 3 * plain.latency.latency_ms
    row = Measured(VGG16, measured_ms, runtime="openvino")
    found = one(CPU, runtime="openvino", measured=(row,))
    assert found.latency is not None
    assert found.latency.measured == 1
    assert plain.latency.latency_ms < found.latency.latency_ms <= measured_ms
    width, before = (each.high_ms / each.low_ms for each in (found.latency, plain.latency))
    assert width < before
