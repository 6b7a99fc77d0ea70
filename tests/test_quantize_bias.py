"""Biases make up for what rounding weights does on average, and for nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.exporters.bias import corrected_bias
from medge.exporters.graph_view import GraphView


def layer(kind: str, weight: np.ndarray, bias: np.ndarray | None, **said: object) -> GraphView:
    constants = {"w": weight} | ({} if bias is None else {"b": bias})
    node = helper.make_node(kind, ["x", *constants], ["y"], "layer", **said)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return GraphView(model)


def run(view: GraphView, x: np.ndarray, **replaced: np.ndarray) -> np.ndarray:
    model = onnx.ModelProto()
    model.CopyFrom(view.model)
    if "b" in replaced and len(model.graph.node[0].input) == 2:
        model.graph.node[0].input.append("b")
    names = {t.name for t in model.graph.initializer} | set(replaced)
    kept = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | replaced
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(kept[n], n) for n in sorted(names))
    return np.asarray(ReferenceEvaluator(model).run(["y"], {"x": x})[0])


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape", "x_shape", "said"),
    [
        ("Conv", (6, 4, 3, 3), (8, 4, 9, 9), {}),
        ("Conv", (6, 1, 3, 3), (8, 6, 9, 9), {"group": 6}),
        ("Conv", (6, 2, 3, 3), (8, 4, 9, 9), {"group": 2, "strides": [2, 2]}),
        ("Gemm", (4, 6), (50, 4), {}),
        ("Gemm", (6, 4), (50, 4), {"transB": 1}),
    ],
)
def test_the_mean_error_of_every_output_goes(
    kind: str,
    shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    said: dict[str, object],
    *,
    with_bias: bool,
) -> None:
    """Pictures whose channels are constant leave no error at all, for then the mean is all."""
    random = np.random.default_rng(0)
    weight = random.normal(size=shape).astype("f4")
    coarse = np.round(weight * 2) / 2
    bias = random.normal(size=6).astype("f4") if with_bias else None
    view = layer(kind, weight, bias, **said)
    level = random.uniform(0, 3, x_shape[1]).astype("f4")
    x = np.broadcast_to(level.reshape(1, -1, *(1,) * (len(x_shape) - 2)), x_shape).astype("f4")
    new = corrected_bias(view, view.nodes[0], weight - coarse, level)
    assert new is not None
    wanted = run(view, x)
    assert np.abs(run(view, x, w=coarse) - wanted).max() > 0.1
    np.testing.assert_allclose(run(view, x, w=coarse, b=new), wanted, atol=1e-4)


def test_a_layer_that_scales_its_bias_is_left_alone() -> None:
    weight = np.ones((4, 6), "f4")
    for said in ({"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}):
        view = layer("Gemm", weight, np.zeros(6, "f4"), **said)
        assert corrected_bias(view, view.nodes[0], weight, np.ones(4)) is None


def test_a_computed_bias_is_left_alone() -> None:
    view = layer("Gemm", np.ones((4, 6), "f4"), None)
    view.nodes[0].input.append("x")
    assert corrected_bias(view, view.nodes[0], np.ones((4, 6), "f4"), np.ones(4)) is None
