"""Placement: what runs is read back, and a runtime that computes wider than asked is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import forge, tiny_bundle, tiny_graph
from hypothesis import given
from hypothesis import strategies as st
from narrow_graphs import fp16_graph, int8_graph, narrow_bundle
from onnx import TensorProto, helper, numpy_helper

from medge.engine.backends import Options, Port, backend_class, ort_profile
from medge.engine.backends.ort_profile import placement_of
from medge.engine.bundle import open_bundle
from medge.engine.placement import Node, Placement, check_placement, tally
from medge.engine.select import choose
from medge.engine.selftest import SelfTest, self_test
from medge.engine.session import Session
from medge.errors import GateError

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]


def proven(path: Path, backend: str, precision: str = "fp32") -> SelfTest:
    with open_bundle(path) as bundle:
        choice = choose(bundle, backend=backend, precision=precision, threads=1)
        with Session(bundle, choice) as session:
            return self_test(session, bundle)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_an_fp32_graph_is_seen_to_run_in_fp32(tmp_path: Path, backend: str) -> None:
    found = proven(tiny_bundle(tmp_path), backend).placement
    assert found.compute == {"fp32": 2}
    assert found.shares == {"fp32": 1.0}
    assert found.total_nodes >= 2
    assert found.elsewhere == 0


@pytest.mark.parametrize("backend", RUNTIMES)
def test_an_int8_graph_is_seen_to_run_in_int8(tmp_path: Path, backend: str) -> None:
    found = proven(narrow_bundle(tmp_path, "int8", int8_graph()), backend, "int8").placement
    assert found.compute == {"int8": 2}
    assert found.shares == {"int8": 1.0}


def test_int8_that_the_runtime_quietly_computes_in_fp32_is_refused(tmp_path: Path) -> None:
    path = narrow_bundle(tmp_path, "int8", int8_graph(zero_after_relu=10))
    with pytest.raises(
        GateError, match="Asked INT8 for 2 of 2 layers, onnxruntime runs FP32 in 1"
    ) as caught:
        proven(path, "onnxruntime", "int8")
    assert (caught.value.rule, caught.value.exit_code) == ("precision-read-back", 8)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_fp16_that_a_cpu_computes_in_fp32_is_refused(tmp_path: Path, backend: str) -> None:
    path = narrow_bundle(tmp_path, "fp16", fp16_graph())
    with open_bundle(path) as bundle:
        choice = choose(bundle, backend=backend, precision="fp16", threads=1)
        with Session(bundle, choice) as session:
            if session.placement.compute == {"fp16": 2}:
                pytest.skip("this CPU computes in fp16")
            with pytest.raises(GateError, match="runs FP32 in 2") as caught:
                self_test(session, bundle)
    assert caught.value.rule == "precision-read-back"


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_variant_that_only_claims_to_be_int8_is_refused(tmp_path: Path, backend: str) -> None:
    path = narrow_bundle(tmp_path, "int8", tiny_graph())
    with pytest.raises(GateError, match="precision-read-back"):
        proven(path, backend, "int8")


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_mixed_variant_may_run_as_wide_as_it_says(tmp_path: Path, backend: str) -> None:
    path = narrow_bundle(tmp_path, "mixed", tiny_graph(), narrow_layers=0)
    assert proven(path, backend, "mixed").placement.shares == {"fp32": 1.0}


def attention_graph() -> bytes:
    """Return ``image`` (n, 1, 8, 8) through one attention of four heads: six matrix products."""
    random = np.random.default_rng(0)
    nodes, constants = [], []

    def store(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    rows = store("rows", np.array([0, 8, 8], "i8"))
    heads = store("heads", np.array([0, 8, 4, 16], "i8"))
    nodes.append(helper.make_node("Reshape", ["image", rows], ["x"]))
    for name, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        weight = store(f"{name}.w", random.normal(size=(8, 64)).astype("f4"))
        nodes.append(helper.make_node("MatMul", ["x", weight], [f"{name}.x"], f"{name}"))
        nodes.append(helper.make_node("Reshape", [f"{name}.x", heads], [f"{name}.r"]))
        nodes.append(helper.make_node("Transpose", [f"{name}.r"], [f"{name}.t"], perm=order))
    nodes.append(helper.make_node("MatMul", ["q.t", "k.t"], ["qk"], "scores of attention"))
    nodes.append(helper.make_node("Softmax", ["qk"], ["a"], axis=-1))
    nodes.append(helper.make_node("MatMul", ["a", "v.t"], ["av"], "attended"))
    nodes.append(helper.make_node("Transpose", ["av"], ["o"], perm=(0, 2, 1, 3)))
    nodes.append(helper.make_node("Flatten", ["o"], ["f"]))
    weight = store("head.w", random.normal(size=(512, 2)).astype("f4"))
    nodes.append(helper.make_node("MatMul", ["f", weight], ["scores"], "head"))
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def normalised_graph() -> bytes:
    """Return two convolutions around a batch normalisation that cannot be folded into them."""
    random = np.random.default_rng(0)
    tensors = {
        "a.w": random.normal(size=(32, 1, 3, 3)),
        "b.w": random.normal(size=(2, 32, 8, 8)),
        **{f"n.{part}": random.uniform(0.5, 1, 32) for part in ("scale", "bias", "mean", "var")},
    }
    nodes = [
        helper.make_node("Conv", ["image", "a.w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("BatchNormalization", ["r", *list(tensors)[2:]], ["n"]),
        helper.make_node("Relu", ["n"], ["s"]),
        helper.make_node("Conv", ["s", "b.w"], ["b"]),
        helper.make_node("Flatten", ["b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "normalised",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize(
    ("graph", "layers"), [(attention_graph(), 6), (normalised_graph(), 2)], ids=["fused", "scaled"]
)
def test_layers_are_counted_as_the_graph_counts_them(
    tmp_path: Path, backend: str, graph: bytes, layers: int
) -> None:
    """Attention is fused into one node, and normalisation may be run as a convolution."""
    with open_bundle(tiny_bundle(tmp_path, graph=graph)) as bundle:
        chosen = choose(bundle, backend=backend, threads=1)
        with Session(bundle, chosen) as session:
            assert session.placement.compute == {"fp32": layers}


def loaded(tmp_path: Path) -> Session:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        return Session(bundle, choose(bundle, backend="onnxruntime", threads=1))


def test_what_runs_is_known_before_the_first_call_too(tmp_path: Path) -> None:
    with loaded(tmp_path) as session:
        assert session.placement.compute == {"fp32": 2}


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_the_profile_is_gone_after_the_first_call_and_after_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "shm"
    place.mkdir()
    monkeypatch.setattr(ort_profile, "_MEMORY", place)
    with loaded(tmp_path) as session:
        assert os.listdir(place)
        for _ in range(calls):
            session.infer({"image": np.zeros((1, 1, 8, 8), "f4")})
            assert not os.listdir(place)
    assert not os.listdir(place)
    assert capfd.readouterr() == ("", "")


def test_without_a_place_for_the_profile_fp32_runs_and_int8_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = narrow_bundle(tmp_path, "int8", int8_graph())
    monkeypatch.setattr(ort_profile, "_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere either"))
    assert proven(path, "onnxruntime").placement == Placement()
    with pytest.raises(GateError, match="does not tell"):
        proven(path, "onnxruntime", "int8")


def test_names_that_some_versions_do_not_escape_never_mislead(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", tiny_graph().replace(b"\x04head", b'\x04he"\\'))
    assert proven(path, "onnxruntime").placement.compute in ({}, {"fp32": 2})


GROWTH = """
import sys
from pathlib import Path
import numpy as np, psutil
from medge.engine.backends import Options, Port, backend_class
backend = backend_class("onnxruntime")()
ports = ((Port("image", "float32", (1, 48, 48)),), (Port("scores", "float32", (8,)),))
backend.load(Path(sys.argv[1]).read_bytes(), Options("cpu", "fp32", 2, *ports))
picture = {"image": np.ones((1, 1, 48, 48), "f4")}
process = psutil.Process()
for _ in range(500):
    backend.infer(picture)
before = process.memory_info().rss
for _ in range(10_000):
    backend.infer(picture)
print(process.memory_info().rss - before)
assert backend.placement().compute == {"fp32": 1}
"""


def test_a_session_of_several_threads_does_not_grow_with_its_calls(tmp_path: Path) -> None:
    """One that was ever profiled does: by 41 bytes a call of this network (onnxruntime 1.31.1)."""
    weights = numpy_helper.from_array(np.ones((8, 1, 3, 3), "f4"), "w")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 48, 48])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 8])
    graph = helper.make_graph(nodes, "conv", [image], [scores], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "conv.onnx"
    path.write_bytes(model.SerializeToString())
    # In a process of its own: what other tests leave behind comes and goes.
    told = subprocess.run(
        [sys.executable, "-I", "-c", GROWTH, path], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) < 100_000


@pytest.mark.parametrize("limit_bytes", [0, 500])
def test_a_full_disk_costs_the_engine_and_the_read_back_never_the_answer(limit_bytes: int) -> None:
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from bundles import reference, tiny_graph
from medge.engine.backends import Options, Port
from medge.engine.backends.ort import OnnxRuntime
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
options = Options("cpu", "fp32", 1, (Port("image", "float32", (1, 8, 8)),),
    (Port("scores", "float32", (2,)),), keep_engine=True)
image = np.ones((1, 1, 8, 8), "f4")
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
backend = OnnxRuntime()
backend.load(tiny_graph(), options)
found = backend.infer({{"image": image}})["scores"]
np.testing.assert_allclose(found, reference(tiny_graph(), image), rtol=1e-4)
print(backend.placement().compute, backend.engine() is None)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{} True\n"
    assert done.stderr == ""


@pytest.mark.parametrize("raw", [b"", b"[", b"{}", b'[{"args": {"op_name": 3}}]', b"\xff\xfe"])
def test_a_profile_that_is_not_whole_tells_nothing(raw: bytes) -> None:
    assert placement_of(raw, "CPUExecutionProvider") == Placement()


def test_nodes_of_another_provider_are_counted_apart() -> None:
    raw = b"""[{"name": "a_kernel_time", "dur": 3, "args": {"op_name": "Conv", "node_index": "0",
        "provider": "CUDAExecutionProvider", "input_type_shape": [{"float16": [1, 3]}]}},
        {"name": "b_kernel_time", "dur": 1, "args": {"op_name": "MatMul", "node_index": "1",
        "provider": "CPUExecutionProvider", "input_type_shape": [{"float": [1, 3]}]}}]"""
    found = placement_of(raw, "CUDAExecutionProvider")
    assert found.elsewhere == 1
    assert found.compute_time_ratio == {"fp16": 0.75, "fp32": 0.25}


def test_counts_are_those_of_the_nodes() -> None:
    found = tally(
        [
            Node("Convolution", "u8", 1, time_ns=30),
            Node("Convolution", "f32", 1, time_ns=10),
            Node("Subgraph", "f32", 2, time_ns=60),
            Node("Softmax", "f32", 0, here=False, time_ns=900),
        ]
    )
    assert found.compute == {"fp32": 3, "int8": 1}
    assert found.shares == {"fp32": 0.75, "int8": 0.25}
    assert found.compute_time_ratio == {"fp32": 0.7, "int8": 0.3}
    assert found.nodes["Convolution"] == {"fp32": 1, "int8": 1}
    assert (found.total_nodes, found.elsewhere) == (4, 1)


@pytest.mark.parametrize(
    ("compute", "layers", "narrow", "passes"),
    [
        ({"int8": 21}, 21, 21, True),
        ({"int8": 20, "fp32": 1}, 21, 21, True),  # a last layer kept wide
        ({"int8": 18, "fp32": 3}, 21, 21, False),
        ({"int8": 10, "fp32": 11}, 21, 21, False),
        ({"int8": 10, "fp32": 11}, 21, 10, True),  # as the mixed graph asks
        ({"int8": 50}, 74, 74, True),  # the others were fused into something else
        ({"fp32": 21}, 21, 21, False),
        ({"fp32": 21}, 21, 1, False),
        ({"fp32": 21}, 21, 0, True),
        ({}, 21, 21, False),
        ({"bf16": 21}, 21, 21, False),
    ],
)
def test_a_tenth_of_the_layers_asked_for_may_run_wider(
    compute: dict[str, int], layers: int, narrow: int, passes: bool
) -> None:
    placement = Placement(compute=compute)
    if passes:
        check_placement(placement, "openvino", "int8", layers, narrow)
        return
    with pytest.raises(GateError):
        check_placement(placement, "openvino", "int8", layers, narrow)


@given(st.integers(1, 200), st.data())
def test_wider_never_passes_where_narrower_failed(layers: int, data: st.DataObject) -> None:
    narrow = data.draw(st.integers(0, layers))
    found = data.draw(st.integers(1, layers))
    assert passes(found, layers, narrow) >= passes(found - 1, layers, narrow)
    assert passes(narrow, layers, narrow)


def passes(found: int, layers: int, narrow: int) -> bool:
    placement = Placement(compute={"int8": found, "fp32": layers - found})
    try:
        check_placement(placement, "onnxruntime", "int8", layers, narrow)
    except GateError:
        return False
    return True


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("graph", [tiny_graph(), int8_graph()], ids=["fp32", "int8"])
def test_a_kept_engine_runs_in_the_same_precision_and_gives_the_same_bits(
    backend: str, graph: bytes
) -> None:
    options = Options(
        device="cpu",
        precision="fp32",
        threads=1,
        inputs=(Port("image", "float32", (1, 8, 8)),),
        outputs=(Port("scores", "float32", (2,)),),
        keep_engine=True,
    )
    image = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype("f4")
    built = backend_class(backend)()
    built.load(graph, options)
    first = built.infer({"image": image})["scores"].copy()
    engine = built.engine()
    assert engine is not None
    opened = backend_class(backend)()
    opened.load(b"", options, engine)
    np.testing.assert_array_equal(opened.infer({"image": image})["scores"], first)
    assert opened.placement().compute == built.placement().compute
    built.close()
    opened.close()
