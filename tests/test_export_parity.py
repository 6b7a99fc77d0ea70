"""The graph computes what the network does: measured right, refused when not, the place named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import tiny_graph
from export_kit import SPEC, export, save, write_spec
from export_networks import Branching, Mixing, Tiny, trained
from onnx import numpy_helper

from medge.errors import BundleError, GateError
from medge.exporters.network import Network, Origin
from medge.exporters.onnx_network import OnnxNetwork
from medge.exporters.parity import ask, check_parity, compare
from medge.exporters.runtime import Runtime
from medge.exporters.spec import Spec, read_spec
from medge.exporters.synthetic import as_input, golden_candidates, parity_batch
from medge.exporters.torch_network import TorchNetwork


def with_other_weight(graph: bytes, name: str, shift: float) -> bytes:
    """Add ``shift`` to the first number of one tensor of weights."""
    model = onnx.load_from_string(graph)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += shift
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return bytes(model.SerializeToString())


def said_of(network: Network, spec: Spec, graph: bytes) -> str:
    """Return why a graph that is not the network's is refused."""
    batch = parity_batch(spec.input)
    expected = ask(network, batch)
    runtime = Runtime(graph, spec)
    with pytest.raises(GateError) as caught:
        check_parity(network, graph, runtime, batch, expected=expected, inputs="seeded")
    assert caught.value.rule == "parity"
    return caught.value.message


@dataclass(frozen=True)
class Exported:
    network: TorchNetwork
    spec: Spec
    graph: bytes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    spec = read_spec(write_spec(tmp_path_factory.mktemp("spec")))
    network = TorchNetwork(trained(Tiny()), Origin("torch", "0", "Tiny", None), [])
    return Exported(network, spec, network.to_onnx(spec, None))


@pytest.mark.parametrize(
    ("weight", "node"),
    [
        ("second.weight", r"\(Conv, layer second\): by [\d.]+ of .* after 2 that agree"),
        ("head.bias", r"\(Gemm, layer head\): by [\d.]+ of .* after 5 that agree"),
    ],
)
def test_the_first_layer_of_torch_that_differs_is_named(
    tiny: Exported, weight: str, node: str
) -> None:
    message = said_of(tiny.network, tiny.spec, with_other_weight(tiny.graph, weight, 0.5))
    assert re.search(node, message), message


def test_the_first_node_of_an_onnx_file_that_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_graph())
    small = {**SPEC["input"], "height": 8, "width": 8}
    spec = read_spec(write_spec(tmp_path, input=small))
    network = OnnxNetwork(path)
    graph = network.to_onnx(spec, None)
    message = said_of(network, spec, with_other_weight(graph, "head.w", 1.0))
    assert "first node that differs is head (Gemm): by" in message
    assert "after 4 that agree" in message


def test_a_difference_within_rounding_is_none(tiny: Exported) -> None:
    graph = with_other_weight(tiny.graph, "head.bias", 1e-6)
    batch = parity_batch(tiny.spec.input)
    expected, runtime = ask(tiny.network, batch), Runtime(graph, tiny.spec)
    row = check_parity(tiny.network, graph, runtime, batch, expected=expected, inputs="seeded")
    assert 5e-7 < row.max_abs < 5e-6


def test_differences_are_measured_as_defined() -> None:
    expected = {"a": np.array([[3.0, 4.0], [1.0, 0.0]]), "b": np.array([[10.0], [20.0]])}
    found = {"a": np.array([[3.0, 4.0], [1.0, 0.0]]), "b": np.array([[11.0], [20.0]])}
    row = compare("it", "seeded", expected, found)
    assert (row.cases, row.max_abs, row.max_rel, row.cosine_min) == (2, 1.0, 0.1, 1.0)
    turned = {**found, "a": np.array([[4.0, 3.0], [1.0, 0.0]])}
    assert compare("it", "seeded", expected, turned).cosine_min == pytest.approx(24 / 25)
    nothing = {"a": np.zeros((1, 2))}
    assert compare("it", "seeded", nothing, nothing).cosine_min == 1.0


def test_a_network_that_mixes_its_batch_is_refused(tmp_path: Path) -> None:
    weights = save(trained(Mixing()), tmp_path)
    with pytest.raises(GateError, match="differently in a batch of 3") as caught:
        export(tmp_path, "export_networks:Mixing", weights=weights)
    assert caught.value.rule == "batch"


def test_code_that_no_graph_can_say_is_refused_with_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = save(trained(Branching()), tmp_path)
    with pytest.raises(BundleError, match=r"export_networks\.py line \d+\)") as caught:
        export(tmp_path, "export_networks:Branching", weights=weights)
    assert caught.value.rule == "export-failed"
    assert "float(image" not in caught.value.message
    assert capfd.readouterr() == ("", "")


class TestPictures:
    """Synthetic pictures are in the range that the network knows, and differ."""

    def spec(self, folder: Path, **changes: Any) -> Spec:
        return read_spec(write_spec(folder, input={**SPEC["input"], **changes}))

    def test_parity_pictures_reach_black_and_white(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path).input
        batch = parity_batch(spec)
        assert batch.shape == (8, 1, 16, 16)
        low, high = (0 - 0.4) / 0.2, (1 - 0.4) / 0.2
        assert batch.min() == pytest.approx(low)
        assert batch.max() == pytest.approx(high)
        assert len({picture.tobytes() for picture in batch}) == 8

    def test_gray_in_three_channels_is_three_times_the_same(self, tmp_path: Path) -> None:
        three = {"channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
        gray = parity_batch(self.spec(tmp_path, **three).input)
        np.testing.assert_array_equal(gray[:, 0], gray[:, 2])
        colour = parity_batch(self.spec(tmp_path, colour="rgb", **three).input)
        assert not np.array_equal(colour[:, 0], colour[:, 2])

    def test_layout_and_dtype_are_followed(self, tmp_path: Path) -> None:
        spec = self.spec(
            tmp_path, layout="NHWC", dtype="uint8", mean=[], std=[], height=4, width=6
        ).input
        display = np.linspace(0, 1, 24).reshape(1, 4, 6, 1)
        found = as_input(display, spec)
        assert (found.shape, found.dtype) == ((1, 4, 6, 1), np.uint8)
        np.testing.assert_array_equal(found, np.floor(display * 255 + 0.5))

    def test_golden_candidates_are_always_the_same(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path).input
        one, other = golden_candidates(spec, 5), golden_candidates(spec, 24)
        np.testing.assert_array_equal(one, other[:5])
        assert len({picture.tobytes() for picture in other}) == 24
        assert 0 <= other.min() < other.max() <= 1
        assert len(np.unique(other)) <= 16
