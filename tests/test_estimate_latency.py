"""Estimated latency: physics, intervals, abstentions, and what measured rows change."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from medge.errors import UsageError
from medge.profiles.estimate import (
    Abstention,
    LatencyEstimate,
    Measured,
    estimate_latencies,
    estimate_latency,
    find_runtime,
)
from medge.profiles.estimate.hardware import hardware_of
from medge.profiles.estimate.kernels import MATRIX, kernels_of
from medge.profiles.estimate.parameters import PATH, encode, parameters
from medge.profiles.estimate.roofline import Case, Roofline
from medge.profiles.estimate.terms import (
    compute_terms,
    memory_terms,
    prior,
    scalar_terms,
)
from medge.profiles.layers import Layers
from medge.profiles.network import networks
from medge.profiles.target import find_target, targets

RESNET = networks()["resnet50"].layers()
VGG = networks()["vgg16"].layers()
RTX3090 = find_target("nvidia-rtx-3090")
CPU = find_target("intel-core-i7-8700k")
NANO = find_target("nvidia-jetson-nano")
WINOGRAD = 4.0  # F(4x4, 3x3) spares at most 3/4 of the multiplications (arXiv:1509.09308)


def made(layers: Layers, target: object, **asked: object) -> LatencyEstimate:
    found = estimate_latency(layers, target, **asked)  # type: ignore[arg-type]
    assert isinstance(found, LatencyEstimate), found
    return found


def slow_seconds(case: Case) -> float:
    """The same model again, one kernel after the other, as docs/estimation.md states it."""

    def value(terms: object) -> float:
        return sum(
            t.factor * (parameters().values.get(t.name) or prior(t.name))[0]
            for t in terms  # type: ignore[attr-defined]
        )

    hardware = case.hardware
    shared, each = compute_terms(hardware, case.runtime, case.precision)
    shared_memory, each_memory = memory_terms(hardware, case.runtime)
    scalar = {name: math.exp(value(terms)) for name, terms in scalar_terms(hardware, case.runtime)}
    kernels, device = case.kernels, 0.0
    for i, kind in enumerate(kernels.kind):
        compute = 0.0
        if kind < MATRIX:
            efficiency = math.exp(value(shared) + value(each[kind]))
            compute = kernels.flops[i] * case.batch / hardware.flops_per_s / efficiency
            outputs = kernels.outputs[i] * case.batch
            compute *= 1 + scalar["saturation"] * hardware.lanes / outputs
            compute *= 1 + scalar["depth"] / kernels.depth[i]
            compute *= 1 + scalar["width"] / kernels.width[i]
        share = math.exp(value(shared_memory) + value(each_memory[kind]))
        moved = kernels.moved[i] * case.batch + kernels.weights[i]
        memory = moved * hardware.element_bytes / hardware.bytes_per_s / share
        device += kernels.count[i] * (math.hypot(compute, memory) + scalar["launch"])
    host = scalar["host"] * kernels.launches if hardware.kind not in ("x86", "arm") else 0.0
    total = (device**3 + host**3) ** (1 / 3) + scalar["fixed"]
    return total * scalar["scale"]


@pytest.mark.parametrize("runtime", ["pytorch", "tensorrt", "openvino", "ncnn CPU 4 threads"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_estimate_is_the_sum_over_kernels(runtime: str, precision: str) -> None:
    target = CPU if runtime.startswith(("openvino", "ncnn")) else RTX3090
    setting = find_runtime(runtime)
    case = Case(
        kernels=kernels_of(RESNET, setting.runtime.fuses),
        hardware=hardware_of(target, precision, setting),
        runtime=setting.runtime,
        precision=precision,
        batch=4,
    )
    found = made(RESNET, target, batch=4, precision=precision, runtime=runtime)
    assert found.latency_ms == pytest.approx(slow_seconds(case) * 1e3, rel=1e-9)


def test_slopes_are_those_of_the_times() -> None:
    setting = find_runtime("tensorrt")
    cases = [
        Case(kernels_of(RESNET, True), hardware_of(t, "fp16", setting), setting.runtime, "fp16", 2)
        for t in (RTX3090, NANO)
    ]
    model = Roofline(cases)
    values, _ = parameters().vector(model.names)
    times = model.times(values)
    for place in range(len(model.names)):
        moved = values.copy()
        moved[place] += 1e-6
        slope = (model.times(moved).log_s - times.log_s) / 1e-6
        np.testing.assert_allclose(slope, times.jacobian[:, place], atol=1e-4)


def test_every_target_of_the_catalog_is_estimated_or_says_why_not() -> None:
    found = estimate_latencies(VGG, list(targets().values()), runtime="onnxruntime")
    for target, one in zip(targets().values(), found, strict=True):
        assert one.target == target.id
        if isinstance(one, Abstention):
            assert one.reason
            continue
        assert 0 < one.low_ms < one.latency_ms < one.high_ms < math.inf
        assert sum(one.shares.values()) == pytest.approx(1)
        assert one.bound == max(one.shares, key=lambda name: one.shares[name])
        peak = (target.fp32_tflops or 0) * 1e12
        best = max(peak, (target.tensor_fp16_tflops or 0) * 1e12 / 2)  # TF32
        operations = sum(layer.flops for layer in VGG.layers)
        assert one.latency_ms / 1e3 > operations / best / WINOGRAD


@pytest.mark.parametrize("runtime", ["pytorch", "tensorrt"])
def test_more_pictures_take_longer_and_less_each(runtime: str) -> None:
    found = [made(RESNET, RTX3090, batch=b, runtime=runtime) for b in (1, 2, 4, 8, 16, 32, 64)]
    latencies = [one.latency_ms for one in found]
    assert latencies == sorted(latencies)
    throughputs = [one.throughput for one in found]
    assert throughputs == sorted(throughputs)


def test_more_arithmetic_of_the_same_shape_is_never_faster() -> None:
    heavier = Layers(
        layers=tuple(
            msgspec.structs.replace(layer, flops=2 * layer.flops) if layer.op == "Conv" else layer
            for layer in VGG.layers
        )
    )
    for target, runtime in ((RTX3090, "tensorrt"), (CPU, "openvino"), (NANO, "pytorch")):
        plain, twice = made(VGG, target, runtime=runtime), made(heavier, target, runtime=runtime)
        assert twice.latency_ms > plain.latency_ms


def test_fewer_bits_gain_at_most_what_the_hardware_gains() -> None:
    for precision, most in (("fp16", 8.0), ("int8", 16.0)):
        wide = made(VGG, RTX3090, batch=32, runtime="tensorrt")
        narrow = made(VGG, RTX3090, batch=32, runtime="tensorrt", precision=precision)
        assert 1.0 < wide.latency_ms / narrow.latency_ms < most


def test_a_faster_device_is_faster() -> None:
    slow, fast = find_target("nvidia-gtx-960"), RTX3090
    for runtime in ("pytorch", "tensorrt"):
        assert made(VGG, fast, runtime=runtime).latency_ms < (
            made(VGG, slow, runtime=runtime).latency_ms
        )


def test_threads_are_read_from_the_runtimes_name() -> None:
    one = made(VGG, CPU, runtime="ncnn CPU 1 threads").latency_ms
    four = made(VGG, CPU, runtime="ncnn CPU 4 threads").latency_ms
    assert 1.5 < one / four < 4.5


def test_a_row_measured_on_the_device_pulls_the_estimate_and_narrows_it() -> None:
    plain = made(RESNET, RTX3090, runtime="tensorrt")
    vgg = made(VGG, RTX3090, runtime="tensorrt")
    slow = Measured(VGG, 1.5 * vgg.latency_ms, runtime="tensorrt")
    after = made(RESNET, RTX3090, runtime="tensorrt", measured=[slow])
    assert plain.latency_ms < after.latency_ms < 1.5 * plain.latency_ms
    assert after.high_ms / after.low_ms < plain.high_ms / plain.low_ms
    assert after.measured == 1
    same = made(VGG, RTX3090, runtime="tensorrt", measured=[slow] * 3)
    assert same.latency_ms == pytest.approx(slow.latency_ms, rel=0.1)


def test_what_one_runtime_measured_tells_less_of_another() -> None:
    vgg = made(VGG, RTX3090, runtime="tensorrt")
    slow = Measured(VGG, 1.5 * vgg.latency_ms, runtime="tensorrt")
    own = made(RESNET, RTX3090, runtime="tensorrt", measured=[slow]).latency_ms
    other = made(RESNET, RTX3090, runtime="pytorch", measured=[slow]).latency_ms
    own_shift = own / made(RESNET, RTX3090, runtime="tensorrt").latency_ms
    other_shift = other / made(RESNET, RTX3090, runtime="pytorch").latency_ms
    assert 1 < other_shift < own_shift


def test_what_was_never_measured_widens_the_interval_and_is_said() -> None:
    known = made(RESNET, CPU, runtime="openvino")
    borrowed = made(RESNET, CPU, runtime="onnxruntime")
    assert borrowed.high_ms / borrowed.low_ms > known.high_ms / known.low_ms
    assert any("No published row has onnxruntime" in note for note in borrowed.notes)


def test_the_same_question_has_the_same_answer() -> None:
    assert made(VGG, NANO, runtime="tensorrt") == made(VGG, NANO, runtime="tensorrt")
    alone = made(VGG, NANO, runtime="tensorrt")
    among = estimate_latencies(VGG, [RTX3090, NANO], runtime="tensorrt")[1]
    assert isinstance(among, LatencyEstimate)
    assert among.latency_ms == pytest.approx(alone.latency_ms, rel=1e-12)


def test_abstentions_say_why() -> None:
    cases = (
        (VGG, CPU, {"runtime": "tensorrt"}, "tensorrt does not run on a Intel cpu"),
        (VGG, RTX3090, {"runtime": "tensorrt", "batch": 10**6}, "far beyond"),
        (Layers(layers=VGG.layers[-1:]), RTX3090, {"runtime": "tensorrt"}, "far beyond"),
        (
            VGG,
            msgspec.structs.replace(RTX3090, memory_bandwidth_gb_s=None),
            {"runtime": "tensorrt"},
            "not known",
        ),
    )
    for layers, target, asked, reason in cases:
        found = estimate_latency(layers, target, **asked)  # type: ignore[arg-type]
        assert isinstance(found, Abstention)
        assert reason in found.reason


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"runtime": "abacus"}, "estimate-runtime"),
        ({"precision": "fp7"}, "estimate-precision"),
        ({"batch": 0}, "estimate-batch"),
        ({"measured": [Measured(VGG, math.nan)]}, "estimate-measured"),
        ({"measured": [Measured(VGG, 3.0, runtime="openvino")]}, "estimate-measured"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, object], rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        estimate_latency(VGG, RTX3090, **asked)  # type: ignore[arg-type]
    assert caught.value.rule == rule


def test_the_parameters_are_written_as_they_are_read() -> None:
    known = parameters()
    assert encode(known) == PATH.read_bytes()
    for name, (value, sd) in known.values.items():
        assert math.isfinite(value), name
        assert 0 < sd <= prior(name).sd * 1.001, name
    assert known.rows > 0
    assert len(known.data_digest) == 64


def test_the_page_on_accuracy_is_of_these_parameters() -> None:
    page = (Path(__file__).parent.parent / "docs" / "estimation.md").read_text(encoding="utf-8")
    told = parameters().errors
    pooled = told["left_out_pooled_percent"]
    device = told["left_out_device_median_percent"]
    assert f"| **roofline of kernels** | {pooled:.1f} / {device:.1f} |" in page
    assert f"{told['left_out_rows']:.0f} of them of a runtime" in page


def test_damaged_parameters_are_told(tmp_path: Path) -> None:
    path = tmp_path / "estimator.json"
    path.write_bytes(PATH.read_bytes().replace(b'"rows"', b'"ows"'))
    with pytest.raises(ValueError, match=r"estimator.json"):
        parameters(path)


@pytest.mark.parametrize(
    ("text", "runtime", "threads"),
    [
        ("PyTorch 2.9.1 CUDA 13.0 NCHW eager", "pytorch", None),
        ("PyTorch (0.x-1.1) eager", "pytorch-legacy", None),
        ("PyTorch 1.13 CUDA 11.7 NCHW eager", "pytorch", None),
        ("PyTorch 2.4.0 CPU torch.compile", "torch-compile", None),
        ("Torch7 cuDNN 5.1.05", "torch7", None),
        ("TensorRT (torch2trt)", "tensorrt", None),
        ("Paddle Inference (TensorRT assumed)", "paddle", None),
        ("MXNet 1.2.0 MKL-DNN", "mxnet", None),
        ("ncnn CPU 4 threads", "ncnn", 4),
        ("ncnn Vulkan", "ncnn-vulkan", None),
        ("OpenVINO 2024.3 latency mode", "openvino", None),
        ("onnxruntime", "onnxruntime", None),
    ],
)
def test_printed_runtimes_are_recognised(text: str, runtime: str, threads: int | None) -> None:
    found = find_runtime(text)
    assert (found.runtime.id, found.threads) == (runtime, threads)
