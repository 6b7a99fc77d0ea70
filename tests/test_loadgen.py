"""MLPerf LoadGen itself asks a small network; nothing of it is replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bundles import tiny_bundle, tiny_graph
from onnx import TensorProto, helper, numpy_helper

from medge.bench.profile.loaded import Load
from medge.bench.profile.process import Worker
from medge.bench.scenario.loadgen import (
    Gauge,
    Mode,
    Pictures,
    Run,
    Scenario,
    gauge,
    load_library,
    run,
    settings_of,
)
from medge.bench.scenario.loadgen_plan import SCENARIOS, Request, loadgen_runs
from medge.bench.sections import LoadgenRun
from medge.engine.bundle import open_bundle
from medge.engine.sealed import Candidate
from medge.errors import BackendError, InputError, StorageError

try:
    metadata.version("mlcommons-loadgen")
except metadata.PackageNotFoundError:
    pytest.skip('needs `pip install "medge[bench]"` (x86-64)', allow_module_level=True)

SHORT = Pictures(wanted=16)


def started(bundle: Path, **changes: Any) -> Worker:
    with open_bundle(bundle) as opened:
        digest = opened.digest
    candidate = msgspec.structs.replace(
        Candidate(backend="onnxruntime", device="cpu", variant="fp32", threads=1), **changes
    )
    worker = Worker()
    worker.load(
        Load(folder=os.fsencode(bundle.resolve()), bundle_sha256=digest, candidate=candidate)
    )
    return worker


def asked(folder: Path, scenario: Scenario, mode: Mode = "PerformanceOnly", **changes: Any) -> Run:
    plain = Run(
        scenario=scenario,
        mode=mode,
        folder=os.fsencode(folder),
        pictures=SHORT,
        expected_ns=2_000,  # queries enough for any machine
        qps=60.0,
        min_duration_ms=150,
        min_queries=10,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with started(tiny_bundle(tmp_path_factory.mktemp("bundle"))) as found:
        yield found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_and_its_own_summary_says_whether_it_is_valid(
    worker: Worker, tmp_path: Path, scenario: Scenario
) -> None:
    found = worker.ask(run, asked(tmp_path / "run", scenario))
    summary = (tmp_path / "run/mlperf_log_summary.txt").read_text()
    assert f"Scenario : {scenario}" in summary
    assert found.valid == ("Result is : VALID" in summary)
    assert found.value > 0
    assert found.unit == ("ns" if scenario.endswith("Stream") else "pictures/s")
    assert found.settings["min_duration (ms)"] == "150"
    assert found.version == metadata.version("mlcommons-loadgen")
    assert not found.official
    assert "min_duration_ms 150, mlperf.conf has 600000" in found.deviations
    assert set(found.logs) >= {"mlperf_log_summary.txt", "mlperf_log_detail.txt"}
    assert found.folder == str(tmp_path / "run")


def test_a_run_with_enough_queries_is_valid_by_early_stopping(
    worker: Worker, tmp_path: Path
) -> None:
    few = worker.ask(run, asked(tmp_path / "few", "MultiStream", min_duration_ms=1))
    enough = worker.ask(
        run, asked(tmp_path / "enough", "MultiStream", min_duration_ms=1, min_queries=662)
    )
    assert (few.valid, few.metric) == (False, "p99, too few queries")
    assert (enough.valid, enough.metric) == (True, "p99, early stopping")
    assert any("662 queries" in line for line in few.told)


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("SingleStream", {"single_stream_target_latency_percentile": 0.9}),
        (
            "MultiStream",
            {
                "multi_stream_target_latency_percentile": 0.99,
                "multi_stream_samples_per_query": 8,
                "min_query_count": 662,
            },
        ),
        (
            "Server",
            {"server_target_latency_percentile": 0.99, "server_target_latency_ns": 15_000_000},
        ),
        ("Offline", {"min_query_count": 24_576}),
    ],
)
def test_official_settings_are_the_rules_of_mlperf(
    scenario: Scenario, expected: dict[str, float], tmp_path: Path
) -> None:
    # inference_rules.adoc: 600 s each, the percentiles, 8 samples, at least 24,576 offline.
    library, _ = load_library()
    official = asked(tmp_path, scenario, min_duration_ms=None, min_queries=None)
    settings, deviations = settings_of(library, official, 1024)
    assert deviations == ()
    assert (settings.min_duration_ms, settings.performance_sample_count_override) == (600_000, 1024)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_what_is_not_official_says_so(tmp_path: Path) -> None:
    library, _ = load_library()
    changed = asked(tmp_path, "Server", bound_ns=40_000_000)
    _, deviations = settings_of(library, changed, 16)
    assert deviations == (
        "min_duration_ms 150, mlperf.conf has 600000",
        "min_query_count 10, mlperf.conf has 100",
        "performance_sample_count_override 16, mlperf.conf has 1024",
        "server_target_latency_ns 40000000, mlperf.conf has 15000000",
    )


def test_accuracy_mode_asks_about_every_picture_once_and_compares_the_golden_cases(
    worker: Worker, tmp_path: Path
) -> None:
    found = worker.ask(run, asked(tmp_path / "accuracy", "Offline", "AccuracyOnly"))
    assert (found.valid, found.value) == (True, 1.0)
    assert found.told == ("16 answers, one for each of 16 pictures",)
    answers = json.loads((tmp_path / "accuracy/mlperf_log_accuracy.json").read_text())
    assert sorted(answer["qsl_idx"] for answer in answers) == list(range(16))


def test_answers_that_loadgen_keeps_are_those_of_the_network(
    worker: Worker, tmp_path: Path
) -> None:
    from bundles import reference

    worker.ask(run, asked(tmp_path / "accuracy", "MultiStream", "AccuracyOnly"))
    answers = json.loads((tmp_path / "accuracy/mlperf_log_accuracy.json").read_text())
    found = {each["qsl_idx"]: np.frombuffer(bytes.fromhex(each["data"]), "f4") for each in answers}
    # What tiny_bundle makes its golden cases of.
    image = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype("f4")
    expected = reference(tiny_graph(), image)
    for row in range(2):
        np.testing.assert_allclose(found[row], expected[row], rtol=1e-5, atol=1e-6)


def changed_answer(folder: Path, place: int) -> None:
    """Let one kept answer decide otherwise, as a network that cheats in one mode would."""
    path = folder / "mlperf_log_accuracy.json"
    answers = json.loads(path.read_text())
    scores = np.frombuffer(bytes.fromhex(answers[place]["data"]), "f4")
    answers[place]["data"] = scores[::-1].tobytes().hex()
    path.write_text(json.dumps(answers))


def calm(found: LoadgenRun) -> LoadgenRun:
    """A run to compare with that no noise of a busy machine can be outside of."""
    return msgspec.structs.replace(found, valid=True)


def test_test01_finds_an_answer_that_differs_between_the_modes(
    worker: Worker, tmp_path: Path
) -> None:
    accuracy = worker.ask(run, asked(tmp_path / "accuracy", "SingleStream", "AccuracyOnly"))
    plain = worker.ask(run, asked(tmp_path / "plain", "SingleStream", min_queries=200))
    audit = asked(
        tmp_path / "right",
        "SingleStream",
        "TEST01",
        min_queries=200,
        reference=calm(plain),
        answers=os.fsencode(accuracy.folder or ""),
    )
    right = worker.ask(run, audit)
    kept = int(right.told[0].split()[0])
    assert right.told[0] == f"{kept} of {kept} answers decide as in the accuracy run"
    assert kept >= 16
    assert "audit.config" in right.logs
    for place in range(16):
        changed_answer(tmp_path / "accuracy", place)
    wrong = worker.ask(run, msgspec.structs.replace(audit, folder=os.fsencode(tmp_path / "wrong")))
    assert wrong.told[0].startswith("0 of ")
    assert not wrong.valid


@pytest.mark.parametrize(("factor", "valid"), [(1000.0, False), (0.001, True)])
def test_test04_fails_who_is_faster_on_the_same_picture(
    worker: Worker, tmp_path: Path, factor: float, valid: bool
) -> None:
    plain = worker.ask(run, asked(tmp_path / "plain", "SingleStream", min_queries=100))
    slow = msgspec.structs.replace(calm(plain), value=plain.value * factor)
    found = worker.ask(
        run, asked(tmp_path / "audit", "SingleStream", "TEST04", min_queries=100, reference=slow)
    )
    assert found.valid == valid
    assert found.settings["performance_issue_same"] == "1"


@pytest.mark.parametrize("changes", [{"batch": 4}, {"streams": 2, "threads": 2}], ids=str)
def test_batches_and_streams_of_the_candidate_answer_every_query(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    with started(tiny_bundle(tmp_path), **changes) as worker:
        for scenario in SCENARIOS:
            found = worker.ask(run, asked(tmp_path / scenario, scenario, "AccuracyOnly"))
            assert (found.valid, found.value) == (True, 1.0)
        found = worker.ask(run, asked(tmp_path / "performance", "Offline", qps=4000.0))
        assert found.value > 0


def fragile_graph() -> bytes:
    """Logarithm of 1.5 + the mean of the picture: NaN for a black one."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("Add", ["flat", "above"], ["sum"], "add"),
        helper.make_node("Log", ["sum"], ["log"], "log"),
        helper.make_node("Concat", ["log", "log"], ["scores"], "concat", axis=1),
    ]
    shape = ["batch", 1, 8, 8]
    graph = helper.make_graph(
        nodes,
        "fragile",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array([[1.5]], "f4"), "above")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_network_that_fails_ends_the_run_with_its_rule(
    tmp_path: Path, scenario: Scenario
) -> None:
    black = tmp_path / "black.npy"
    np.save(black, np.zeros((64, 64), np.uint8))
    bundle = tiny_bundle(tmp_path, graph=fragile_graph())
    pictures = Pictures(files=(os.fsencode(black),), wanted=3)
    with started(bundle) as worker, pytest.raises(InputError) as error:
        worker.ask(run, asked(tmp_path / "run", scenario, pictures=pictures, min_queries=50), 30.0)
    assert error.value.rule == "not-finite-output"


def test_logs_are_never_written_over(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error:
        worker.ask(run, asked(tmp_path, "SingleStream"))
    assert error.value.rule == "loadgen-folder"


def test_what_loadgen_is_told_to_expect_was_measured(worker: Worker) -> None:
    found = worker.ask(gauge, Gauge(pictures=SHORT, time_ns=20_000_000))
    assert 0 < found.one_ns <= found.one_p99_ns
    assert found.pictures_per_s > 0


def test_all_scenarios_run_within_a_budget(worker: Worker, tmp_path: Path) -> None:
    told: list[str] = []
    runs = tuple(loadgen_runs(worker, Request(seconds=1.0), tmp_path / "logs", told.append))
    assert [each.mode for each in runs if each.scenario == "SingleStream"][:2] == [
        "AccuracyOnly",
        "PerformanceOnly",
    ]
    assert {each.scenario for each in runs} == set(SCENARIOS)
    assert not any(each.official for each in runs)
    assert len({each.folder for each in runs}) == len(runs)
    assert told[0] == "gauging the network for LoadGen"
    kept = msgspec.json.decode(msgspec.json.encode(runs), type=tuple[LoadgenRun, ...])
    assert kept == runs


def test_an_official_run_takes_ten_minutes_a_scenario_and_twenty_more_audited() -> None:
    assert Request(official=True, audits=False).expected_s == 4 * 600
    assert Request(official=True).expected_s == 4 * 1800


def test_without_the_package_the_pip_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(BackendError, match="pip install") as error:
        load_library()
    assert error.value.rule == "loadgen-absent"
