"""`medge compile --target`: plans that TensorRT-RTX really builds, for GPUs that are not here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import tiny_bundle, tiny_graph
from command_line import Typed
from narrow_graphs import fp16_graph, int8_graph, narrow_bundle, weights_of
from onnx import helper, numpy_helper

from medge.engine.backends.trt.plan import Batches, Plan, PlanRequest
from medge.engine.bundle import Bundle, open_bundle
from medge.errors import BackendError, StorageError, UsageError
from medge.exporters.ahead_of_time import AheadOfTime, check_built, compile_ahead, route_of
from medge.exporters.plan_folder import write_plans
from medge.profiles.support import host_of
from medge.profiles.target import Target, find_target, targets
from medge.profiles.toolchain import ladder

NEEDS_RTX = pytest.mark.skipif(
    not any(metadata.distributions(name="tensorrt-rtx")), reason="tensorrt-rtx is not installed"
)
AMPERE = find_target("nvidia-rtx-a400")  # sm_86
TURING = find_target("nvidia-tesla-t4")
MAGIC = b"vtrt"  # every engine of TensorRT-RTX 1.7 begins so


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MEDGE_HOME", str(folder))
    return folder


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capfd)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A bundle with fp32 and fp16."""
    folder = tmp_path_factory.mktemp("half")
    with open_bundle(narrow_bundle(folder, "fp16", fp16_graph())) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def found(half: Bundle) -> AheadOfTime:
    """What is built of it for one GPU."""
    if not any(metadata.distributions(name="tensorrt-rtx")):
        pytest.skip("tensorrt-rtx is not installed")
    return compile_ahead(half, AMPERE)


def symmetric_graph() -> bytes:
    """Return ``tiny_graph()`` with its convolution in symmetric int8 and a plain bias."""
    tensors = weights_of(tiny_graph())
    scales = np.abs(tensors["conv.w"]).reshape(4, -1).max(axis=1).astype("f4") / 127
    values = np.rint(tensors["conv.w"] / scales.reshape(4, 1, 1, 1)).astype("i1")
    model = onnx.load_from_string(tiny_graph())
    model.opset_import[0].version = 19  # ONNX's reference knows Q and DQ from here on
    constants = {"w.q": values, "w.s": scales, "w.z": np.zeros(4, "i1")}
    constants |= {"x.s": np.float32(0.03), "x.z": np.int8(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    added = [
        helper.make_node("QuantizeLinear", ["image", "x.s", "x.z"], ["x.q"], "x.Q"),
        helper.make_node("DequantizeLinear", ["x.q", "x.s", "x.z"], ["x.d"], "x.DQ"),
        helper.make_node("DequantizeLinear", ["w.q", "w.s", "w.z"], ["w.d"], "w.DQ", axis=0),
    ]
    for node in reversed(added):
        model.graph.node.insert(0, node)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.input[0], conv.input[1] = "x.d", "w.d"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def outcomes(found: AheadOfTime) -> dict[str, tuple[str, str]]:
    return {row.variant: (row.outcome, row.refused_by) for row in found.rows}


def test_every_variant_is_built_and_a_second_time_to_the_same_bytes(
    half: Bundle, found: AheadOfTime
) -> None:
    assert outcomes(found) == {"fp32": ("built", ""), "fp16": ("built", "")}
    assert found.compute_capability == "8.6"
    for row in found.rows:
        plan = found.plans[row.variant].plan
        assert plan.startswith(MAGIC)
        assert (row.sha256, row.size_bytes) == (hashlib.sha256(plan).hexdigest(), len(plan))
    again = compile_ahead(half, AMPERE)
    assert [row.sha256 for row in again.rows] == [row.sha256 for row in found.rows]
    assert len({row.sha256 for row in found.rows}) == 2


@NEEDS_RTX
def test_symmetric_int8_is_built(tmp_path: Path) -> None:
    path = narrow_bundle(tmp_path, "int8", symmetric_graph(), narrow_layers=1)
    with open_bundle(path) as bundle:
        found = compile_ahead(bundle, find_target("nvidia-rtx-5090"))
    assert outcomes(found) == {"fp32": ("built", ""), "int8": ("built", "")}
    assert found.compute_capability == "12.0"


@NEEDS_RTX
def test_turing_gets_fp16_and_the_row_of_fp32_says_why(half: Bundle) -> None:
    found = compile_ahead(half, TURING)
    assert outcomes(found) == {"fp32": ("refused", "tensorrt-rtx"), "fp16": ("built", "")}
    assert "no matrix products in fp32" in found.rows[0].reason
    check_built(found)


@NEEDS_RTX
def test_what_is_not_legal_is_refused_before_any_runtime_sees_it(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def build(model: bytes, _request: object) -> None:
        seen.append(model)
        raise AssertionError("the runtime was asked")

    path = narrow_bundle(tmp_path, "int8-cpu", int8_graph())
    with open_bundle(path) as bundle:
        with pytest.raises(AssertionError, match="the runtime was asked"):
            compile_ahead(bundle, AMPERE, build=build)  # type: ignore[arg-type] # as told
        assert seen == [bundle.read("model.onnx")]
        found = compile_ahead(bundle, AMPERE)
    row = found.rows[1]
    assert (row.outcome, row.refused_by, row.operator) == ("refused", "medge", "DequantizeLinear")
    assert row.reason.startswith("its integers are uint8, and ")


def test_a_gpu_that_the_matrix_does_not_list_is_built_for_with_a_note(
    half: Bundle, found: AheadOfTime
) -> None:
    asked: list[PlanRequest] = []

    def build(_model: bytes, request: PlanRequest) -> Plan:
        asked.append(request)
        return found.plans["fp32"]

    made = compile_ahead(half, find_target("nvidia-a100-40gb-sxm"), build=build)
    assert {each.compute_capabilities for each in asked} == {("8.0",)}
    (note,) = made.notes
    assert "its support matrix does not list it" in note
    assert found.notes == ()


def test_without_the_package_the_error_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with open_bundle(tiny_bundle(tmp_path)) as bundle, pytest.raises(BackendError) as caught:
        compile_ahead(bundle, AMPERE)
    assert caught.value.rule == "backend-missing"
    assert "pip install tensorrt-rtx" in caught.value.message


def way_of(target: Target) -> tuple[str, str]:
    """Return how a target gets its engines, or why it does not."""
    try:
        return route_of(target), ""
    except BackendError as error:
        return error.rule, error.message


def test_each_target_of_the_catalog_has_a_way_or_a_reason_with_the_tables_words() -> None:
    ways = {target.id: way_of(target) for target in targets().values()}
    for target in targets().values():
        way, why = ways[target.id]
        host = host_of(target)
        if way == "plans":
            assert host.compute_capability in {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"}
        elif host.kind == "jetson" and host.unit == "gpu":
            assert way == "build-bundle"
        else:
            assert way == "toolchain"
            assert target.name in why
        if way == "toolchain" and host.kind == "nvidia":
            (route,) = (each for each in ladder(target).routes if each.id == "tensorrt-rtx")
            assert route.reason
            assert route.reason in why
    found = [way for way, _ in ways.values()]
    assert found.count("plans") >= 30
    assert found.count("build-bundle") >= 25
    assert found.count("toolchain") >= 40


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nvidia-h100-sxm", ("sm_90", "Type `medge compile` on it", "TensorRT")),
        ("nvidia-gtx-1080", ("sm_61", "ONNX Runtime, CUDA provider")),
        ("nvidia-jetson-nano-cpu", ("without --target",)),
    ],
)
def test_a_target_without_plans_says_what_to_do_instead(
    target: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(BackendError) as caught:
        route_of(find_target(target))
    assert all(word in caught.value.message for word in words)


def test_a_folder_of_plans_is_whole_replaced_and_never_something_elses(
    found: AheadOfTime, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError) as none:
        write_plans(found, out)
    assert none.value.rule == "build-folder"
    out.mkdir()
    path = write_plans(found, out)
    assert path == out / "tiny-nvidia-rtx-a400"
    assert {each.name for each in path.iterdir()} == {"fp32.plan", "fp16.plan", "plans.json"}
    listed = json.loads((path / "plans.json").read_bytes())
    assert listed["run_on_a_gpu"] is False
    for row in listed["plans"]:
        assert hashlib.sha256((path / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    (path / "fp16.plan").unlink()
    assert write_plans(found, out) == path
    assert (path / "fp16.plan").exists()
    (path / "patient.txt").write_text("mine")
    with pytest.raises(StorageError) as foreign:
        write_plans(found, out)
    assert foreign.value.rule == "exists"
    assert [each.name for each in out.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(found: AheadOfTime, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(0o500)
    with pytest.raises(StorageError) as caught:
        write_plans(found, out)
    assert caught.value.rule == "plan-output"


@NEEDS_RTX
def test_the_verb_shows_what_was_built_and_that_no_gpu_has_run_it(
    half: Bundle, tmp_path: Path, typed: Typed
) -> None:
    said = typed("compile", half.path, "--target", TURING.id, "-o", tmp_path)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].split() == ["variant", "plan", "size", "s", "sha256", "or", "reason"]
    assert "by tensorrt-rtx" in said.out
    assert "(sm_75), batch 1\nbuilt, not run on any GPU\n" in said.err
    assert f"{tmp_path / 'tiny-nvidia-tesla-t4'} holds the plans" in said.err
    told = json.loads(typed("compile", half.path, "--target", TURING.id, "--json").out)
    assert told["schema"] == "medge.plans/1"
    assert [row["outcome"] for row in told["plans"]] == ["refused", "built"]


@NEEDS_RTX
def test_plans_for_more_pictures_in_a_call_stand_in_a_folder_of_their_own(
    half: Bundle, found: AheadOfTime, tmp_path: Path, typed: Typed
) -> None:
    said = typed("compile", half.path, "--target", AMPERE.id, "--batch", "8", "-o", tmp_path)
    assert said.code == 0, said.err
    assert "(sm_86), batch 8\n" in said.err
    path = tmp_path / "tiny-nvidia-rtx-a400-batch8"
    listed = json.loads((path / "plans.json").read_bytes())
    assert listed["batch"] == 8
    before = {row.sha256 for row in found.rows}
    assert not before & {row["sha256"] for row in listed["plans"]}
    assert write_plans(found, tmp_path).name == "tiny-nvidia-rtx-a400"
    assert path.is_dir()


def test_a_plan_is_asked_for_as_many_pictures_as_a_call_holds(half: Bundle) -> None:
    asked: list[PlanRequest] = []

    def build(_model: bytes, request: PlanRequest) -> Plan:
        asked.append(request)
        return Plan(plan=b"", compute=(), batch=8, seconds=0.1, package="", version="")

    compile_ahead(half, AMPERE, build=build, batch=8)
    assert {each.batches for each in asked} == {Batches(8, 8, 8)}


@NEEDS_RTX
def test_a_graph_for_one_picture_is_refused_where_a_call_shall_hold_more(
    half: Bundle, tmp_path: Path
) -> None:
    model = onnx.load_from_string(fp16_graph())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = narrow_bundle(tmp_path, "fp16", bytes(model.SerializeToString()))
    with open_bundle(path) as bundle:
        found = compile_ahead(bundle, AMPERE, batch=8)
        single = compile_ahead(bundle, AMPERE)
    assert outcomes(found) == {"fp32": ("built", ""), "fp16": ("refused", "medge")}
    assert found.rows[1].reason == "the graph takes calls of 1 and no others, asked for are 8"
    assert outcomes(single) == {"fp32": ("built", ""), "fp16": ("built", "")}


@NEEDS_RTX
def test_a_bundle_of_which_nothing_is_built_ends_with_4_after_its_table(
    tmp_path: Path, typed: Typed
) -> None:
    said = typed("compile", tiny_bundle(tmp_path), "--target", TURING.id)
    assert said.code == 4
    assert "refused" in said.out
    assert "E4 graph:" in said.err
    assert "`medge quantize` makes other variants" in said.err


def test_a_jetson_gets_a_build_bundle(half: Bundle, tmp_path: Path, typed: Typed) -> None:
    out = tmp_path / "out"
    out.mkdir()
    said = typed("compile", half.path, "--target", "nvidia-jetson-xavier-nx", "-o", out)
    assert said.code == 0, said.err
    (archive,) = out.iterdir()
    assert archive.name.endswith(".build.tar")
    assert "JetPack 5" in said.out
    again = typed("compile", half.path, "--target", "nvidia-jetson-xavier-nx", "-o", out, "--json")
    told = json.loads(again.out)
    assert (told["path"], told["run_on_a_gpu"]) == (str(archive), False)
    assert [graph["variant"] for graph in told["build"]["graphs"]] == ["fp32", "fp16"]
    many = typed(
        *("compile", half.path, "--target", "nvidia-jetson-xavier-nx"),
        *("--batch", "4", "-o", out, "--json"),
    )
    told = json.loads(many.out)
    assert told["path"].endswith("tiny-nvidia-jetson-xavier-nx-batch4.build.tar")
    assert told["build"]["batch"] == 4
    assert archive.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--target", "nvidia-tesla-t4", "--device", "cpu"),
        ("--target", "nvidia-tesla-t4", "--data", "."),
        ("--target", "nvidia-tesla-t4", "--throughput"),
        ("--target", "nvidia-tesla-t4", "--time-budget", "5"),
        ("--target", "nvidia-tesla-t5"),
        ("--target", "nvidia-tesla-t4", "-o", "nowhere"),
        ("--target", "nvidia-tesla-t4", "--batch", "0"),
        ("--batch", "1"),
        ("-o", "."),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    words: tuple[str, ...], typed: Typed
) -> None:
    assert typed("compile", "chest-x-ray", *words).code == 2
