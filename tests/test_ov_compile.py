"""OpenVINO compiles quantized graphs in a process of its own: it may crash or hang there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from bundles import tiny_bundle, tiny_graph
from narrow_graphs import golden_image, int8_graph
from onnx import TensorProto, helper, numpy_helper
from quantize_kit import pictures

from medge.bench.drift import Judge
from medge.bench.graph_times import graph_times
from medge.engine.backends import Options, Port, Tensor, ov
from medge.engine.backends.ov import OpenVINO
from medge.engine.backends.ov_compile import IDLE_S, Compiler, Job, shared_compiler
from medge.engine.bundle import open_bundle
from medge.engine.select import choose
from medge.errors import BackendError, BundleError
from medge.exporters.journal import Journal
from medge.exporters.memory import Memory
from medge.graph_court import Court

pytest.importorskip("openvino")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made = Compiler("compiler_standin")
    yield made
    made.close()


def job(device: str) -> Job:
    return Job(b"graph", device, {}, {})


def test_a_blob_comes_back_and_the_next_job_finds_a_new_process(compiler: Compiler) -> None:
    assert compiler.blob(job("CPU")) == b"graph"
    assert compiler.blob(job("CPU")) == b"graph"  # the stand-in leaves after each


def test_what_openvino_says_is_a_runtime_error(compiler: Compiler) -> None:
    with pytest.raises(RuntimeError, match="no such operator"):
        compiler.blob(job("refuses"))


def test_a_crash_is_a_refused_graph_that_names_the_signal(compiler: Compiler) -> None:
    with pytest.raises(BundleError, match="SIGSEGV") as caught:
        compiler.blob(job("SIGSEGV"))
    assert caught.value.rule == "graph"
    assert compiler.blob(job("CPU")) == b"graph"


def test_a_kill_by_the_system_asks_for_memory(compiler: Compiler) -> None:
    with pytest.raises(BackendError) as caught:
        compiler.blob(job("SIGKILL"))
    assert caught.value.rule == "runtime-crash"
    assert "Free memory" in caught.value.message


def test_a_hang_is_ended(compiler: Compiler) -> None:
    start = time.monotonic()
    with pytest.raises(BackendError) as caught:
        compiler.blob(job("hangs"), limit_s=3.0)
    assert caught.value.rule == "runtime-hangs"
    assert time.monotonic() - start < 30
    assert compiler._child is None


def test_a_process_that_never_takes_the_job_up_is_an_error(compiler: Compiler) -> None:
    with pytest.raises(BundleError, match="ended without an answer"):
        compiler.blob(job("leaves"))


def joined_graph() -> bytes:
    """Return two convolutions joined with a Q behind the join, at which OpenVINO 2026.4 crashes.

    Its pass MoveFakeQuantize moves that Q before the join, and meets operands that are
    dequantized; only where shapes are fixed. Inputs and outputs are those of ``tiny_graph``.
    """
    random, constants, nodes = np.random.default_rng(0), [], []

    def constant(name: str, value: object, kind: type) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def narrow(name: str) -> str:
        steps = [constant(f"{name}.s", 0.02, np.float32), constant(f"{name}.z", 128, np.uint8)]
        nodes.append(helper.make_node("QuantizeLinear", [name, *steps], [f"{name}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", *steps], [f"{name}.d"]))
        return f"{name}.d"

    def convolved(source: str, name: str, channels: int) -> str:
        weight = [
            constant(f"{name}.w", random.integers(-127, 128, (8, channels, 3, 3)), np.int8),
            constant(f"{name}.ws", np.full(8, 0.01), np.float32),
            constant(f"{name}.wz", np.zeros(8), np.int8),
        ]
        nodes.append(helper.make_node("DequantizeLinear", weight, [f"{name}.wd"], axis=0))
        nodes.append(helper.make_node("Conv", [source, f"{name}.wd"], [name], pads=[1, 1, 1, 1]))
        return narrow(name)

    first = convolved(narrow("image"), "a", 1)
    second = convolved(first, "b", 8)
    nodes.append(helper.make_node("Concat", [first, second], ["join"], axis=1))
    factors = [
        constant("n.s", np.ones(16), np.float32),
        constant("n.b", np.zeros(16), np.float32),
        constant("n.m", np.zeros(16), np.float32),
        constant("n.v", np.ones(16), np.float32),
    ]
    nodes.append(helper.make_node("BatchNormalization", [narrow("join"), *factors], ["norm"]))
    nodes.append(helper.make_node("Relu", ["norm"], ["relu"]))
    nodes.append(helper.make_node("GlobalAveragePool", [narrow("relu")], ["pool"]))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
    last = constant("fc.w", random.normal(size=(16, 2)), np.float32)
    nodes.append(helper.make_node("MatMul", ["flat", last], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "joined",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def options(*, fixed_batch: bool = True) -> Options:
    ports = (Port("image", "float32", (1, 8, 8)),), (Port("scores", "float32", (2,)),)
    return Options("cpu", "fp32", 1, *ports, fixed_batch=fixed_batch)


def answer(graph: bytes, *, fixed_batch: bool = True) -> Tensor:
    runtime = OpenVINO()
    try:
        runtime.load(graph, options(fixed_batch=fixed_batch))
        return np.array(runtime.infer({"image": golden_image()[:1].copy()})["scores"])
    finally:
        runtime.close()


def test_a_graph_that_crashes_the_compiler_is_refused_and_medge_goes_on() -> None:
    free = answer(joined_graph(), fixed_batch=False)
    refusal = None
    try:
        fixed = answer(joined_graph())
    except BundleError as error:
        refusal = str(error)
    if refusal is None:  # a release of OpenVINO that has been mended
        np.testing.assert_allclose(fixed, free, rtol=1e-5)
    else:
        assert "graph: openvino crashed with SIG" in refusal
    assert np.isfinite(answer(int8_graph())).all()


def test_what_was_compiled_apart_gives_the_bits_of_what_was_compiled_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apart = answer(int8_graph())
    monkeypatch.setattr(ov, "_QUANTIZED", ())
    np.testing.assert_array_equal(apart, answer(int8_graph()))


def test_an_fp32_graph_starts_no_process() -> None:
    shared_compiler().close()
    answer(tiny_graph())
    assert shared_compiler()._child is None


def test_the_process_leaves_when_nobody_asks() -> None:
    answer(int8_graph())
    child = shared_compiler()._child
    assert child is not None
    psutil.Process(child.pid).wait(timeout=IDLE_S + 20)
    assert np.isfinite(answer(int8_graph())).all()  # another is started


def test_the_stopwatch_says_that_a_refused_graph_never_ends(tmp_path: Path) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        choice = choose(bundle, "onnxruntime", precision="fp32")
        taken, refused = graph_times(bundle, choice, [tiny_graph(), b"no graph"])
    assert 0 < taken < math.inf
    assert refused == math.inf


@pytest.mark.parametrize(
    ("times", "ratio"),
    [((2.0, 3.0), 1.5), ((2.0, math.inf), 1e9), ((math.inf, 3.0), 0.0), ((math.inf,) * 2, 1.0)],
)
def test_a_ratio_to_what_never_ends_is_a_number(times: tuple[float, float], ratio: float) -> None:
    memory = Memory(Journal("ratio"))
    assert memory.ratio(lambda _graphs: times, b"one", b"other") == ratio
    assert memory.ratio(lambda _graphs: (1.0, 1.0), b"one", b"other") == ratio  # it is kept


def test_a_graph_that_one_runtime_refuses_is_judged_on_the_other(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 8)
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        court = Court(bundle, Judge(bundle, data), "")
        drifts = court.judge("int8-cpu", joined_graph())
    assert "onnxruntime" in {drift.backend for drift in drifts}
