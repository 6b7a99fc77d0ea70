"""fp16 as hardware computes it: what is 16 bits wide in the graph is rounded to 16 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from bundles import tiny_graph
from narrow_graphs import fp16_graph, golden_image
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.engine.backends.silence import silent_onnxruntime
from medge.exporters.rounded import rounded_as_half

Floats = npt.NDArray[np.float32]


def run(graph: bytes, outputs: list[str] | None = None) -> list[Floats]:
    model = onnx.load_from_string(graph)
    for name in outputs or []:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = silent_onnxruntime().InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: list[Floats] = session.run(outputs, {"image": golden_image()})
    return found


def half(array: npt.NDArray[np.float32]) -> Floats:
    return array.astype(np.float16).astype(np.float32)


def node_by_node() -> Floats:
    """The tiny network in ONNX's reference, every tensor rounded before the next node reads it."""
    model = onnx.load_from_string(tiny_graph())
    known = {t.name: half(numpy_helper.to_array(t)) for t in model.graph.initializer}
    known["image"] = half(golden_image())
    for node in model.graph.node:
        one = helper.make_model(
            helper.make_graph(
                [node],
                "one",
                [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in node.input],
                [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in node.output],
            ),
            opset_imports=model.opset_import,
        )
        feeds = {name: known[name] for name in node.input}
        for name, found in zip(node.output, ReferenceEvaluator(one).run(None, feeds), strict=True):
            known[name] = half(found)
    return known["scores"]


def test_every_tensor_is_rounded_before_it_is_read() -> None:
    expected = node_by_node()
    # Sums in another order may fall to the other side of half a step: 2 ** -11 of the value.
    assert_allclose(run(rounded_as_half(fp16_graph()))[0], expected, rtol=2**-10)
    assert not np.array_equal(run(tiny_graph())[0], expected)


def test_what_lies_between_layers_has_11_digits() -> None:
    graph = rounded_as_half(fp16_graph())
    written = [name for node in onnx.load_from_string(graph).graph.node for name in node.output]
    wide = [n for n in written if not n.endswith((".wide", ".half")) and n != "scores"]
    assert len(wide) >= 5
    for name, found in zip(wide, run(graph, wide), strict=True):
        assert_array_equal(found, half(found), err_msg=name)


def test_nothing_but_the_casts_is_16_bits_wide() -> None:
    model = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(rounded_as_half(fp16_graph())), strict_mode=True
    )
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in model.graph.initializer)
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    assert {n for n, kind in kinds.items() if kind == TensorProto.FLOAT16} == {
        n for n in kinds if n.endswith(".half")
    }


def test_a_graph_without_fp16_is_left_alone() -> None:
    assert rounded_as_half(tiny_graph()) == tiny_graph()
