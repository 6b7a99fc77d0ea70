"""A build bundle holds what its JetPack takes, tells what it left out, and is always the same."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from jetson_kit import NANO, ORIN, THOR, XAVIER, built, bundle_at, int8_graph, unpacked
from onnx import numpy_helper

from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.builds import BUILD, Build, encode_build, kept_build
from medge.engine.bundle import open_bundle
from medge.engine.evidence import Drift, Margins
from medge.engine.manifest import Manifest
from medge.errors import BundleError, GateError, StorageError, UsageError
from medge.exporters.jetson import graphs
from medge.exporters.jetson.jetpack import jetpack_of
from medge.exporters.jetson.pairs import with_pairs
from medge.exporters.jetson.write import write_build_bundle
from medge.profiles.target import find_target

onnxruntime = silent_onnxruntime()


@pytest.mark.parametrize(
    ("target", "opset", "python", "tensorrt", "precisions"),
    [
        (NANO, 13, "3.6", "8.2.1", {"fp32", "fp16"}),
        ("nvidia-jetson-tx2", 13, "3.6", "8.2.1", {"fp32", "fp16"}),
        (XAVIER, 17, "3.8", "8.5.2", {"fp32", "fp16", "int8"}),
        (ORIN, 20, "3.10", "10.3.0", {"fp32", "fp16", "int8"}),
        (THOR, 20, "3.12", "10.16.2", {"fp32", "fp16", "int8"}),
    ],
)
def test_a_board_runs_what_the_toolchain_tables_list(
    target: str, opset: int, python: str, tensorrt: str, precisions: set[str]
) -> None:
    pack = jetpack_of(find_target(target))

    assert (pack.opset, pack.python, pack.tensorrt) == (opset, python, tensorrt)
    assert pack.precisions >= precisions
    assert ("int8" in pack.precisions) == ("int8" in precisions)
    assert pack.int8_weights == ("integers" if opset == 20 else "pairs")


def test_orin_is_served_by_jetpack_6_and_7_with_one_build_bundle() -> None:
    pack = jetpack_of(find_target(ORIN))

    assert [release.name for release in pack.releases] == ["10.3", "10.16"]
    assert pack.version == "6.2.3 or 7.2.2"


@pytest.mark.parametrize(
    ("target", "why"),
    [("nvidia-rtx-a1000", "is no Jetson"), ("nvidia-jetson-nano-cpu", "nvidia-jetson-nano")],
)
def test_build_bundles_are_for_the_gpu_of_a_jetson(target: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        jetpack_of(find_target(target))

    assert refused.value.rule == "build-target"


@pytest.mark.parametrize(
    ("target", "opset", "variants"),
    [(NANO, 13, ["fp32"]), (XAVIER, 17, ["fp32", "int8"]), (ORIN, 19, ["fp32", "int8"])],
)
def test_a_build_bundle_holds_the_graphs_that_its_tensorrt_takes(
    tmp_path: Path, target: str, opset: int, variants: list[str]
) -> None:
    made = built(tmp_path, target)
    folder = unpacked(made)

    build = msgspec.json.decode((folder / BUILD).read_bytes(), type=Build)
    assert build == made.build
    assert [graph.variant for graph in build.graphs] == variants
    assert {one.variant for one in build.left_out} == {"int8", "int8-cpu", "fp32"} - set(variants)
    for graph in build.graphs:
        model = onnx.load(folder / graph.file)
        assert model.opset_import[0].version == graph.opset == opset
        assert [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim] == [
            *(1, 1, 8, 8)
        ]
        assert graph.nodes == tuple(node.op_type for node in model.graph.node)
        assert len({node.name for node in model.graph.node}) == len(model.graph.node)
        assert made.max_abs[graph.variant] <= 1e-6


def test_what_is_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    reasons = {one.variant: one.reason for one in built(tmp_path, NANO).build.left_out}
    assert reasons["int8"] == "sm_53 has no int8 units."

    reasons = {one.variant: one.reason for one in built(tmp_path, XAVIER).build.left_out}
    assert "TensorRT 8.5 (JetPack 5) does not take this graph" in reasons["int8-cpu"]
    assert "QuantizeLinear Q: its zero point is 3" in reasons["int8-cpu"]


def test_a_variant_that_failed_the_drift_gate_is_left_out(tmp_path: Path) -> None:
    failed = Drift(
        verdict="fail",
        precision="int8",
        against="fp32",
        backend="onnxruntime",
        backend_version="1",
        tier="avx2",
        cases=100,
        flips=9,
        labelled=False,
        margins=Margins(),
        checks=(),
        data_sha256="0" * 64,
    )
    bundle_at(tmp_path, drift=failed)

    build = built(tmp_path, ORIN).build

    assert [graph.variant for graph in build.graphs] == ["fp32"]
    assert "drift fail" in next(o.reason for o in build.left_out if o.variant == "int8")


def test_every_file_is_the_one_that_build_json_names(tmp_path: Path) -> None:
    made = built(tmp_path)
    folder = unpacked(made)

    assert {path.name for path in folder.iterdir()} == {BUILD, *made.build.files}
    for name, entry in made.build.files.items():
        raw = (folder / name).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (entry.bytes, entry.sha256)
    assert hashlib.sha256((folder / BUILD).read_bytes()).hexdigest() == made.digest
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert digest == made.build.bundle_sha256


def test_the_same_bundle_gives_the_same_archive(tmp_path: Path) -> None:
    first = built(tmp_path)
    raw = first.path.read_bytes()
    (tmp_path / "again").mkdir()
    (tmp_path / "tiny.medge").rename(tmp_path / "again" / "tiny.medge")

    again = built(tmp_path / "again")

    assert again.digest == first.digest
    assert again.path.read_bytes() == raw
    with tarfile.open(again.path) as archive:
        facts = {(one.uid, one.gid, one.mtime, one.uname) for one in archive}
    assert facts == {(0, 0, 0, "")}  # nothing of who made it, or when


def test_what_results_are_held_against_is_kept(tmp_path: Path) -> None:
    made = built(tmp_path)

    kept = kept_build(made.digest)

    assert kept is not None
    assert kept.build == made.build
    assert isinstance(kept.manifest, Manifest)
    assert kept.golden.cases == 2
    assert kept_build("0" * 64) is None


@pytest.mark.parametrize("name", ["build.json", "manifest.json", "golden.npz"])
def test_a_kept_build_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path / "home"))
    made = built(tmp_path)
    path = tmp_path / "home" / "builds" / made.digest / name
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tinu") + b" ")

    with pytest.raises(BundleError) as refused:
        kept_build(made.digest)

    assert refused.value.rule == "build-damaged"


def test_weights_of_tensorrt_8_are_floats_that_give_the_same_integers() -> None:
    model = onnx.load_from_string(int8_graph())
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}["conv.q"]

    made = with_pairs(model)

    assert [node.op_type for node in made.graph.node[:4]] == [
        *("QuantizeLinear", "DequantizeLinear", "QuantizeLinear", "DequantizeLinear")
    ]
    watched = onnx.ModelProto()
    watched.CopyFrom(made)
    del watched.graph.output[:]
    watched.graph.output.append(onnx.ValueInfoProto(name="w.d.q"))
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    found = session.run(None, {"image": np.zeros((1, 1, 8, 8), "f4")})[0]
    np.testing.assert_array_equal(found, before)
    assert not [t for t in made.graph.initializer if t.name == "conv.q"]


def test_a_graph_that_answers_otherwise_after_conversion_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: onnx.ModelProto, opset: int, without: frozenset[str]) -> onnx.ModelProto:
        made = lowered(model, opset, without)
        for tensor in made.graph.initializer:
            if tensor.name == "head.b":
                tensor.CopyFrom(numpy_helper.from_array(np.ones(2, "f4"), "head.b"))
        return made

    lowered = graphs.lowered
    monkeypatch.setattr(graphs, "lowered", broken)

    with pytest.raises(GateError) as refused:
        built(tmp_path)

    assert refused.value.rule == "conversion"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.medge"]


def test_a_batch_is_that_of_every_graph(tmp_path: Path) -> None:
    made = built(tmp_path, batch=4)
    model = onnx.load(unpacked(made) / "fp32.onnx")

    assert made.build.inputs[0].shape == (4, 1, 8, 8)
    assert made.build.outputs[0].shape == (4, 2)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with open_bundle(bundle_at(tmp_path)) as bundle, pytest.raises(UsageError) as refused:
        write_build_bundle(bundle, find_target(ORIN), tmp_path / "nowhere")

    assert refused.value.rule == "build-folder"


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    bundle = bundle_at(tmp_path)
    monkeypatch.setattr("medge.exporters.jetson.write.os.fsync", full)

    with open_bundle(bundle) as opened, pytest.raises(StorageError) as refused:
        write_build_bundle(opened, find_target(ORIN), tmp_path)

    assert refused.value.rule == "build-output"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.medge"]


def test_the_notes_say_how_trtexec_does_the_same(tmp_path: Path) -> None:
    told = (unpacked(built(tmp_path, XAVIER)) / "README.txt").read_text()
    assert "--onnx=int8.onnx --saveEngine=int8.plan --noTF32 --int8 --warmUp=200" in told
    assert "int8-cpu        left out: " in told

    told = (unpacked(built(tmp_path, ORIN)) / "README.txt").read_text()
    assert "--onnx=int8.onnx --saveEngine=int8.plan --noTF32 --stronglyTyped" in told


def test_build_json_comes_back_the_same(tmp_path: Path) -> None:
    build = built(tmp_path).build
    raw = encode_build(build)

    assert msgspec.json.decode(raw, type=Build) == build
    assert json.loads(raw)["schema"] == "medge.build/1"
