"""Graphs of fewer bits: legal where they must be, near fp32, wide where they were told to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import tiny_graph, tiny_manifest
from onnx import TensorProto, helper, numpy_helper
from quantize_kit import pictures

from medge.exporters.calibrate import observe, read_calibration_set
from medge.exporters.int8_rules import violations
from medge.exporters.layer_count import count_narrow
from medge.exporters.plain_session import defined_outputs
from medge.exporters.precision import RECIPES, Precisions


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    return pictures(tmp_path / "calibration", 12)


def residual_graph() -> onnx.ModelProto:
    """Two convolutions with BatchNorm and ReLU around a sum, a pool, a join, a linear head."""
    random = np.random.default_rng(5)
    node = helper.make_node
    constants: dict[str, np.ndarray] = {
        "w1": random.normal(size=(4, 1, 3, 3)).astype("f4"),
        "w2": random.normal(size=(4, 4, 3, 3)).astype("f4") / 4,
        "w3": random.normal(size=(4, 8, 1, 1)).astype("f4") / 4,
        "head": random.normal(size=(4, 2)).astype("f4"),
    }
    for name in ("n1", "n2"):
        constants |= {f"{name}.{p}": random.uniform(0.5, 1.5, 4).astype("f4") for p in "gbmv"}
    norm = lambda name, read, made: node(
        "BatchNormalization", [read, *(f"{name}.{p}" for p in "gbmv")], [made], name
    )
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        norm("n1", "c1", "b1"),
        node("Relu", ["b1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        norm("n2", "c2", "b2"),
        node("Add", ["b2", "r1"], ["s"], "sum"),
        node("Relu", ["s"], ["r2"], "relu2"),
        node("Concat", ["r1", "r2"], ["j"], "join", axis=1),
        node("MaxPool", ["j"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w3"], ["c3"], "conv3"),
        node("Relu", ["c3"], ["r3"], "relu3"),
        node("GlobalAveragePool", ["r3"], ["g"], "mean"),
        node("Flatten", ["g"], ["f"], "flat"),
        node("Gemm", ["f", "head"], ["scores"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def learnt(graph: bytes, folder: Path) -> Precisions:
    precisions = Precisions(graph)
    chosen = read_calibration_set(folder, tiny_manifest())
    precisions.learn(observe(precisions.model, precisions.watch(extremes=True), chosen))
    return precisions


def test_int8_is_legal_for_tensorrt_and_int8_cpu_is_not(calibration: Path) -> None:
    precisions = learnt(residual_graph().SerializeToString(), calibration)
    (sparse,) = RECIPES["int8"]
    legal = precisions.integer("int8", sparse, "minmax")
    assert violations(onnx.load_from_string(legal.graph)) == ()
    assert (legal.narrow_layers, legal.compute_layers) == (4, 4)
    for recipe in RECIPES["int8-cpu"]:
        other = precisions.integer("int8-cpu", recipe, "minmax")
        assert {v.rule for v in violations(onnx.load_from_string(other.graph))} >= {"type"}


def test_batchnorm_is_in_the_convolution_and_one_branch_of_the_sum_is_quantised(
    calibration: Path,
) -> None:
    precisions = learnt(residual_graph().SerializeToString(), calibration)
    (sparse,) = RECIPES["int8"]
    model = onnx.load_from_string(precisions.integer("int8", sparse, "minmax").graph)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    (add,) = (node for node in model.graph.node if node.op_type == "Add")
    assert sorted(makers[name] for name in add.input) == ["Conv", "DequantizeLinear"]
    # image, r1 (read by conv2 and the sum through one pair), pool, flat: four pairs.
    assert kinds.count("QuantizeLinear") == 4


def test_layers_kept_wide_have_plain_weights_and_the_others_stay_narrow(calibration: Path) -> None:
    precisions = learnt(residual_graph().SerializeToString(), calibration)
    layers = precisions.view.weighted_nodes()
    for recipe in (*RECIPES["int8"], *RECIPES["int8-cpu"]):
        made = precisions.partly("mixed", recipe, "minmax", frozenset(layers[:2]))
        assert count_narrow(onnx.load_from_string(made.graph)) == (2, 4)
        assert made.wide == frozenset(layers[:2])


@pytest.mark.parametrize("name", ["int8", "int8-cpu"])
def test_quantised_outputs_are_near_those_of_fp32(calibration: Path, name: str) -> None:
    precisions = learnt(residual_graph().SerializeToString(), calibration)
    chosen = list(read_calibration_set(calibration, tiny_manifest()))
    plain = defined_outputs(residual_graph().SerializeToString(), chosen, tiny_manifest())
    for recipe in RECIPES[name]:
        graph = precisions.integer(name, recipe, "minmax").graph
        found = defined_outputs(graph, chosen, tiny_manifest())
        error = np.abs(found["scores"] - plain["scores"]).max()
        assert 0 < error < 0.05 * np.abs(plain["scores"]).max()


def test_fp16_keeps_inputs_outputs_and_large_values_in_fp32(calibration: Path) -> None:
    """A layer that multiplies by a thousand meets values beyond 512 and stays as it is."""
    weights = {"head.w": np.full((4, 2), 1000.0, "f4")}
    precisions = learnt(tiny_graph(weights=weights), calibration)
    model = onnx.load_from_string(precisions.half().graph)
    assert count_narrow(model) == (1, 2)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert types["head.w"] == TensorProto.FLOAT
    assert types["conv.w.half"] == TensorProto.FLOAT16
