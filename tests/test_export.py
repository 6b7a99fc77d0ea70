"""An export is a bundle that answers as the network it came from, on every runtime here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from export_kit import export, save, write_spec
from export_networks import Shrinking, Tiny, Twofold, trained

from medge.engine.bundle import open_bundle
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_bundle_of_a_callable_answers_as_its_network(tmp_path: Path, backend: str) -> None:
    network = trained(Tiny())
    report = export(tmp_path, "export_networks:Tiny", weights=save(network, tmp_path))
    bundle = open_bundle(report.path)
    picture = np.random.default_rng(1).normal(size=(3, 1, 16, 16)).astype("f4")
    with Session(bundle, choose(bundle, backend=backend)) as session:
        assert self_test(session, bundle).cases >= 4
        found = session.infer({"image": picture})["scores"]
    with torch.no_grad():
        expected = network(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_outputs_are_taken_by_name_where_the_network_names_them(tmp_path: Path) -> None:
    network = trained(Twofold())
    outputs = [
        {"name": "lesion", "classes": ["no", "yes"]},
        {
            "name": "findings",
            "classes": ["a", "b", "c"],
            "task": "multi-label",
            "activation": "sigmoid",
        },
    ]
    spec = write_spec(tmp_path, outputs=outputs)
    report = export(tmp_path, "export_networks:Twofold", weights=save(network, tmp_path), spec=spec)
    assert report.manifest.task == "multi-task"
    golden = open_bundle(report.path).golden()
    with torch.no_grad():
        expected = network(torch.from_numpy(golden.inputs["image"].copy()))
    for name in ("lesion", "findings"):
        np.testing.assert_allclose(golden.outputs[name], expected[name].numpy(), atol=1e-5)


def test_an_untrained_network_says_so_and_answers_in_an_ordinary_size(tmp_path: Path) -> None:
    report = export(tmp_path, "export_networks:Shrinking", random_weights=3)
    manifest = report.manifest
    assert manifest.demonstration
    assert manifest.source.weights_sha256 is None
    assert "untrained, random weights of seed 3" in manifest.source.architecture
    assert any("mean nothing" in limit for limit in manifest.limits)
    untouched = Shrinking().eval()
    with torch.no_grad():
        scores = untouched(torch.randn(8, 1, 16, 16))
    assert float(scores.std(0).max()) < 1e-5, "too easy to prove anything"
    golden = open_bundle(report.path).golden().outputs["scores"]
    assert 0.01 < float(golden.std(0).max()) < 100


def test_weights_are_told_apart_by_their_digest(tmp_path: Path) -> None:
    weights = save(trained(Tiny()), tmp_path)
    report = export(tmp_path, "export_networks:Tiny", weights=weights, overwrite=True)
    source = report.manifest.source
    assert source.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (source.framework, source.architecture) == ("torch", "export_networks:Tiny")
    assert not report.manifest.demonstration
