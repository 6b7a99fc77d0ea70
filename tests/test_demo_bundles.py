"""The bundles that medge ships are whole, small, honest about themselves, and answer here."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from accuracy import area_under_curve
from demo_model import SOURCE, as_training_set
from kernel_training import fit

import medge
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.manifest import Manifest
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.exporters.spec import read_spec
from medge.profiles.layers import decode_layers

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
SHIPPED = {
    "breast-ultrasound": ("breast_ultrasound", "malignant", ("US",), ("BREAST",), 0.88),
    "chest-x-ray": ("chest_xray", "pneumonia", ("CR", "DX"), ("CHEST",), 0.97),
}
BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed here"),
    )
    for name in ("onnxruntime", "openvino")
]

each_bundle = pytest.mark.parametrize("name", SHIPPED)


def manifest_of(name: str) -> Manifest:
    with open_bundle(find_bundle(name)) as bundle:
        return bundle.manifest


@each_bundle
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shipped_bundle_passes_its_self_test(name: str, backend: str) -> None:
    with open_bundle(find_bundle(name)) as bundle:
        choice = choose(bundle, backend=backend, precision="fp32", threads=1)
        with Session(bundle, choice) as session:
            tested = self_test(session, bundle)
    assert tested.cases >= 4
    assert tested.max_abs <= tested.tolerance


@each_bundle
def test_its_golden_cases_show_both_decisions(name: str) -> None:
    with open_bundle(find_bundle(name)) as bundle:
        scores, output = bundle.golden().outputs["scores"], bundle.manifest.outputs[0]
    raised = np.exp(scores / output.temperature)
    chances = raised / raised.sum(1, keepdims=True)
    place = output.classes.index(output.thresholds[0].label)
    assert len(np.unique(chances[:, place] >= output.thresholds[0].value)) == 2


@each_bundle
def test_it_is_small_enough_to_ship(name: str) -> None:
    files = [file for file in find_bundle(name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 6_000_000


@each_bundle
def test_it_says_that_it_is_a_demonstration_and_what_it_may_be_run_on(name: str) -> None:
    _, disease, modality, body_part, _ = SHIPPED[name]
    manifest = manifest_of(name)
    assert manifest.demonstration
    assert "not for clinical use" in manifest.intended_use.lower()
    assert (manifest.scope.modality, manifest.scope.body_part) == (modality, body_part)
    assert [each.label for each in manifest.outputs[0].thresholds] == [disease]
    assert len(manifest.limits) >= 3
    assert all(data.licence == "CC BY 4.0" and data.citation for data in manifest.data)


@each_bundle
def test_its_figures_reach_what_was_asked_and_carry_interval_and_method(name: str) -> None:
    _, disease, _, _, wanted = SHIPPED[name]
    metrics = {metric.name: metric for metric in manifest_of(name).metrics}
    assert metrics[f"AUC for {disease}"].value >= wanted
    for metric in metrics.values():
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= metric.value <= metric.high
        assert "interval" in metric.method


@each_bundle
def test_its_card_states_the_figures_of_the_bundle(name: str) -> None:
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text("utf-8")
    manifest = manifest_of(name)
    for metric in manifest.metrics:
        row = f"| {metric.name} | {metric.value:.3f} | {metric.low:.3f} to {metric.high:.3f} |"
        assert row in card
    for data in manifest.data:
        assert data.citation in re.sub(r"\s+", " ", card)
    assert f"{manifest.outputs[0].thresholds[0].value:g}" in card


@each_bundle
def test_it_was_built_from_the_committed_recipe(name: str) -> None:
    demo = __import__(SHIPPED[name][0]).DEMO
    said = read_spec(ROOT / "examples" / f"{name}.toml")
    manifest = manifest_of(name)
    for field in ("name", "version", "intended_use", "limits", "scope", "data", "licence"):
        assert getattr(manifest, field) == getattr(said, field)
    assert manifest.inputs == (said.input,)
    assert manifest.outputs[0].classes == said.outputs[0].classes
    assert manifest.source.architecture == SOURCE
    with open_bundle(find_bundle(name)) as bundle:
        (projected, centres) = [
            layer.output_shapes[0][1]
            for layer in decode_layers(bundle.read("layers.json")).layers
            if layer.op == "Gemm"
        ][:2]
    assert projected == demo.recipe.components
    assert centres % (demo.recipe.views + 2 * demo.recipe.plain) == 0


@each_bundle
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not at hand")
def test_whole_pictures_run_through_medge_give_the_figure_of_the_manifest(name: str) -> None:
    script, disease = SHIPPED[name][:2]
    pictures = __import__(script).read(SHARED / "images", read_spec(ROOT / f"examples/{name}.toml"))
    kept = ~pictures.train
    with medge.open(name, backend="onnxruntime") as classifier:
        results = list(classifier.run(pictures.values[kept]))
    chances = np.array([result.answers[0].scores[disease] for result in results])
    place = manifest_of(name).outputs[0].classes.index(disease)
    figure = area_under_curve(chances, pictures.labels[kept] == place)
    metrics = {metric.name: metric for metric in manifest_of(name).metrics}
    # Float32 at run time may order two nearly equal cases another way.
    assert figure.value == pytest.approx(
        metrics[f"AUC for {disease}, validation split"].value, abs=1e-3
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not at hand")
def test_training_again_gives_the_shipped_weights() -> None:
    # The smaller of the two: fitting 4,708 pictures takes too long for every test run.
    name = "breast-ultrasound"
    demo = __import__(SHIPPED[name][0]).DEMO
    spec = read_spec(ROOT / "examples" / f"{name}.toml")
    pictures = demo.read(SHARED / "images", spec)
    machine = fit(demo.recipe, as_training_set(pictures, spec).part(pictures.train))
    with open_bundle(find_bundle(name)) as bundle:
        golden = bundle.golden()
    with torch.inference_mode():
        answers = machine(torch.from_numpy(golden.inputs["image"].copy())).numpy()
    np.testing.assert_allclose(answers, golden.outputs["scores"], atol=2e-3)
