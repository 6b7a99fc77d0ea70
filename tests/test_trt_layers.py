"""TensorRT's account of an engine, as releases wrote it, and what medge reads from it.

The layers of ``AMPERE`` are from NVIDIA/TensorRT, tools/experimental/trt-engine-explorer,
tests/inputs/mobilenet.qat.onnx.engine.graph.json (Apache-2.0): written on a GPU by TensorRT 8. The
fields of TensorRT 10 and 11 follow public examples; no account of theirs has been read here.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.engine.backends.trt.layers import nodes_of, timed_nodes_of
from medge.engine.placement import tally

INT8_ROWS = "Thirty-two wide channel vectorized row major Int8 format"
FP16_ROWS = "Thirty-two wide channel vectorized row major FP16 format"


def tensors(*formats: str) -> list[dict[str, object]]:
    return [{"Name": "t", "Location": "Device", "Format/Datatype": each} for each in formats]


AMPERE = [
    {
        "Name": "QuantizeLinear_2",
        "LayerType": "Reformat",
        "Inputs": tensors("Row major linear FP32"),
        "Outputs": tensors("Four wide channel vectorized row major Int8 format"),
        "ParameterType": "Reformat",
        "Origin": "QDQ",
    },
    {
        "Name": "features.0.0.weight + QuantizeLinear_8 + Conv_12 + PWN(Clip_16)",
        "LayerType": "CaskConvolution",
        "Inputs": tensors("Four wide channel vectorized row major Int8 format"),
        "Outputs": tensors(INT8_ROWS),
        "Weights": {"Type": "Int8", "Count": 864},
        "Bias": {"Type": "Float", "Count": 32},
    },
    {
        "Name": "features.1.conv.0.0.weight + QuantizeLinear_25 + Conv_29 + PWN(Clip_33)",
        "LayerType": "CudaDepthwiseConvolution",
        "Inputs": tensors(INT8_ROWS),
        "Outputs": tensors(INT8_ROWS),
        "Weights": {"Type": "Int8", "Count": 288},
    },
    {
        "Name": "features.3.conv.2.weight + QuantizeLinear_138 + Conv_142 + Add_144",
        "LayerType": "CaskConvolution",
        "Inputs": tensors(INT8_ROWS, FP16_ROWS),
        "Outputs": tensors(FP16_ROWS),
        "Weights": {"Type": "Int8", "Count": 3456},
    },
]
GRAPH = ("Conv_12", "Conv_29", "Conv_142", "Conv_200")


def account(*layers: object, **more: object) -> str:
    return json.dumps({"Layers": list(layers), **more})


def test_an_engine_of_tensorrt_8_is_read_as_it_was_written() -> None:
    placement = tally(nodes_of(account(*AMPERE, Bindings=["input1"]), GRAPH))
    assert placement.compute == {"int8": 3}
    assert placement.nodes == {
        "CaskConvolution": {"int8": 2},
        "CudaDepthwiseConvolution": {"int8": 1},
        "Reformat": {"fp32": 1},
    }


def test_weights_tell_the_type_before_what_is_read() -> None:
    narrow_input = {**AMPERE[1], "Weights": {"Type": "Float", "Count": 1}}
    assert tally(nodes_of(account(narrow_input), GRAPH)).compute == {"fp32": 1}


@pytest.mark.parametrize(
    ("tensor", "precision"),
    [
        ({"Format/Datatype": "Half((32,1:8))"}, "fp16"),
        ({"Format": "LINEAR", "DataType": "FP16"}, "fp16"),
        ({"Format": "LINEAR", "Datatype": "INT8"}, "int8"),
        ({"Format": "LINEAR", "DataType": "BFloat16"}, "bf16"),
        ({"Format/Datatype": "N/A due to dynamic shapes"}, "untold"),
    ],
)
def test_a_product_without_weights_computes_in_what_it_reads(
    tensor: dict[str, str], precision: str
) -> None:
    layer = {
        "Name": "__myl_MulAdd",
        "LayerType": "gemm",
        "Inputs": [tensor],
        "Metadata": "[ONNX Layer: /a/MatMul]\x1e[ONNX Layer: /b/MatMul]\x1f[ONNX Layer: /c/Add]",
    }
    (node,) = nodes_of(account(layer), ("/a/MatMul", "/b/MatMul"))
    assert (node.precision, node.layers) == (precision, 2)


def test_a_layer_that_only_moves_is_no_compute_layer() -> None:
    moved = {**AMPERE[0], "Metadata": "[ONNX Layer: Conv_12]"}
    assert tally(nodes_of(account(moved), GRAPH)).compute == {}


def test_times_are_joined_by_name_and_what_the_account_lacks_is_untold() -> None:
    times = {str(AMPERE[1]["Name"]): (5, 6), "elsewhere": (1, 1)}
    known, unknown = timed_nodes_of(account(*AMPERE), times)
    assert (known.kind, known.precision, known.times_ns) == ("CaskConvolution", "int8", (5, 6))
    assert (unknown.kind, unknown.precision) == ("unknown", "untold")


@given(st.text() | st.just(account("names only", "of layers")))
@settings(max_examples=100, deadline=None)
def test_what_is_no_account_tells_of_no_layer(text: str) -> None:
    assert nodes_of(text, GRAPH) == []
