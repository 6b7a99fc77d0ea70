"""Layer times: what runtimes tell of single operations, and what is made of it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from narrow_graphs import int8_graph, narrow_bundle

from medge.bench.profile.layer_times import layer_times, merged
from medge.bench.sections import Absent, Layers
from medge.engine.backends.ort_profile import timed_nodes_of
from medge.engine.bundle import open_bundle
from medge.engine.placement import TimedNode
from medge.engine.select import Choice
from medge.engine.session import Session

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]


def watched(path: Path, backend: str, variant: str = "fp32", streams: int = 1) -> Layers | Absent:
    with open_bundle(path) as bundle:
        choice = Choice(backend, "cpu", variant, "fp32", threads=streams, streams=streams)
        one = {name: array[:1].copy() for name, array in bundle.golden().inputs.items()}
        return layer_times(bundle, choice, one, runs=5)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_every_convolution_and_product_of_the_graph_has_its_time(
    tmp_path: Path, backend: str
) -> None:
    found = watched(tiny_bundle(tmp_path), backend)
    assert isinstance(found, Layers)
    kinds = " ".join(layer.kind for layer in found.layers)
    assert "Conv" in kinds
    assert "Gemm" in kinds or "FullyConnected" in kinds or "MatMul" in kinds
    assert {layer.precision for layer in found.layers} == {"fp32"}
    assert sum(layer.share_ratio for layer in found.layers) == pytest.approx(1.0)
    assert found.source.endswith(metadata.version(backend).partition("-")[0])


@pytest.mark.parametrize("backend", RUNTIMES)
def test_layers_of_an_int8_graph_say_so(tmp_path: Path, backend: str) -> None:
    found = watched(narrow_bundle(tmp_path, "int8", int8_graph()), backend, "int8")
    assert isinstance(found, Layers)
    computed = [each for each in found.layers if "Conv" in each.kind or "Gemm" in each.kind]
    assert "int8" in {layer.precision for layer in computed}


def test_of_several_streams_one_is_watched(tmp_path: Path) -> None:
    assert isinstance(watched(tiny_bundle(tmp_path), "onnxruntime", streams=2), Layers)


def test_a_backend_that_runs_nothing_has_no_layers(tmp_path: Path) -> None:
    found = watched(tiny_bundle(tmp_path), "null")
    assert found == Absent(reason="null tells nothing of single operations")


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_session_that_is_not_watched_times_no_layers(tmp_path: Path, backend: str) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        choice = Choice(backend, "cpu", "fp32", "fp32", threads=1)
        with Session(bundle, choice) as session:
            session.infer({n: array[:1].copy() for n, array in bundle.golden().inputs.items()})
            assert session.timed_nodes() == ()


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_watched_session_answers_as_others_do_and_knows_its_placement(
    tmp_path: Path, backend: str
) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        choice = Choice(backend, "cpu", "fp32", "fp32", threads=1)
        golden = bundle.golden()
        one = {name: array[:1].copy() for name, array in golden.inputs.items()}
        with Session(bundle, choice, watched=True) as session:
            for name, output in session.infer(one).items():
                np.testing.assert_allclose(output, golden.outputs[name][:1], atol=1e-4)
            nodes = session.timed_nodes()
            assert {len(node.times_ns) for node in nodes} == {1}
            assert session.infer(one)
            assert session.placement.compute == {"fp32": 2}


def test_the_median_counts_and_first_calls_do_not() -> None:
    nodes = [
        TimedNode("a", "Conv", "int8", (9_000_000, 30_000, 90_000, 30_000)),
        TimedNode("b", "Gemm", "fp32", (9_000_000, 10_000, 10_000, 10_000)),
    ]
    first, second = merged(nodes, skipped=1)
    assert (first.name, first.time_ns, first.share_ratio) == ("a", 30_000, 0.75)
    assert (second.precision, second.time_ns, second.share_ratio) == ("fp32", 10_000, 0.25)
    assert merged([], 1) == merged(nodes[:1], skipped=4) == ()


def event(name: str, begin_us: int, took_us: int, kind: str = "") -> dict[str, object]:
    args = {"op_name": kind, "node_index": "1", "input_type_shape": [{"float": [1]}]}
    return {"name": name, "ts": begin_us, "dur": took_us, "args": args if kind else {}}


def test_nodes_are_told_apart_by_call_and_loops_are_added_up() -> None:
    """As ONNX Runtime writes them: a call's own event comes after those that lie within it."""
    events = [
        event("before_kernel_time", 1, 1, "Conv"),  # within no call
        event("a_kernel_time", 10, 5, "Conv"),
        event("inner_kernel_time", 16, 2, "Add"),
        event("inner_kernel_time", 19, 3, "Add"),
        event("model_run", 9, 20),
        event("a_kernel_time", 110, 7, "Conv"),
        event("model_run", 109, 20),
    ]
    assert timed_nodes_of(json.dumps(events).encode()) == (
        TimedNode("a", "Conv", "fp32", (5_000, 7_000)),
        TimedNode("inner", "Add", "fp32", (5_000, 0)),
    )


@given(st.binary(max_size=200))
def test_a_profile_that_is_not_whole_tells_nothing(raw: bytes) -> None:
    assert timed_nodes_of(b"[" + raw) == ()
