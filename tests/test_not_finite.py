"""NaN and Inf: wherever a graph or a picture holds one, there is no answer."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from bundles import tiny_bundle
from hostile.not_finite import (
    candidate_outcome,
    not_finite_graphs,
    not_finite_pictures,
    not_finite_scales,
    pixels_outcome,
    weights_outcome,
)

from medge.engine.classify import open_classifier

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]
NAN = [(name, graph) for name, graph in not_finite_graphs() if name.endswith(": NaN")]


@pytest.mark.parametrize(("name", "graph"), NAN, ids=[name for name, _ in NAN])
def test_a_weight_that_is_no_number_is_refused_in_a_bundle_and_before_it_is_in_one(
    tmp_path: Path, name: str, graph: bytes
) -> None:
    assert weights_outcome(graph, "onnxruntime", tmp_path) == "weights-not-finite"
    (tmp_path / "next").mkdir()
    assert candidate_outcome(graph, "onnxruntime", tmp_path / "next") == "weights-not-finite"


@pytest.mark.parametrize("backend", RUNTIMES)
def test_infinite_weights_and_scales_never_answer(tmp_path: Path, backend: str) -> None:
    graphs = [*not_finite_graphs(), *not_finite_scales()]
    rules = set()
    for number, (name, graph) in enumerate(graphs):
        if name.endswith(": Inf"):
            place = tmp_path / str(number)
            place.mkdir()
            found = weights_outcome(graph, backend, place)
            assert found != "answered", name
            rules.add(found)
    assert rules >= {"weights-not-finite", "self-test"}


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_picture_with_a_number_that_is_none_never_gets_an_answer(
    tmp_path: Path, backend: str
) -> None:
    count = 0
    with open_classifier(tiny_bundle(tmp_path), backend=backend, threads=1) as classifier:
        for name, picture in not_finite_pictures(tmp_path):
            assert pixels_outcome(classifier, picture) != "answered", name
            count += 1
    assert count == 60
