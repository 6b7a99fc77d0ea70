"""`medge bench --studies`: networks of the review timed here, beside estimates for its hardware."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import OPSET
from command_line import Typed
from onnx import TensorProto, helper, numpy_helper

from medge.bench.matrix.ended import end_text
from medge.bench.matrix.network_graphs import Graph, keep_graph, kept_graph
from medge.bench.matrix.network_times import kept_time, time_network
from medge.bench.matrix.network_worker import Task, Told, run
from medge.bench.matrix.review import Review, StudyRow, Summary, review, study_row
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.stats import percentile
from medge.errors import GateError, InputError, UsageError
from medge.eta import Eta, duration_text
from medge.profiles.network import Network, networks
from medge.profiles.study import find_study, studies

RESNET18 = networks()["resnet18"]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def small_graph(network: Network, *, bad: bool = False) -> bytes:
    """A convolution of 8 pixels' stride and a product, with the tensors of a published network."""
    random = np.random.default_rng(0)
    weights = {
        "conv": random.normal(size=(2, network.channels, 8, 8)).astype("f4"),
        "head": np.full((2, 1000), np.inf if bad else 0.5, "f4"),
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv"], ["a"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "head"], ["scores"]),
    ]
    shape = (1, network.channels, network.height, network.width)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 1000))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return bytes(model.SerializeToString())


def counted(graphs: list[str]) -> Any:
    """A maker of small graphs that writes down what it was asked for."""

    def make(network: Network) -> bytes:
        graphs.append(network.id)
        return small_graph(network)

    return make


def rows() -> list[StudyRow]:
    return [study_row(study) for study in studies().values()]


def test_every_study_that_names_a_sized_backbone_has_something_to_measure() -> None:
    sized = [row for row in rows() if row.sized]
    assert len(sized) == 30  # and study 106, whose DeepLabv3 does not say its backbone
    assert all(row.networks for row in sized)
    assert study_row(find_study(106)).networks == (networks()["deeplabv3"],)
    assert sum(bool(row.study.gpus) for row in sized) == 18


def test_a_study_is_measured_beside_what_is_estimated_for_its_card_and_not_again() -> None:
    made: list[str] = []
    both = [find_study(63), find_study(83)]
    found = review(both, counted(made), limit_s=60)
    assert made == ["resnet18"]  # once for both studies and both runtimes
    assert set(found.times) == {("resnet18", "onnxruntime"), ("resnet18", "openvino")}
    for time in found.times.values():
        assert time.measurement is not None, time.reason
        assert len(time.measurement.samples_ns) >= 8
        assert time.placement == {"fp32": 1.0}
        assert (time.peak_rss_bytes or 0) > 10e6
    plan = found.estimates["resnet18", "nvidia-tesla-k80"]
    assert plan.latency is not None or plan.reason
    assert found.summary == Summary(sized=2, measured=2, on_gpu=1, told=1)
    assert Review(found.rows).summary == Summary(sized=2, measured=0, on_gpu=1, told=0)
    assert review(both, counted(made), limit_s=60, resume=True).times == found.times
    assert made == ["resnet18"]


def test_another_graph_or_runtime_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = keep_graph(RESNET18, small_graph)
    found = time_network(RESNET18, graph, "onnxruntime", 60)
    assert kept_time(RESNET18, graph, "onnxruntime") == found
    other = keep_graph(RESNET18, lambda network: small_graph(network) + b"")
    assert other.sha256 == graph.sha256
    longer = Graph(network="resnet18", builder="b", sha256="0" * 64, size_bytes=1)
    assert kept_time(RESNET18, longer, "onnxruntime") is None
    module = "medge.bench.matrix.network_times"
    monkeypatch.setattr(f"{module}.installed_version", lambda _: "another")
    assert kept_time(RESNET18, graph, "onnxruntime") is None


def test_a_damaged_graph_reaches_no_runtime_and_is_made_anew() -> None:
    graph = keep_graph(RESNET18, small_graph)
    raw = bytearray(graph.path.read_bytes())
    raw[len(raw) // 2] ^= 1
    graph.path.write_bytes(raw)
    found = time_network(RESNET18, graph, "onnxruntime", 60)
    assert (found.measurement, found.rule) == (None, "digest")
    made: list[str] = []
    whole = review([find_study(63)], counted(made), limit_s=60)
    assert made == ["resnet18"]
    assert whole.times["resnet18", "onnxruntime"].measurement is not None


def test_a_graph_of_another_length_or_without_its_seal_is_not_kept() -> None:
    graph = keep_graph(RESNET18, small_graph)
    assert kept_graph(RESNET18) == graph
    assert kept_graph(networks()["resnet34"]) is None
    graph.path.write_bytes(b"short")
    assert kept_graph(RESNET18) is None


def test_a_network_that_takes_too_long_is_a_reason() -> None:
    graph = keep_graph(RESNET18, small_graph)
    found = time_network(RESNET18, graph, "onnxruntime", 0.2)
    assert (found.measurement, found.rule) == (None, "time-limit")
    assert "--time-limit" in (found.reason or "")


def test_a_graph_that_a_runtime_refuses_is_a_reason() -> None:
    graph = keep_graph(RESNET18, lambda _: b"no graph at all")
    found = time_network(RESNET18, graph, "onnxruntime", 60)
    assert found.measurement is None
    assert found.reason


def task(graph: Graph, **changed: Any) -> Task:
    fields: dict[str, Any] = {
        "path": str(graph.path),
        "sha256": graph.sha256,
        "runtime": "onnxruntime",
        "input_name": "image",
        "input_shape": (3, 224, 224),
        "output_name": "scores",
        "output_shape": (1000,),
        "procedure": Procedure(
            threads=1,
            warm_up=WarmUp(max_calls=0),
            sampling=Sampling(min_samples=3, max_samples=3, max_ns=0),
        ),
    }
    return Task(**{**fields, **changed})


def test_a_network_whose_answers_are_no_numbers_is_not_timed() -> None:
    graph = keep_graph(RESNET18, lambda network: small_graph(network, bad=True))
    with pytest.raises(InputError, match="NaN or Inf"):
        run(task(graph))


def test_a_worker_tells_how_long_each_call_took() -> None:
    told = run(task(keep_graph(RESNET18, small_graph)))
    assert isinstance(told, Told)
    assert told.measurement is not None
    assert len(told.measurement.samples_ns) == 3
    assert percentile(told.measurement.samples_ns, 0.5) > 0


def test_a_runtime_that_computes_in_fewer_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from medge.engine.placement import Placement

    monkeypatch.setattr(
        "medge.engine.backends.ort.OnnxRuntime.placement",
        lambda _: Placement(compute={"bf16": 1, "fp32": 1}),
    )
    with pytest.raises(GateError, match="50%"):
        run(task(keep_graph(RESNET18, small_graph)))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "more memory than there is"),
        (-signal.SIGILL, "does not have"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-250, "signal 250"),
        (3, "code 3"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int, words: str) -> None:
    assert words in end_text(code)


def test_without_the_export_extra_the_reason_says_what_to_install(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medge.exporters.published.metadata.distributions", lambda **_: iter(()))
    said = typed("bench", "--studies", "--only", "63", "--json")
    assert said.code == 0, said.err
    (study,) = json.loads(said.out)["studies"]
    (part,) = study["parts"]
    for told in part["measured"].values():
        assert told["p50_ms"] is None
        assert 'python -m pip install "medge[export]"' in told["reason"]
    assert part["estimated"]["nvidia-tesla-k80"]["latency_ms"] > 0


def test_the_page_fits_80_columns_and_other_formats_say_the_same(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("medge.exporters.published.published_graph", small_graph)
    said = typed("bench", "--studies", "--only", "63", "--only", "30", "--only", "83")
    assert said.code == 0, said.err
    assert max(map(len, said.out.splitlines())) <= 80
    assert "untrained weights: latency only" in " ".join(said.out.split())
    assert {"63", "30", "83"} <= {line.split(" ")[0] for line in said.out.splitlines()}
    assert said.err == ""  # no terminal, no progress
    again = ("bench", "--studies", "--resume", "--only", "63")
    (row,) = csv.DictReader(io.StringIO(typed(*again, "--format", "csv").out))
    assert (row["network"], row["device"]) == ("resnet18", "nvidia-tesla-k80")
    assert float(row["onnxruntime_p50_ms"]) > 0
    page = tmp_path / "page.md"
    said = typed(*again, "--format", "md", "-o", page)
    assert (said.code, said.out) == (0, "")
    text = page.read_text()
    assert text.startswith("# Studies of the review")
    assert "| 63 | ResNet-18 |" in text


@pytest.mark.parametrize(
    "words", [("--studies", "--only", "3"), ("--only", "63"), ("--studies", "--only", "x")]
)
def test_what_makes_no_sense_is_exit_2(typed: Typed, words: tuple[str, ...]) -> None:
    said = typed("bench", *words)
    assert (said.code, said.out) == (2, "")


def test_a_published_network_becomes_a_graph_that_runs() -> None:
    from medge.exporters.published import published_graph

    network = RESNET18
    raw = published_graph(network)
    model = onnx.load_from_string(raw)
    weights = sum(np.prod(t.dims, dtype=int) for t in model.graph.initializer)
    # BatchNorms may lie in their convolutions: a few numbers less than the network has.
    assert 0.99 * network.parameters < weights < 1.01 * network.parameters
    graph = keep_graph(network, lambda _: raw)
    told = run(task(graph, runtime="openvino"))
    assert told.placement == {"fp32": 1.0}


def test_what_no_library_builds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from medge.exporters.published import published_graph

    monkeypatch.setattr("medge.exporters.published.metadata.distributions", lambda **_: iter(()))
    with pytest.raises(UsageError, match=r"needs onnx, torch, onnxscript, torchvision"):
        published_graph(RESNET18)


def test_progress_tells_what_is_left_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter([0.0, 30.0])
    eta = Eta(clock=lambda: next(times), live=True)
    eta("ResNet-18 on openvino", 0.0)
    eta("VGG-16 on openvino", 0.25)
    eta.clear()
    said = capsys.readouterr().err.split("\r")
    assert said[1] == "ResNet-18 on openvino · 0 %"
    assert said[2] == "VGG-16 on openvino · 25 % · 2 min left"
    assert said[3].strip() == ""
    Eta(clock=lambda: 0.0, live=False)("nothing", 0.5)
    assert capsys.readouterr().err == ""
    assert [duration_text(s) for s in (0.4, 59, 61, 3600, 4800)] == [
        "0 s", "59 s", "1 min", "1 h 0 min", "1 h 20 min",
    ]  # fmt: skip


def test_an_unfinished_page_tells_that_a_runtime_was_not_asked(tmp_path: Path) -> None:
    from medge.pages.bench_studies import page_text

    row = study_row(find_study(83))
    text = page_text(Review((row,)), "table", terminal=False)
    assert "it was not asked for" in " ".join(text.split())
    assert os.environ["COLUMNS"] == "80"
