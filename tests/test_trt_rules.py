"""What each TensorRT takes is told from its tables: operators, opsets, types and conditions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from narrow_graphs import int8_graph
from onnx import TensorProto, helper
from test_int8_rules import legal_graph, node_of, replace
from trt_graphs import (
    FLOAT,
    IMAGE,
    batch_norm,
    cast,
    graph_of,
    integer_picture,
    layer_norm,
    lstm,
    one,
    pool,
    reduction,
    resize,
    scatter,
    squeezing,
    unary,
)

from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.manifest import MODEL
from medge.errors import BundleError
from medge.exporters.trt_rules import breaches, check_graph_for, refusal_notes, refusals
from medge.exporters.trt_tables import RTX, conditions, operators, release_of, releases

EVERY = ("8.2", "8.5", "8.6", "10.3", "10.16", "11.4", RTX)
NEW = EVERY[3:]


def refused_by(model: onnx.ModelProto) -> tuple[str, ...]:
    return tuple(refusals(model))


def rules(model: onnx.ModelProto, release: str) -> set[str]:
    return {breach.rule for breach in breaches(model, releases()[release])}


@pytest.mark.parametrize(
    ("operator", "takers"),
    [
        # docs/operators.md of onnx/onnx-tensorrt at the releases' own branches.
        ("Conv", EVERY),
        ("LayerNormalization", EVERY[2:]),
        ("GroupNormalization", EVERY[2:]),
        ("HardSwish", EVERY[1:]),
        ("Gelu", NEW),
        ("GridSample", EVERY[1:]),
        ("RoiAlign", EVERY[1:6]),
        ("Attention", EVERY[4:]),
        ("Swish", EVERY[5:]),
        ("DFT", ("11.4",)),
        ("QuantizeLinear", EVERY),
        ("QLinearConv", ()),
        ("ConvInteger", ()),
        ("DynamicQuantizeLinear", ()),
        ("Unique", ()),
        ("MaxUnpool", ()),
        ("NotAnOperator", ()),
    ],
)
def test_operators_are_those_of_the_published_tables(operator: str, takers: tuple[str]) -> None:
    known = operators()
    assert tuple(one for one in EVERY if one in known.get(operator, ())) == takers


@pytest.mark.parametrize(
    ("opset", "takers"),
    [
        *((8, EVERY[:3]), (9, EVERY), (13, EVERY), (14, EVERY[1:]), (17, EVERY[1:])),
        *((18, NEW), (20, NEW), (21, EVERY[4:]), (24, EVERY[4:]), (25, ())),
    ],
)
def test_opsets_end_where_each_release_says(opset: int, takers: tuple[str]) -> None:
    model = graph_of([one("Relu")], opset=opset)
    assert tuple(name for name in EVERY if name not in refused_by(model)) == takers
    assert all(rules(model, name) == {"opset"} for name in refused_by(model))


def test_tables_name_no_release_and_no_operator_that_they_do_not_have() -> None:
    assert tuple(releases()) == EVERY
    listed = operators()
    assert {release for found in listed.values() for release in found} == set(EVERY)
    for release in EVERY:
        for operator, asked in conditions(release).items():
            assert release in listed[operator], f"{release} has a condition on {operator}"
            assert all(condition.releases <= set(EVERY) for condition in asked)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        *(("8.2.1", "8.2"), ("8.4", "8.2"), ("8.5.2", "8.5"), ("8.6.1", "8.6"), ("10.0", "8.6")),
        *(("10.3.0", "10.3"), ("10.13.3.9", "10.3"), ("10.16.2.10", "10.16")),
        *(("11.5.0", "11.4"), ("7.1.3", "8.2"), ("8", "8.2"), ("10", "8.6")),
    ],
)
def test_a_version_between_two_releases_is_held_to_the_older(version: str, release: str) -> None:
    assert release_of(version).name == release


def top(count: int, **attributes: int) -> onnx.ModelProto:
    return graph_of(
        [one("TopK", "x", "k", outputs=("y", "i"), **attributes)],
        [("x", FLOAT, (1, 9000))],
        [("y", FLOAT), ("i", TensorProto.INT64)],
        k=np.array([count]),
    )


def dropout(*, training: bool) -> onnx.ModelProto:
    return graph_of(
        [one("Dropout", "x", "r", "t")], opset=13, r=np.float32(0.5), t=np.array(training)
    )


def identity_like(rows: int | str) -> onnx.ModelProto:
    return graph_of([one("EyeLike", "x")], [("x", FLOAT, (rows, 4))])


def grid_sample(sides: int) -> onnx.ModelProto:
    ports = [("x", FLOAT, (1, 1, *[4] * sides)), ("g", FLOAT, (1, *[2] * sides, sides))]
    return graph_of([one("GridSample", "x", "g")], ports)


def einsum(equation: str) -> onnx.ModelProto:
    ports = [("x", FLOAT, (2, 3, 4)), ("z", FLOAT, (2, 4, 5))]
    return graph_of([one("Einsum", "x", "z", equation=equation)], ports, opset=13)


def attention(*more: str) -> onnx.ModelProto:
    ports = [(name, FLOAT, (1, 2, 4, 8)) for name in ("q", "k", "v", *more)]
    return graph_of([one("Attention", "q", "k", "v", *more)], ports, opset=23)


def words() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["s"], "words", value_string="text")
    return graph_of([constant, one("Relu")], opset=13)


CONDITIONS = {
    "ellipsis of Einsum": (einsum("...ij,...jk->...ik"), ("8.2",)),
    "Einsum": (einsum("bij,bjk->bik"), ()),
    "top 4000": (top(4000), NEW),
    "top 3": (top(3), ()),
    "top 3 in any order": (top(3, sorted=0), NEW),
    "Dropout that trains": (dropout(training=True), NEW),
    "Dropout": (dropout(training=False), ()),
    "EyeLike of a size that varies": (identity_like("n"), NEW),
    "EyeLike": (identity_like(4), ()),
    "GridSample in space": (grid_sample(3), ("10.3", "10.16")),
    "GridSample": (grid_sample(2), ()),
    "attention with a past": (attention("m", "p"), EVERY),
    "attention with a mask": (attention("m"), ("10.3",)),
    "texts": (words(), NEW),
    "a window of four sides": (pool("MaxPool", 4), EVERY),
    "indices of a pool": (pool("MaxPool", 2, indices=True), EVERY),
    "a window with holes": (pool("AveragePool", 2, dilations=[2, 2]), NEW),
    "a window without holes": (pool("AveragePool", 2, dilations=[1, 1]), ()),
    "L3 pooling": (pool("LpPool", 2, p=3), EVERY),
    "computed axes of a mean": (reduction("ReduceMean", "computed"), NEW),
    "constant axes of a mean": (reduction("ReduceMean", "constant"), ()),
    "all axes of a mean": (reduction("ReduceMean", "absent"), ()),
    "computed axes of Squeeze": (squeezing("Squeeze", computed=True), EVERY),
    "constant axes of Squeeze": (squeezing("Squeeze", computed=False), ()),
    "cubic resize": (resize(mode="cubic"), EVERY),
    "linear resize": (resize(mode="linear"), ()),
    "antialiased resize": (resize(mode="linear", antialias=1), NEW),
    "computed scales": (resize(computed=True), NEW),
    "statistics of LayerNormalization": (layer_norm(mean=True), ("8.5", *NEW)),
    "LayerNormalization": (layer_norm(), ("8.5",)),
    "scattered sums": (scatter("ScatterND", reduction="add"), NEW),
    "scattered sums of elements": (scatter("ScatterElements", reduction="add"), (RTX,)),
    "coupled gates": (lstm(input_forget=1), NEW),
    "batch first": (lstm(layout=1), NEW),
    "BatchNorm that trains": (batch_norm(training=True), EVERY),
    "BatchNorm": (batch_norm(training=False), ()),
    "uint8 in between": (cast(TensorProto.UINT8), EVERY),
    "int16 in between": (cast(TensorProto.INT16), EVERY),
    "bfloat16 in between": (cast(TensorProto.BFLOAT16), EVERY[:3]),
    "half in between": (cast(TensorProto.FLOAT16), ()),
    "a picture of uint8": (integer_picture(TensorProto.UINT8, cast_first=True), ("8.2",)),
    "sums in uint8": (integer_picture(TensorProto.UINT8, cast_first=False), EVERY),
    "a picture of uint16": (integer_picture(TensorProto.UINT16, cast_first=True), EVERY),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_hold_for_the_releases_that_state_them(case: str) -> None:
    model, refusing = CONDITIONS[case]
    beyond = {name for name in EVERY if "opset" in rules(model, name)}
    assert set(refused_by(model)) - beyond == set(refusing) - beyond


def convolution(weight: str, *, opset: int = 13) -> onnx.ModelProto:
    shape = (4, 3, 3, 3)
    if weight == "input":
        return graph_of([one("Conv", "x", "w")], [IMAGE, ("w", FLOAT, shape)], opset=opset)
    if weight == "dequantised":
        read = one("DequantizeLinear", "w", "s", "z", outputs=("d",), axis=0)
        zeros = {"w": np.ones(shape, "i1"), "s": np.ones(4, "f4"), "z": np.zeros(4, "i1")}
        nodes = [
            one("QuantizeLinear", "x", "t", "u", outputs=("q",)),
            one("DequantizeLinear", "q", "t", "u", outputs=("p",)),
            read,
            one("Conv", "p", "d"),
        ]
        nodes[1].name = "second"
        return graph_of(nodes, opset=opset, t=np.float32(0.1), u=np.int8(0), **zeros)
    return graph_of([one("Conv", "x", "w")], opset=opset, w=np.ones(shape, "f4"))


def test_jetpack_4_wants_weights_that_are_constants_also_behind_dq() -> None:
    assert refused_by(convolution("input")) == ("8.2",)
    assert refused_by(convolution("constant")) == ()
    assert refused_by(convolution("dequantised")) == ()


def test_operators_inside_branches_are_looked_at() -> None:
    branch = helper.make_graph(
        [helper.make_node("Unique", ["x"], ["u"], "inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("u", FLOAT, None)],
    )
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    model = graph_of([node], [IMAGE, ("c", TensorProto.BOOL, ())])
    found = breaches(model, releases()["10.16"])
    assert [(one.rule, one.operator, one.node) for one in found] == [
        ("operator", "Unique", "inner")
    ] * 2


def test_rules_of_q_and_dq_are_those_of_every_release() -> None:
    assert refused_by(legal_graph()) == ("8.2",)  # it is of opset 17
    uint8 = onnx.load_from_string(int8_graph())
    assert set(refused_by(uint8)) == set(EVERY)
    assert {"type", "zero-point", "bias"} <= rules(uint8, "10.3")


def test_tensorrt_8_wants_a_zero_point_for_every_scale() -> None:
    """QuantDequantLinearHelper of onnx-tensorrt 8.2, 8.5 and 8.6 asserts both."""
    model = legal_graph()
    model.opset_import[0].version = 13
    assert refused_by(model) == ()
    del node_of(model, "w.DQ").input[2]
    assert refused_by(model) == ("8.2", "8.5", "8.6")
    model = legal_graph()
    replace(model, "w.zero", np.zeros(1, "i1"))
    assert "condition" in rules(model, "8.5")
    assert "condition" not in rules(model, "10.3")


def test_bundles_as_they_are_exported_need_another_opset_on_jetpack_4_and_5() -> None:
    with open_bundle(find_bundle("chest-x-ray")) as bundle:
        model = onnx.load_from_string(bundle.read(MODEL))
    assert refused_by(model) == EVERY[:3]
    assert list(refusal_notes(model)) == [
        "Its opset 18 is not for TensorRT 8.2 (JetPack 4), TensorRT 8.5 (JetPack 5), TensorRT 8.6; "
        "for a Jetson `medge compile --target` writes an older one"
    ]


def test_an_export_says_which_jetpack_lacks_an_operator() -> None:
    assert list(refusal_notes(layer_norm(opset=18))) == [
        "Its opset 18 is not for TensorRT 8.6; for a Jetson `medge compile --target` writes an "
        "older one",
        "TensorRT 8.2 (JetPack 4) does not take it as it is: LayerNormalization "
        "layernormalization: it has no such operator",
        "TensorRT 8.5 (JetPack 5) does not take it as it is: LayerNormalization "
        "layernormalization: it has no such operator",
    ]
    assert list(refusal_notes(unary("Relu"))) == [
        "Its opset 20 is not for TensorRT 8.2 (JetPack 4), TensorRT 8.5 (JetPack 5), TensorRT 8.6; "
        "for a Jetson `medge compile --target` writes an older one"
    ]
    assert list(refusal_notes(graph_of([one("Relu")], opset=13))) == []


def test_a_refusal_names_release_operator_reason_and_next_step() -> None:
    model = unary("Det")
    model.graph.node[0].name = "evil\x1b[2Jname"
    with pytest.raises(BundleError) as caught:
        check_graph_for(releases()["10.3"], "mine.medge", model)
    assert caught.value.rule == "graph"
    assert str(caught.value) == (
        "E4 graph: mine.medge: TensorRT 10.3 (JetPack 6) does not take this graph: Det "
        "evil?[2Jname: it has no such operator. Replace that operator in the network, or choose "
        "another runtime."
    )
    check_graph_for(releases()["10.3"], "mine.medge", unary("Relu"))
