"""A graph for an old JetPack answers as the graph that it was made from, or is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BundleError
from medge.exporters.jetson.literals import with_wide_literals
from medge.exporters.jetson.lowering import OLDEST, lowered
from medge.exporters.jetson.pairs import with_pairs
from medge.exporters.jetson.static import fixed_batch
from medge.exporters.trt_rules import breaches
from medge.exporters.trt_tables import releases

onnxruntime = silent_onnxruntime()

Tensor = npt.NDArray[Any]
NEW = ("LayerNormalization", "GroupNormalization", "Gelu", "HardSwish", "Mish")
SHAPE = (2, 4, 6, 5)
RNG = np.random.default_rng(0)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Tensor],
    opset: int,
    shape: Sequence[int | str] = SHAPE,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return a graph from ``x`` to the last node's first output."""
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", kind, shape)],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(made).graph.output[0]
    if not inferred.type.tensor_type.elem_type:  # ONNX infers nothing of GroupNormalization
        inferred = helper.make_tensor_value_info(inferred.name, kind, shape)
    made.graph.output[0].CopyFrom(inferred)
    return made


def answers(model: onnx.ModelProto, x: Tensor) -> Tensor:
    """Run a graph as ONNX's reference defines it."""
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def ort_answers(model: onnx.ModelProto, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


def i8(*values: int) -> Tensor:
    return np.array(values, dtype="i8")


def f4(*shape: int) -> Tensor:
    return RNG.normal(size=shape).astype("f4")


CASES: dict[str, tuple[int, dict[str, Tensor], list[str], dict[str, Any]]] = {
    # operator and what tells cases of one apart: opset, constants, inputs, attributes
    "ReduceMean": (18, {"a": i8(2, 3)}, ["x", "a"], {"keepdims": 1}),
    "ReduceMean all": (18, {}, ["x"], {"keepdims": 0}),
    "ReduceMean none": (18, {}, ["x"], {"noop_with_empty_axes": 1}),
    **{
        f"{name} none": (18, {}, ["positive"], {"noop_with_empty_axes": 1})
        for name in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
    },
    "ReduceMax": (20, {"a": i8(-1)}, ["x", "a"], {"keepdims": 0}),
    "ReduceL2": (18, {"a": i8(1)}, ["x", "a"], {}),
    "ReduceSum": (18, {"a": i8(1)}, ["x", "a"], {}),
    "Split": (18, {}, ["x"], {"axis": 2, "num_outputs": 4}),
    "Split sizes": (18, {"s": i8(1, 3, 1)}, ["x", "s"], {"axis": -1}),
    "Pad edge": (18, {"p": i8(0, 0, 2, 1, 0, 0, 1, 2)}, ["x", "p"], {"mode": "edge"}),
    "Pad axes": (
        18,
        {"p": i8(2, 1, 1, 2), "v": np.float32(0.5), "a": i8(3, -2)},
        ["x", "p", "v", "a"],
        {},
    ),
    "Pad 21": (21, {"p": i8(0, 0, 2, 1, 0, 0, 1, 2)}, ["x", "p"], {"mode": "reflect"}),
    "Reshape": (18, {"s": i8(2, 24, -1)}, ["x", "s"], {"allowzero": 1}),
    "Reshape zero": (18, {"s": i8(0, -1)}, ["x", "s"], {}),
    "Resize": (
        19,
        {"s": np.array([1, 1, 2, 2], "f4")},
        ["x", "", "s"],
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    ),
    "AveragePool": (19, {}, ["x"], {"kernel_shape": [2, 2], "dilations": [1, 1]}),
    "BatchNormalization": (
        15,
        {"s": f4(4), "b": f4(4), "m": f4(4), "v": f4(4) ** 2 + 1},
        ["x", "s", "b", "m", "v"],
        {"training_mode": 0},
    ),
    "LayerNormalization": (17, {"s": f4(5), "b": f4(5)}, ["x", "s", "b"], {"epsilon": 1e-3}),
    "LayerNormalization sides": (17, {"s": f4(4, 6, 5)}, ["x", "s"], {"axis": 1}),
    "GroupNormalization": (21, {"s": f4(4), "b": f4(4)}, ["x", "s", "b"], {"num_groups": 2}),
    "Gelu": (20, {}, ["x"], {}),
    "Gelu tanh": (20, {}, ["x"], {"approximate": "tanh"}),
    "HardSwish": (14, {}, ["x"], {}),
    "Mish": (18, {}, ["x"], {}),
    "Conv": (22, {"w": f4(3, 4, 3, 3) / 8}, ["x", "w"], {"pads": [1, 1, 1, 1]}),
    "MaxPool": (22, {}, ["x"], {"kernel_shape": [2, 2]}),
    "GlobalAveragePool": (22, {}, ["x"], {}),
    "Elu": (22, {}, ["x"], {}),
    "Flatten": (21, {}, ["x"], {"axis": 2}),
    "Cast": (19, {}, ["x"], {"to": TensorProto.FLOAT16}),
    "Relu": (18, {}, ["x"], {}),
    "Softmax": (18, {}, ["x"], {"axis": 1}),
}


def case(name: str) -> onnx.ModelProto:
    opset, constants, inputs, attributes = CASES[name]
    operator = name.partition(" ")[0]
    outputs = {"Split": 4, "Split sizes": 3}.get(name, 1)
    node = helper.make_node(operator, inputs, [f"y{k}" for k in range(outputs)], "n", **attributes)
    nodes = [node]
    if inputs[0] == "positive":  # for logarithms
        nodes.insert(0, helper.make_node("Sigmoid", ["x"], ["positive"], "e"))
    if outputs > 1:  # the last part is the one that may be smaller
        nodes.append(helper.make_node("Neg", [f"y{outputs - 1}"], ["z"]))
    return model_of(nodes, constants, opset)


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("name", CASES)
def test_an_older_graph_answers_as_the_newer_one(name: str, opset: int) -> None:
    model, x = case(name), f4(*SHAPE)

    older = lowered(model, opset, frozenset(NEW))

    onnx.checker.check_model(older, full_check=True)
    assert older.opset_import[0].version == min(opset, CASES[name][0])
    assert not {node.op_type for node in older.graph.node} & set(NEW)
    expected = answers(model, x)
    if name != "BatchNormalization":  # ONNX's reference trains in its version 9 of that
        np.testing.assert_allclose(answers(older, x), expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(ort_answers(older, x), expected, rtol=0, atol=2e-6)


REFUSED: dict[str, tuple[int, dict[str, Tensor], list[str], dict[str, Any], str]] = {
    "Pad": (19, {"p": i8(*[1] * 8)}, ["x", "p"], {"mode": "wrap"}, "its mode is wrap"),
    "AveragePool": (
        19,
        {},
        ["x"],
        {"kernel_shape": [2, 2], "dilations": [2, 2]},
        "does not know its dilations",
    ),
    "GridSample": (16, {"g": f4(2, 3, 3, 2)}, ["x", "g"], {}, "no such operator"),
    "Resize": (
        19,
        {"s": np.array([1, 1, 2, 2], "f4")},
        ["x", "", "s"],
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
        "half_pixel_symmetric",
    ),
    "Resize smooth": (
        18,
        {"s": np.array([1, 1, 0.5, 0.5], "f4")},
        ["x", "", "s"],
        {"mode": "linear", "antialias": 1},
        "does not know its antialias",
    ),
    "Reshape": (18, {"s": i8(0, 5)}, ["x", "s"], {"allowzero": 1}, "a 0 in its shape"),
    "Trilu": (14, {}, ["x"], {}, "no such operator"),
    "ReduceMean": (18, {}, ["x", "k"], {}, "its input 1 is computed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_older_form_is_refused_by_name(name: str) -> None:
    opset, constants, inputs, attributes, why = REFUSED[name]
    operator = name.partition(" ")[0]
    node = helper.make_node(operator, inputs, ["y"], "the node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
        ],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])

    with pytest.raises(BundleError, match=why) as refused:
        lowered(model, OLDEST, frozenset())

    assert refused.value.rule == "lowering"
    assert f"{operator} 'the node'" in refused.value.message


def test_a_choice_that_goes_without_saying_is_not_said() -> None:
    """The parsers of TensorRT 10 refuse the attribute by its name, whatever it says."""
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], "n", reduction="none")
    model = model_of([node], {"i": i8(0).reshape(1, 1), "u": f4(1, 4, 6, 5)}, 18)

    assert [len(each.attribute) for each in lowered(model, 20, frozenset()).graph.node] == [0]
    added = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], "n", reduction="add")
    model = model_of([added], {"i": i8(0).reshape(1, 1), "u": f4(1, 4, 6, 5)}, 18)
    assert [len(each.attribute) for each in lowered(model, 20, frozenset()).graph.node] == [1]


HALF_LITERALS: dict[str, tuple[dict[str, Tensor], list[str], list[str]]] = {
    # constants, inputs, operators that stand in its place
    "Clip": ({"l": np.float16(-0.5), "h": np.float16(0.75)}, ["x", "l", "h"], ["Max", "Min"]),
    "Clip above": ({"h": np.float16(0.75)}, ["x", "", "h"], ["Min"]),
    "Clip below": ({"l": np.float16(0.25)}, ["x", "l"], ["Max"]),
    "Pad": (
        {"p": i8(0, 0, 2, 1, 0, 0, 1, 2), "v": np.float16(0.5)},
        ["x", "p", "v"],
        ["Cast", "Pad", "Cast"],
    ),
    "Pad with 0": (
        {"p": i8(0, 0, 2, 1, 0, 0, 1, 2), "v": np.float16(0)},
        ["x", "p", "v"],
        ["Pad"],
    ),
}


@pytest.mark.parametrize("name", HALF_LITERALS)
def test_a_bound_that_tensorrt_8_2_would_misread_is_written_otherwise(name: str) -> None:
    constants, inputs, operators = HALF_LITERALS[name]
    constants = {key: np.asarray(value) for key, value in constants.items()}
    node = helper.make_node(name.partition(" ")[0], inputs, ["y"], "n")
    model = model_of([node], constants, 13, kind=TensorProto.FLOAT16)
    jetpack_4 = next(each for each in releases().values() if each.name == "8.2")
    x = f4(*SHAPE).astype("f2")

    made = with_wide_literals(model)

    assert [each.op_type for each in made.graph.node] == operators
    assert "is fp16 and is read as fp32" in str(breaches(model, jetpack_4)[0])
    assert breaches(made, jetpack_4) == ()
    np.testing.assert_array_equal(answers(made, x), answers(model, x))
    np.testing.assert_array_equal(ort_answers(made, x), ort_answers(model, x))


def test_a_bound_in_fp32_stays_as_it_is() -> None:
    node = helper.make_node("Clip", ["x", "l"], ["y"], "n")
    model = model_of([node], {"l": np.asarray(np.float32(0))}, 13)

    assert [each.op_type for each in with_wide_literals(model).graph.node] == ["Clip"]


def test_a_constant_that_only_the_body_of_an_if_reads_stays() -> None:
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["x", "k"], ["r"], name)],
            name,
            [],
            [helper.make_tensor_value_info("r", TensorProto.FLOAT, SHAPE)],
        )
        for name, operator in (("then", "Add"), ("else", "Mul"))
    }
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], "max", keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["c"], "gt"),
        helper.make_node("If", ["c"], ["y"], "if", **bodies),
    ]
    constants = {"zero": np.zeros((), "f4"), "k": np.full((1,), 3, "f4")}
    model = model_of(nodes, constants, 13, shape=["batch", *SHAPE[1:]])
    x = f4(*SHAPE)

    made = with_pairs(with_wide_literals(lowered(fixed_batch(model, 2), 13, frozenset())))

    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_array_equal(answers(made, x), answers(model, x))


def test_a_graph_older_than_all_is_refused() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {}, 11)

    with pytest.raises(BundleError, match="opset 11"):
        lowered(model, 13, frozenset())


def test_a_norm_in_fp16_computes_in_fp32_between() -> None:
    scale = np.full(5, 0.5, "f2")
    node = helper.make_node("LayerNormalization", ["x", "s"], ["y"], "n")
    model = model_of([node], {"s": scale}, 17, kind=TensorProto.FLOAT16)
    x = (RNG.normal(size=SHAPE) * 300).astype("f2")  # squares of these exceed fp16

    older = lowered(model, 13, frozenset(NEW))

    wide = x.astype("f8")
    apart = wide - wide.mean(-1, keepdims=True)
    expected = apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-5) * 0.5
    np.testing.assert_allclose(answers(older, x).astype("f8"), expected, atol=2e-3)


def test_groups_of_opset_18_have_one_scale_each() -> None:
    """Opset 18 scales by group, 21 by channel; ONNX Runtime has 21 alone."""
    scale, bias = np.array([2, 3], "f4"), np.array([1, -1], "f4")
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], "n", num_groups=2)
    x = f4(*SHAPE)

    older = lowered(model_of([node], {"s": scale, "b": bias}, 18), 13, frozenset(NEW))

    groups = x.astype("f8").reshape(2, 2, -1)
    apart = groups - groups.mean(-1, keepdims=True)
    even = apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-5)
    expected = (even * scale[:, None] + bias[:, None]).reshape(SHAPE)
    np.testing.assert_allclose(ort_answers(older, x), expected, atol=1e-5)


def test_a_fixed_batch_leaves_no_arithmetic_on_shapes() -> None:
    """As a transformer writes it: the class token is repeated for each picture of the batch."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], "batch", start=0, end=1),
        helper.make_node("Concat", ["n", "rest"], ["s"], "sides", axis=0),
        helper.make_node("Expand", ["token", "s"], ["t"], "repeat"),
        helper.make_node("Concat", ["t", "x"], ["y"], "join", axis=1),
    ]
    constants = {"rest": i8(-1, -1) * 0 + i8(1, 5), "token": f4(1, 1, 5)}
    model = model_of(nodes, constants, 18, shape=["batch", 3, 5])

    fixed = fixed_batch(model, 2)

    assert [node.op_type for node in fixed.graph.node] == ["Concat"]
    assert fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"  # untouched
    x = f4(2, 3, 5)
    np.testing.assert_array_equal(answers(fixed, x), answers(model, x))


def test_weights_that_are_dequantised_stay_integers() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "dq"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "mm"),
    ]
    constants = {
        "q": RNG.integers(-127, 127, (5, 3)).astype("i1"),
        "s": np.float32(0.1),
        "z": np.int8(0),
    }
    model = model_of(nodes, constants, 18, shape=["batch", 5])

    assert [n.op_type for n in fixed_batch(model, 1).graph.node] == ["DequantizeLinear", "MatMul"]


def test_a_graph_for_one_picture_takes_no_other_batch() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {}, 18, shape=[1, 5])

    with pytest.raises(BundleError, match="takes 1 pictures") as refused:
        fixed_batch(model, 4)

    assert refused.value.rule == "fixed-batch"


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    start=st.integers(-6, 6),
    end=st.one_of(st.none(), st.integers(-6, 6)),
)
def test_a_part_of_a_shape_is_what_onnx_says(sides: list[int], start: int, end: int | None) -> None:
    given_end = {} if end is None else {"end": end}
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape", start=start, **given_end),
        helper.make_node("Cast", ["s"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["f"], ["r"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"], "add"),
    ]
    model = model_of(nodes, {}, 18, shape=["batch", *sides[1:]])
    x = np.zeros(sides, "f4")

    fixed = fixed_batch(model, sides[0])

    assert [node.op_type for node in fixed.graph.node] == ["Add"]
    # ONNX's reference does not stop at the front where `end` lies before it.
    np.testing.assert_array_equal(answers(fixed, x), ort_answers(model, x))
