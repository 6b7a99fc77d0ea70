"""An ONNX file becomes a bundle: fitted, cleaned, held against ONNX's reference, or refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import reference, tiny_graph
from export_kit import SPEC, export, write_spec
from onnx import TensorProto, helper, numpy_helper

from medge.engine.bundle import open_bundle
from medge.errors import BundleError, GateError, StorageError, UsageError

SMALL = {**SPEC["input"], "height": 8, "width": 8}


def spec_8(folder: Path, **changes: Any) -> Path:
    return write_spec(folder, **{"input": SMALL, **changes})


def put(folder: Path, graph: bytes | onnx.ModelProto, name: str = "net.onnx") -> str:
    path = folder / name
    path.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    return str(path)


def changed(**changes: Any) -> onnx.ModelProto:
    return onnx.load_from_string(tiny_graph(**changes))


def scaled_head(ratio: float, **changes: Any) -> bytes:
    """Return ``tiny_graph`` with logits that much larger."""
    model = changed(**changes)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("head"):
            values = numpy_helper.to_array(tensor) * np.float32(ratio)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


def test_golden_answers_are_those_of_the_reference(tmp_path: Path) -> None:
    graph = tiny_graph()
    report = export(tmp_path, put(tmp_path, graph), spec=spec_8(tmp_path))
    golden = open_bundle(report.path).golden()
    assert 4 <= golden.cases <= 6
    np.testing.assert_allclose(
        golden.outputs["scores"], reference(graph, golden.inputs["image"]), atol=1e-6
    )
    assert np.ptp(golden.outputs["scores"], axis=0).min() > 1e-3
    assert report.parity[0].against == f"onnx.reference {onnx.__version__}"


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    source, spec = put(tmp_path, tiny_graph()), spec_8(tmp_path)
    one = export(tmp_path, source, spec=spec)
    files = {p.name: p.read_bytes() for p in one.path.iterdir()}
    other = export(tmp_path, source, spec=spec, overwrite=True)
    assert one.digest == other.digest
    assert {p.name: p.read_bytes() for p in other.path.iterdir()} == files


def test_ports_get_the_names_of_the_specification(tmp_path: Path) -> None:
    """Also when an inner tensor has that name already."""
    outputs = [{"name": "f", "classes": ["benign", "malignant"]}]
    spec = spec_8(tmp_path, input={**SMALL, "name": "picture"}, outputs=outputs)
    report = export(tmp_path, put(tmp_path, tiny_graph()), spec=spec)
    model = onnx.load(report.path / "model.onnx")
    assert [v.name for v in model.graph.input] == ["picture"]
    assert [v.name for v in model.graph.output] == ["f"]
    assert "2 inputs and outputs renamed" in report.notes


def test_two_outputs_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    model = changed()
    model.graph.node.append(helper.make_node("Neg", ["scores"], ["other"], "neg"))
    value = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", 2])
    model.graph.output.append(value)
    outputs = [
        {"name": "other", "classes": ["a", "b"]},
        {"name": "scores", "classes": ["c", "d"]},
    ]
    report = export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path, outputs=outputs))
    golden = open_bundle(report.path).golden()
    np.testing.assert_array_equal(golden.outputs["other"], -golden.outputs["scores"])


def test_nothing_of_the_machine_that_made_it_stays_in_the_graph(tmp_path: Path) -> None:
    model = changed()
    secret = "/home/someone/patients"  # noqa: S105  # a path, no password
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = secret
    model.graph.input[0].doc_string = model.graph.initializer[0].doc_string = secret
    for message in (model, model.graph, model.graph.node[0], model.graph.initializer[0]):
        message.metadata_props.add(key="stack_trace", value=secret)
    # Also within the branches of an If.
    inner = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["inner"], "inner", doc_string=secret)],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["batch", 4])],
        doc_string=secret,
    )
    always = numpy_helper.from_array(np.array(True), "always")
    model.graph.initializer.append(always)
    branch = helper.make_node("If", ["always"], ["g"], then_branch=inner, else_branch=inner)
    model.graph.node.insert(4, branch)
    model.graph.node[5].input[0] = "g"
    report = export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path))
    raw = b"".join(p.read_bytes() for p in report.path.iterdir())
    assert secret.encode() not in raw
    assert b"stack_trace" not in raw


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    model = changed()
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    report = export(tmp_path, str(path), spec=spec_8(tmp_path))
    assert any("taken in" in note for note in report.notes)
    (tmp_path / "net.data").unlink()
    with pytest.raises(UsageError, match="keeps 4 tensors in another file") as caught:
        export(tmp_path, str(path), overwrite=True)
    assert caught.value.rule == "source-unreadable"


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = changed()
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    report = export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path))
    assert len(onnx.load(report.path / "model.onnx").graph.input) == 1


def test_another_opset_is_written_when_asked_for(tmp_path: Path) -> None:
    report = export(tmp_path, put(tmp_path, tiny_graph()), spec=spec_8(tmp_path), opset=20)
    assert (report.opset, report.manifest.variants[0].opset) == (20, 20)
    assert onnx.load(report.path / "model.onnx").opset_import[0].version == 20


@pytest.mark.parametrize("opset", [0, 999])
def test_an_opset_that_is_none_is_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(UsageError, match=f"from opset 17 to {opset}") as caught:
        export(tmp_path, put(tmp_path, tiny_graph()), spec=spec_8(tmp_path), opset=opset)
    assert caught.value.rule == "opset"


def test_a_graph_for_one_picture_at_a_time_is_accepted(tmp_path: Path) -> None:
    report = export(tmp_path, put(tmp_path, tiny_graph(batch=1)), spec=spec_8(tmp_path))
    assert report.parity[0].cases == 8


@pytest.mark.parametrize(
    ("graph", "changes", "rule", "said"),
    [
        (tiny_graph(batch=4), {}, "network-input", "4x1x8x8, the specification says ?x1x8x8"),
        (tiny_graph(size=16), {}, "network-input", "?x1x16x16, the specification says ?x1x8x8"),
        (tiny_graph(classes=3), {}, "network-output", "?x3, the specification says ?x2"),
        (
            tiny_graph(),
            {"outputs": [{"name": n, "classes": ["a", "b"]} for n in "xy"]},
            "network-output",
            "has 1 outputs, the specification has 2",
        ),
        (
            tiny_graph(),
            {"input": {**SMALL, "dtype": "uint8", "mean": [], "std": []}},
            "network-input",
            "input is float, [input] says uint8",
        ),
    ],
)
def test_what_does_not_fit_the_specification_is_named_with_both_sides(
    tmp_path: Path, graph: bytes, changes: dict[str, Any], rule: str, said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        export(tmp_path, put(tmp_path, graph), spec=spec_8(tmp_path, **changes))
    assert caught.value.rule == rule
    assert not (tmp_path / "tiny.medge").exists()


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "holds no node"), (b"not a graph at all", "damaged"), (None, "No such file")],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, raw: bytes | None, said: str) -> None:
    path = tmp_path / "net.onnx"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(UsageError, match=said) as caught:
        export(tmp_path, str(path), spec=spec_8(tmp_path))
    assert caught.value.rule == "source-unreadable"


def test_damaged_files_are_refused_or_become_whole_bundles(tmp_path: Path) -> None:
    """One to three bytes changed, some files cut: an error of medge, or a bundle that opens."""
    random = np.random.default_rng(7)
    whole, spec = np.frombuffer(tiny_graph(), "u1"), spec_8(tmp_path)
    written = 0
    for _ in range(100):
        raw = whole.copy()
        places = random.integers(0, len(raw), random.integers(1, 4))
        raw[places] = random.integers(0, 256, len(places))
        if random.uniform() < 0.2:
            raw = raw[: places[0]]
        source = put(tmp_path, raw.tobytes())
        try:
            report = export(tmp_path, source, spec=spec, overwrite=True)
        except (UsageError, BundleError, GateError):
            continue
        written += 1
        open_bundle(report.path).close()
    assert 5 < written < 50


def test_nan_weights_are_refused_by_name_and_number(tmp_path: Path) -> None:
    weights = np.zeros((4, 1, 3, 3), "f4")
    weights[0, 0, 0] = np.nan
    source = put(tmp_path, tiny_graph(weights={"conv.w": weights}))
    with pytest.raises(BundleError, match=r"'conv\.w' \(3 values\) holds NaN") as caught:
        export(tmp_path, source, spec=spec_8(tmp_path))
    assert caught.value.rule == "weights-not-finite"


def test_a_graph_too_large_for_one_file_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medge.exporters import graph

    monkeypatch.setattr(graph, "FILE_CAP_BYTES", 100)
    with pytest.raises(BundleError, match=r"has \d{3} bytes; one ONNX file holds at most 100"):
        export(tmp_path, put(tmp_path, tiny_graph()), spec=spec_8(tmp_path))


def test_a_dead_network_is_refused(tmp_path: Path) -> None:
    source = put(tmp_path, tiny_graph(weights={"conv.w": np.zeros((4, 1, 3, 3), "f4")}))
    with pytest.raises(BundleError, match="same for 8 very different pictures") as caught:
        export(tmp_path, source, spec=spec_8(tmp_path))
    assert caught.value.rule == "constant-output"


def test_answers_that_overflow_are_refused(tmp_path: Path) -> None:
    source = put(tmp_path, scaled_head(1e38))
    with pytest.raises(GateError, match="NaN or Inf values in output scores") as caught:
        export(tmp_path, source, spec=spec_8(tmp_path))
    assert caught.value.rule == "parity"


def test_operators_of_the_runtime_alone_are_held_against_themselves_and_noted(
    tmp_path: Path,
) -> None:
    model = changed()
    model.graph.node[1].CopyFrom(
        helper.make_node("QuickGelu", ["c"], ["r"], "gelu", domain="com.microsoft", alpha=1.0)
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    report = export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path))
    assert report.parity[0].against.endswith(", node by node")
    assert any("does not know all of its operators" in note for note in report.notes)


def test_operators_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    model = changed()
    model.graph.node[1].domain = "nowhere"
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    with pytest.raises(BundleError, match="cannot run the graph") as caught:
        export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path))
    assert caught.value.rule == "graph"


class TestActivation:
    """What the graph ends in and what is still to be applied must not be said twice, or not."""

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_probabilities_take_no_activation(self, tmp_path: Path, activation: str) -> None:
        outputs = [{**SPEC["outputs"][0], "activation": activation}]
        source = put(tmp_path, tiny_graph(probabilities=True))
        with pytest.raises(UsageError, match=r'Softmax.*activation = "none"') as caught:
            export(tmp_path, source, spec=spec_8(tmp_path, outputs=outputs))
        assert caught.value.rule == "activation"

    def test_a_softmax_made_of_other_operators_is_found_by_its_answers(
        self, tmp_path: Path
    ) -> None:
        model = changed()
        model.graph.node[-1].output[0] = "logits"
        axes = numpy_helper.from_array(np.array([1]), "axes")
        model.graph.initializer.append(axes)
        model.graph.node.extend(
            [
                helper.make_node("Exp", ["logits"], ["e"], "exp"),
                helper.make_node("ReduceSum", ["e", "axes"], ["s"], "sum", keepdims=1),
                helper.make_node("Div", ["e", "s"], ["scores"], "div"),
            ]
        )
        with pytest.raises(UsageError, match="already ends in probabilities"):
            export(tmp_path, put(tmp_path, model), spec=spec_8(tmp_path))

    def test_with_none_they_are_accepted(self, tmp_path: Path) -> None:
        outputs = [{**SPEC["outputs"][0], "activation": "none"}]
        source = put(tmp_path, tiny_graph(probabilities=True))
        report = export(tmp_path, source, spec=spec_8(tmp_path, outputs=outputs))
        golden = open_bundle(report.path).golden().outputs["scores"]
        np.testing.assert_allclose(golden.sum(axis=1), 1, atol=1e-6)

    def test_logits_are_no_probabilities(self, tmp_path: Path) -> None:
        outputs = [{**SPEC["outputs"][0], "activation": "none"}]
        source = put(tmp_path, tiny_graph())
        with pytest.raises(UsageError, match=r'its values go from .*Write "softmax"') as caught:
            export(tmp_path, source, spec=spec_8(tmp_path, outputs=outputs))
        assert caught.value.rule == "activation"


class TestPlace:
    """Where the bundle goes is asked before anything is loaded."""

    def test_a_name_without_the_suffix_is_refused(self, tmp_path: Path) -> None:
        from medge.exporters.export import ExportRequest, export_bundle

        with pytest.raises(UsageError, match=r"ends in \.medge"):
            export_bundle(ExportRequest(source="nothing.onnx", out=tmp_path / "x"))

    def test_an_existing_bundle_is_kept_unless_told(self, tmp_path: Path) -> None:
        source, spec = put(tmp_path, tiny_graph()), spec_8(tmp_path)
        first = export(tmp_path, source, spec=spec)
        with pytest.raises(StorageError, match="exists"):
            export(tmp_path, "nothing.onnx", spec=spec)
        second = put(tmp_path, tiny_graph(seed=5), "other.onnx")
        assert export(tmp_path, second, spec=spec, overwrite=True).digest != first.digest

    def test_a_refused_export_leaves_nothing(self, tmp_path: Path) -> None:
        source = put(tmp_path, tiny_graph(classes=3))
        before = set(tmp_path.iterdir()) | {tmp_path / "spec.toml"}
        with pytest.raises(UsageError):
            export(tmp_path, source, spec=spec_8(tmp_path))
        assert set(tmp_path.iterdir()) == before


def test_an_onnx_file_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from medge.exporters.export import ExportRequest, export_bundle\n"
        "source, out, spec = sys.argv[1:]\n"
        "export_bundle(ExportRequest(source=source, out=Path(out), spec=Path(spec)))\n"
        "print(*sorted({'torch', 'onnxscript', 'timm', 'pydicom'} & set(sys.modules)))"
    )
    paths = [put(tmp_path, tiny_graph()), str(tmp_path / "x.medge"), str(spec_8(tmp_path))]
    done = subprocess.run(  # our own command
        [sys.executable, "-I", "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


def test_steps_are_told_and_timed(tmp_path: Path) -> None:
    from medge.exporters.export import ExportRequest, export_bundle

    told: list[str] = []
    request = ExportRequest(
        source=put(tmp_path, tiny_graph()), out=tmp_path / "x.medge", spec=spec_8(tmp_path)
    )
    report = export_bundle(request, told.append)
    assert told == list(report.time_ns)
    assert min(report.time_ns.values()) > 0
    assert set(report.files_bytes) == {"model.onnx", "golden.npz", "layers.json"}
