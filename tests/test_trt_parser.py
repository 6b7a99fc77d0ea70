"""medge's rules and TensorRT-RTX's parser agree: what is refused there is refused here first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from rtx_parser import RtxParser
from test_int8_rules import BREACHES, legal_graph, node_of, replace
from trt_graphs import (
    batch_norm,
    cast,
    integer_picture,
    layer_norm,
    lstm,
    pool,
    reduction,
    resize,
    scatter,
    squeezing,
    unary,
)

from medge.exporters.trt_rules import breaches
from medge.exporters.trt_tables import RTX, operators, releases

if not any(metadata.distributions(name="tensorrt-rtx")):
    pytest.skip("tensorrt-rtx is not installed", allow_module_level=True)

SHARED_PARSER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def parser() -> Iterator[RtxParser]:
    with RtxParser() as made:
        yield made


def refused(model: onnx.ModelProto) -> list[str]:
    """Return the operators that medge refuses for TensorRT-RTX, empty strings for the rest."""
    return [breach.operator for breach in breaches(model, releases()[RTX])]


def changed(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = legal_graph()
    change(model)
    return model


def breach(name: str) -> onnx.ModelProto:
    return changed(BREACHES[name][0])


def zero_point(value: int, dtype: str) -> onnx.ModelProto:
    return changed(lambda model: replace(model, "x.zero", np.array(value, dtype)))


MUST_FAIL = {
    "asymmetric int8": (breach("asymmetric int8"), "QuantizeLinear"),
    "asymmetric uint8": (zero_point(128, "u1"), "QuantizeLinear"),
    "int32 bias": (breach("int32 bias"), "DequantizeLinear"),
    "scale 0": (breach("scale 0"), "QuantizeLinear"),
    "scale NaN": (breach("scale NaN"), "DequantizeLinear"),
    "QLinearConv": (breach("QLinearConv"), "QLinearConv"),
    "ConvInteger": (breach("ConvInteger"), "ConvInteger"),
    "DynamicQuantizeLinear": (breach("DynamicQuantizeLinear"), "DynamicQuantizeLinear"),
    "Unique": (unary("Unique"), "Unique"),
    "Det": (unary("Det"), "Det"),
    "Bernoulli": (unary("Bernoulli"), "Bernoulli"),
    "uint8 between two layers": (cast(TensorProto.UINT8), "Cast"),
    "uint16 picture": (integer_picture(TensorProto.UINT16, cast_first=True), ""),
    "computed axes": (reduction("ReduceMean", "computed"), "ReduceMean"),
    "antialiased resize": (resize(mode="linear", antialias=1), "Resize"),
    "indices of a pool": (pool("MaxPool", 2, indices=True), "MaxPool"),
    "statistics of LayerNormalization": (layer_norm(mean=True), "LayerNormalization"),
}

STRICTER = {  # the parser of 1.7 takes them, and older ones, or TensorRT's fusion, do not
    "uint8 activations": "its own log says that it reads them as int8",
    "no zero point means uint8": "its own log says that it reads them as int8",
    "one operand of two": "such a layer is computed in floats",
    "scales along the wrong axis": "such a layer is computed in floats",
    "weights of floats, wrong axis": "such a layer is computed in floats",
    "activation with a scale for each channel": "such a layer is computed in floats",
    "Q between Conv and Relu": "it parts what TensorRT fuses",
    "integers read by another operator": "no other operator computes with int8",
    "opset 12": "without scales by channel it has no meaning",
}


@pytest.mark.parametrize("case", MUST_FAIL)
def test_must_fail_graphs_are_refused_by_both_at_the_same_operator(
    case: str, parser: RtxParser
) -> None:
    model, operator = MUST_FAIL[case]
    assert operator in refused(model)
    taken_not, places = parser.refuses(model.SerializeToString())
    assert taken_not
    assert operator in places or places == [""]


def test_where_medge_is_stricter_than_this_parser_is_known(parser: RtxParser) -> None:
    graphs = {name: breach(name) for name in BREACHES}
    assert all(refused(model) for model in graphs.values())
    taken = {
        name for name, model in graphs.items() if not parser.refuses(model.SerializeToString())[0]
    }
    assert taken == set(STRICTER)


def test_a_legal_graph_is_taken_by_both(parser: RtxParser) -> None:
    model = legal_graph()
    assert refused(model) == []
    assert parser.refuses(model.SerializeToString()) == (False, [])


def test_the_table_of_operators_is_what_the_parser_says_of_itself(parser: RtxParser) -> None:
    schemas = {one.name for one in onnx.defs.get_all_schemas() if not one.domain}
    names = sorted(schemas | set(operators()))
    told = parser.operators(names)
    # It names these two, and asks for plugins that the package does not have.
    assert told - {name for name in names if RTX in operators().get(name, ())} == {
        "NonZero",
        "RoiAlign",
    }
    assert {name for name in names if RTX in operators().get(name, ())} <= told


NUMBERS = st.sampled_from([1e-3, 0.1, 3.0, 0.0, -0.1, float("nan"), float("inf")])
WEIGHT = (4, 1, 3, 3)


@st.composite
def quantised(draw: st.DrawFn) -> onnx.ModelProto:
    """The legal graph with other zero points, scales, axes and types."""
    model = legal_graph()
    dtype = draw(st.sampled_from(["i1", "u1"]))
    replace(model, "x.zero", np.array(draw(st.integers(0, 127)) * draw(st.booleans()), dtype))
    replace(model, "x.scale", np.array(draw(NUMBERS), "f4"))
    scales = draw(st.lists(NUMBERS, min_size=4, max_size=4))
    replace(model, "w.scale", np.array(scales, "f4"))
    kind = draw(st.sampled_from(["i1", "i1", "u1", "i4", "i2"]))
    replace(model, "w", np.ones(WEIGHT, kind))
    replace(model, "w.zero", np.full(4, draw(st.sampled_from([0, 0, 1])), kind))
    node_of(model, "w.DQ").attribute[0].i = draw(st.integers(-4, 3))
    return model


@st.composite
def single(draw: st.DrawFn) -> onnx.ModelProto:
    """One operator with attributes, types and inputs that its conditions are about."""
    flag = st.booleans()
    kinds = [*NUMERIC, TensorProto.BOOL]
    makers: list[Callable[[], onnx.ModelProto]] = [
        lambda: unary(draw(st.sampled_from(UNARY))),
        lambda: cast(draw(st.sampled_from(kinds))),
        lambda: integer_picture(draw(st.sampled_from(kinds)), cast_first=True),
        lambda: integer_picture(draw(st.sampled_from(NUMERIC)), cast_first=False),
        lambda: pool(
            draw(st.sampled_from(["AveragePool", "LpPool"])),
            sides := draw(st.integers(1, 4)),
            dilations=[draw(st.integers(1, 2))] * sides,
        ),
        lambda: pool("LpPool", 2, p=draw(st.integers(1, 4))),
        lambda: pool("MaxPool", draw(st.integers(1, 4)), indices=draw(flag)),
        lambda: reduction(
            draw(st.sampled_from(["ReduceMean", "ReduceL1", "ReduceMax", "ReduceSum"])),
            draw(st.sampled_from(["constant", "computed", "absent"])),
        ),
        lambda: squeezing(draw(st.sampled_from(["Squeeze", "Unsqueeze"])), computed=draw(flag)),
        lambda: resize(
            computed=draw(flag),
            mode=draw(st.sampled_from(["nearest", "linear", "cubic"])),
            antialias=draw(st.integers(0, 1)),
            coordinate_transformation_mode=draw(
                st.sampled_from(["half_pixel", "tf_crop_and_resize", "align_corners"])
            ),
        ),
        lambda: scatter(
            draw(st.sampled_from(["ScatterND", "ScatterElements"])),
            reduction=draw(st.sampled_from(["none", "add", "mul", "max"])),
        ),
        lambda: lstm(input_forget=draw(st.integers(0, 1))),
        lambda: layer_norm(mean=draw(flag)),
        lambda: batch_norm(training=draw(flag)),
    ]
    return draw(st.sampled_from(makers))()


NUMERIC = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16)  # of TensorProto; Add takes all of them
UNARY = sorted(
    one.name
    for one in onnx.defs.get_all_schemas()
    if not one.domain and (one.min_input, one.min_output, one.max_output) == (1, 1, 1)
    if not any(attribute.required for attribute in one.attributes.values())
    if one.name != "EyeLike"  # which takes matrices only
    if "tensor(float)" in one.inputs[0].types and "tensor(float)" in one.outputs[0].types
)


@SHARED_PARSER
@given(model=quantised())
def test_no_q_or_dq_that_medge_takes_is_refused_by_the_parser(
    parser: RtxParser, model: onnx.ModelProto
) -> None:
    if not refused(model):
        assert not parser.refuses(model.SerializeToString())[0]


@SHARED_PARSER
@given(model=single())
def test_no_operator_that_medge_takes_is_refused_by_the_parser(
    parser: RtxParser, model: onnx.ModelProto
) -> None:
    if not refused(model):
        assert not parser.refuses(model.SerializeToString())[0]


@SHARED_PARSER
@given(zero=st.integers(-128, 127), dtype=st.sampled_from(["i1", "u1"]))
def test_a_zero_point_other_than_0_is_refused_by_both(
    parser: RtxParser, zero: int, dtype: str
) -> None:
    model = zero_point(zero & 0xFF if dtype == "u1" else zero, dtype)
    values = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "x.zero"))
    assert bool(refused(model)) == (bool(values) or dtype == "u1")
    assert parser.refuses(model.SerializeToString())[0] == bool(values)
