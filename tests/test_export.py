"""An export is a bundle that answers as the network it came from, on every runtime here."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_kit import export, save, write_spec
from export_networks import Shrinking, Tiny, Twofold, trained

from medge.bench.drift import UNTRAINED
from medge.engine.bundle import open_bundle
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.errors import UsageError
from medge.exporters.network import Origin
from medge.exporters.sources import load, parse_source
from medge.exporters.spec import read_spec
from medge.exporters.torch_network import TorchNetwork


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
    assert UNTRAINED in manifest.source.architecture  # so that drift gives no verdict
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


class Halves(Tiny):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image).half()


class Named(Tiny):
    def forward(self, image: torch.Tensor) -> Any:
        return {"scores": super().forward(image), "names": "benign"}


class Speaking(Tiny):
    def forward(self, image: torch.Tensor) -> Any:
        return f"benign: {super().forward(image)}"


TWO = [{"name": n, "classes": ["a", "b"]} for n in ("scores", "names")]


@pytest.mark.parametrize(
    ("network", "changes", "rule", "said"),
    [
        (Tiny(classes=3), {}, "network-output", "is 2x3 for a batch of 2, expected 2x2: the spec"),
        (Tiny(channels=3), {}, "network-input", "fails on a batch of 2x1x16x16 float32"),
        (Halves(), {}, "network-output", "is float16, expected float32"),
        (Speaking(), {}, "network-output", "returns str, expected a tensor"),
        (Named(), {}, "network-output", "has 2 outputs, the specification has 1"),
        (Named(), {"outputs": TWO}, "network-output", "Output names is str, expected a tensor"),
    ],
)
def test_what_a_network_takes_and_returns_must_be_what_is_specified(
    tmp_path: Path, network: torch.nn.Module, changes: dict[str, Any], rule: str, said: str
) -> None:
    spec = read_spec(write_spec(tmp_path, **changes))
    with pytest.raises(UsageError, match=said) as caught:
        TorchNetwork(network.eval(), Origin("torch", "0", "x", None), []).to_onnx(spec, None)
    assert caught.value.rule == rule


@pytest.mark.parametrize("opset", [17, 7])
def test_opsets_that_torch_cannot_write_are_refused(tmp_path: Path, opset: int) -> None:
    spec = read_spec(write_spec(tmp_path))
    network = TorchNetwork(Tiny().eval(), Origin("torch", "0", "x", None), [])
    with pytest.raises(UsageError, match=f"writes opset 18 or newer, {opset} was asked") as caught:
        network.to_onnx(spec, opset)
    assert caught.value.rule == "opset"


def test_a_newer_opset_is_written_when_asked_for(tmp_path: Path) -> None:
    weights = save(trained(Tiny()), tmp_path)
    report = export(tmp_path, "export_networks:Tiny", weights=weights, opset=21)
    assert (report.opset, report.manifest.variants[0].opset) == (21, 21)


@pytest.mark.parametrize(
    ("source", "absent", "named"),
    [
        ("net.onnx", {"onnx"}, "onnx,"),
        ("net.pt2", {"torch", "onnxscript"}, "torch, onnxscript,"),
        ("timm:resnet18", {"timm"}, "timm,"),
    ],
)
def test_missing_packages_are_named_with_the_way_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, absent: set[str], named: str
) -> None:
    whole = metadata.distributions
    monkeypatch.setattr(
        metadata, "distributions", lambda name: [] if name in absent else whole(name=name)
    )
    seed = 0 if source.startswith("timm") else None
    with pytest.raises(UsageError, match=rf"needs {named} not installed here.*medge\[export\]"):
        load(parse_source(source), read_spec(write_spec(tmp_path)), None, seed)
