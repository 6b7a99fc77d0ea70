"""Quantizing gives a new bundle: fp32 untouched, narrower variants with proofs and verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from bundles import forge, tiny_bundle, tiny_graph
from command_line import Typed
from onnx.reference import ReferenceEvaluator
from quantize_kit import judged, pictures, refused

from medge.engine.bundle import open_bundle
from medge.engine.evidence import Drift
from medge.engine.manifest import Manifest
from medge.engine.passport import read_passport
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.errors import BundleError, StorageError, UsageError
from medge.exporters.calibrate import read_calibration_set
from medge.exporters.int8_rules import violations
from medge.exporters.layer_count import count_narrow
from medge.exporters.plain_session import defined_outputs
from medge.exporters.quantize import (
    QuantizeReport,
    QuantizeRequest,
    check_request,
    quantize_bundle,
)

ALL = ("fp16", "int8", "int8-cpu")


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    return pictures(tmp_path / "calibration", 12)


def quantized(
    source: Path, calibration: Path, out: Path, *, precisions: Sequence[str] = ALL, **more: object
) -> QuantizeReport:
    with open_bundle(source) as bundle:
        chosen = read_calibration_set(calibration, bundle.manifest)
        judge = more.pop("judge", None)
        stopwatch = more.pop("stopwatch", None)
        request = QuantizeRequest(out=out, precisions=tuple(precisions), **more)  # type: ignore[arg-type]
        return quantize_bundle(bundle, chosen, request, judge=judge, stopwatch=stopwatch)  # type: ignore[arg-type]


def test_fp32_is_kept_byte_for_byte_and_the_parent_is_named(
    tmp_path: Path, calibration: Path
) -> None:
    source = tiny_bundle(tmp_path)
    out = tmp_path / "new.medge"
    quantized(source, calibration, out)
    with open_bundle(source) as old, open_bundle(out) as new:
        assert new.read("model.onnx") == old.read("model.onnx")
        assert new.read("layers.json") == old.read("layers.json")
        assert new.manifest.parent_sha256 == old.digest
        assert new.manifest.version == old.manifest.version
        chosen = read_calibration_set(calibration, old.manifest)
        assert new.manifest.calibration_sha256 == chosen.sha256
        assert [variant.name for variant in new.manifest.variants] == ["fp32", *ALL]
        for variant in new.manifest.variants[1:]:
            assert "calibrated on 12 pictures" in (variant.method or "")
            assert (variant.narrow_layers, variant.compute_layers) == (2, 2)


@pytest.mark.parametrize("precision", ALL)
def test_golden_outputs_of_a_variant_are_those_of_onnxs_own_reference(
    tmp_path: Path, calibration: Path, precision: str
) -> None:
    """What ONNX Runtime computes node by node, ONNX's reference evaluator computes too."""
    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out, precisions=[precision])
    with open_bundle(out) as bundle:
        golden = bundle.golden()
        graph = onnx.load_from_string(bundle.read(f"variants/{precision}.onnx"))
        graph.opset_import[0].version = 19  # the evaluator's first with Q/DQ; they mean the same
        rows = [
            ReferenceEvaluator(graph).run(["scores"], {"image": case[None]})[0]
            for case in golden.inputs["image"]
        ]
        found = golden.variants[precision]["scores"]
        # One step of the last layer's integers: a tie may fall to either side.
        assert np.abs(np.concatenate(rows) - found).max() < 0.02 * np.abs(found).max()
        assert np.abs(found - golden.outputs["scores"]).max() > 0  # not fp32 by another name


@pytest.mark.parametrize("precision", ALL)
def test_every_variant_proves_itself_where_it_is_opened(
    tmp_path: Path, calibration: Path, precision: str
) -> None:
    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out, precisions=[precision])
    with open_bundle(out) as bundle:
        variant = bundle.manifest.variant(precision)
        assert variant is not None
        assert variant.golden_tolerance is not None
        golden = bundle.golden()
        expected = golden.variants[precision]["scores"]
        for backend in ("onnxruntime", "openvino"):
            pytest.importorskip(backend)
            with Session(bundle, choose(bundle, backend, precision="fp32")) as reference:
                assert self_test(reference, bundle).cases == golden.cases
            model = bundle.read(f"variants/{precision}.onnx")
            with Session(bundle, choose(bundle, backend, precision="fp32"), model) as session:
                found = [
                    session.infer({"image": case[None]})["scores"].copy()
                    for case in golden.inputs["image"]
                ]
            gap = np.abs(np.concatenate(found) - expected).max()
            assert gap <= variant.golden_tolerance


def test_a_judge_sees_every_graph_and_its_word_is_in_the_manifest(
    tmp_path: Path, calibration: Path
) -> None:
    flips = {"fp16": 0, "int8": 3, "int8-cpu": 40}
    seen = []

    def judge(precision: str, graph: bytes) -> list[Drift]:
        seen.append((precision, graph))
        return [judged(precision, flips[precision])]

    out = tmp_path / "new.medge"
    report = quantized(tiny_bundle(tmp_path), calibration, out, judge=judge)
    with open_bundle(out) as bundle:
        for precision, flipped in flips.items():
            variant = bundle.manifest.variant(precision)
            assert variant is not None
            known = [graph for name, graph in seen if name == precision]
            assert bundle.read(variant.file) in known
            assert variant.drift == judged(precision, flipped)
    verdicts = {made.variant.name: made.judged[0].verdict for made in report.made}
    assert verdicts == {"fp16": "pass", "int8": "pass", "int8-cpu": "fail"}


def test_another_placement_is_tried_where_the_first_loses_decisions(
    tmp_path: Path, calibration: Path
) -> None:
    seen = []

    def judge(precision: str, graph: bytes) -> list[Drift]:
        seen.append(graph)
        return [judged(precision, 40 if len(seen) == 1 else 0)]

    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out, precisions=["int8-cpu"], judge=judge)
    assert len(seen) == 2
    with open_bundle(out) as bundle:
        assert bundle.read("variants/int8-cpu.onnx") == seen[1]
        variant = bundle.manifest.variant("int8-cpu")
        assert variant is not None
        assert variant.drift == judged("int8-cpu", 0)


def test_the_fastest_placement_is_tried_first(tmp_path: Path, calibration: Path) -> None:
    timed = []

    def stopwatch(graphs: Sequence[bytes]) -> list[float]:
        timed.extend(graphs)
        return [1.0, *(0.5 for _ in graphs[1:])]

    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out, precisions=["int8-cpu"], stopwatch=stopwatch)
    with open_bundle(out) as bundle:
        assert bundle.read("variants/int8-cpu.onnx") == timed[1]


def test_a_placement_that_the_runtime_refuses_is_named_and_not_tried_first(
    tmp_path: Path, calibration: Path
) -> None:
    timed = []

    def stopwatch(graphs: Sequence[bytes]) -> list[float]:
        timed.extend(graphs)
        return [math.inf, *(0.5 for _ in graphs[1:])]

    out = tmp_path / "new.medge"
    report = quantized(
        tiny_bundle(tmp_path), calibration, out, precisions=["int8-cpu"], stopwatch=stopwatch
    )
    with open_bundle(out) as bundle:
        assert bundle.read("variants/int8-cpu.onnx") == timed[1]
    told = [note for note in report.notes if "refuses the graph" in note]
    assert len(told) == 1
    assert told[0].startswith("int8-cpu, ")


def test_mixed_precision_is_searched_where_full_int8_loses_and_goes_on_when_run_again(
    tmp_path: Path, calibration: Path
) -> None:
    asked = []

    def judge(precision: str, graph: bytes) -> list[Drift]:
        asked.append(precision)
        narrow, layers = count_narrow(onnx.load_from_string(graph))
        return [judged(precision, 60 if narrow == layers else 0)]

    for name in ("a", "b"):
        out = tmp_path / f"{name}.medge"
        report = quantized(
            tiny_bundle(tmp_path, name=f"source-{name}"),
            calibration,
            out,
            precisions=["int8", "mixed"],
            judge=judge,
        )
        found = {made.variant.name: made for made in report.made}
        assert list(found) == ["int8", "int8-cpu", "mixed", "mixed-cpu"]
        for mixed in ("mixed", "mixed-cpu"):
            assert found[mixed].variant.narrow_layers == 1
            assert "layers in fp32: 1" in (found[mixed].variant.method or "")
            assert found[mixed].judged[0].verdict == "pass"
        with open_bundle(out) as bundle:
            graph = onnx.load_from_string(bundle.read("variants/mixed.onnx"))
            assert violations(graph) == ()
    # The second bundle is the same as the first, so that nothing was asked again.
    assert asked.count("mixed") == 1


@pytest.mark.parametrize(
    ("flips", "cases", "said"),
    [
        (0, 100, "The pictures are too few to show that int8 keep"),
        (60, 1000, "No INT8 variant keeps the decisions: bf16 or fp16 is best"),
        (0, 1000, "int8 takes 2.00 times as long as fp32 here: bf16 or fp16 is best"),
    ],
)
def test_where_int8_is_no_gain_the_report_says_what_is(
    tmp_path: Path, calibration: Path, flips: int, cases: int, said: str
) -> None:
    report = quantized(
        tiny_bundle(tmp_path),
        calibration,
        tmp_path / "new.medge",
        precisions=["int8"],
        judge=lambda precision, _: [judged(precision, flips, cases)],
        stopwatch=lambda graphs: [1.0, 2.0][: len(graphs)],
    )
    (advice,) = report.advice
    assert advice.startswith(said)


def test_without_a_judge_nothing_claims_a_verdict(tmp_path: Path, calibration: Path) -> None:
    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out)
    with open_bundle(out) as bundle:
        assert all(variant.drift is None for variant in bundle.manifest.variants)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"precisions": ["int4"]}, "precisions"),
        ({"precisions": []}, "precisions"),
        ({"method": "guess"}, "quantize-method"),
    ],
)
def test_requests_that_make_no_sense_are_refused_before_any_work(
    tmp_path: Path, calibration: Path, options: dict[str, object], rule: str
) -> None:
    with refused(UsageError, rule):
        quantized(tiny_bundle(tmp_path), calibration, tmp_path / "new.medge", **options)  # type: ignore[arg-type]


def test_without_onnx_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", lambda **_: iter(()))
    with refused(UsageError, "export-packages"):
        check_request(QuantizeRequest(out=tmp_path / "new.medge"))


def test_what_is_there_is_replaced_only_when_told(tmp_path: Path, calibration: Path) -> None:
    source = tiny_bundle(tmp_path)
    with refused(StorageError, "exists"):
        quantized(source, calibration, source)
    quantized(source, calibration, source, precisions=["int8"], overwrite=True)
    with open_bundle(source) as bundle:
        assert bundle.manifest.variant("int8") is not None


def test_old_opsets_are_refused(tmp_path: Path, calibration: Path) -> None:
    model = onnx.load_from_string(tiny_graph())
    model.opset_import[0].version = 12
    source = tiny_bundle(tmp_path, graph=model.SerializeToString())
    with refused(BundleError, "variant-opset"):
        quantized(source, calibration, tmp_path / "new.medge")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, calibration: Path) -> None:
    source = tiny_bundle(tmp_path)
    weights = {"conv.w": np.full((4, 1, 3, 3), np.nan, "f4")}
    forge(source, "model.onnx", tiny_graph(weights=weights))
    with refused(BundleError, "weights-not-finite"):
        quantized(source, calibration, tmp_path / "new.medge")


def test_no_tolerance_is_so_wide_that_anything_passes(
    tmp_path: Path, calibration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that computes something else is no reason to allow it."""

    def far_off(graph: bytes, inputs: Sequence[np.ndarray], manifest: Manifest) -> object:
        found = defined_outputs(graph, inputs, manifest)
        yield "runtime", {name: 3 * array for name, array in found.items()}

    monkeypatch.setattr("medge.exporters.variant_golden.runtime_outputs", far_off)
    out = tmp_path / "new.medge"
    quantized(tiny_bundle(tmp_path), calibration, out, precisions=["int8"])
    with open_bundle(out) as bundle:
        variant = bundle.manifest.variant("int8")
        assert variant is not None
        assert variant.golden_tolerance is not None
        largest = np.abs(bundle.golden().variants["int8"]["scores"]).max()
        assert variant.golden_tolerance == pytest.approx(0.2 * largest, rel=0.05)


def test_equal_pictures_give_equal_bundles(tmp_path: Path, calibration: Path) -> None:
    source = tiny_bundle(tmp_path)
    digests = {
        quantized(source, calibration, tmp_path / f"{name}.medge").digest for name in ("a", "b")
    }
    assert len(digests) == 1


def labelled(folder: Path, count: int) -> tuple[Path, Path]:
    """Pictures to judge on, and what is to be seen on them."""
    data = pictures(folder / "judge", count, seed=7)
    names = sorted(path.name for path in data.iterdir())
    rows = [f"{name},{('benign', 'malignant')[i % 2]}" for i, name in enumerate(names)]
    labels = folder / "judge.csv"
    labels.write_text("\n".join(["file,scores", *rows]), encoding="utf-8")
    return data, labels


def test_the_verb_writes_judges_and_stamps(tmp_path: Path, calibration: Path, typed: Typed) -> None:
    source = tiny_bundle(tmp_path)
    out = tmp_path / "new.medge"
    data, labels = labelled(tmp_path, 40)
    copied = data / "also-calibrates.png"
    copied.write_bytes(next(calibration.iterdir()).read_bytes())
    labels.write_text(labels.read_text() + f"\n{copied.name},benign", encoding="utf-8")
    said = typed(
        *("quantize", str(source), "--calib", str(calibration), "-o", str(out)),
        *("--data", str(data), "--labels", str(labels), "--max-flip", "0.9"),
        *("--precisions", "int8-cpu", "--json"),
    )
    assert said.code == 0
    found = json.loads(said.out)
    assert found["calibration"]["pictures"] == 12
    assert found["calibration"]["not_judging"] == 1
    (variant,) = found["variants"]
    assert variant["drift"]["cases"] == 40
    assert variant["drift"]["labelled"] is True
    assert variant["judged"]
    with open_bundle(out) as bundle:
        stored = bundle.manifest.variant("int8-cpu")
        assert stored is not None
        assert stored.drift == msgspec.convert(variant["drift"], Drift)
        passport = read_passport(bundle.digest)
        assert len(passport.entries) == len(variant["judged"])


def test_the_verb_says_not_judged_without_pictures_to_judge_on(
    tmp_path: Path, calibration: Path, typed: Typed
) -> None:
    source = tiny_bundle(tmp_path)
    said = typed(
        *("quantize", str(source), "--calib", str(calibration)),
        *("-o", str(tmp_path / "new.medge"), "--precisions", "fp16,int8", "--method", "minmax"),
    )
    assert said.code == 0
    assert "not judged: add --data and --labels" in " ".join(said.out.split())
    told = typed(
        *("quantize", str(source), "--calib", str(calibration), "-o", str(tmp_path / "x.medge")),
        *("--time-budget", "soon"),
    )
    assert told.code == 2
    assert "10m" in told.err
