"""Bring a graph down to an older opset, and to operators that an older parser knows."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

import onnx
from onnx import defs, helper

from medge.errors import BundleError
from medge.exporters.graph import opset_of
from medge.exporters.graph_view import names_read
from medge.exporters.jetson.lowering_rules import DECOMPOSED, LOWERED, Work, refused

UNCHANGED = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Relu", "LeakyRelu", "PRelu", "Identity", "Where"),
        *("Equal", "GreaterOrEqual", "LessOrEqual", "Flatten", "Transpose", "Squeeze", "IsNaN"),
        *("Unsqueeze", "Constant", "ConstantOfShape", "CumSum", "Cast", "AveragePool", "GRU"),
        *("BatchNormalization", "QuantizeLinear", "DequantizeLinear", "LSTM", "RNN", "HardSwish"),
        *("ScatterElements", "ScatterND", "LpPool", "Mish", "IsInf", "ThresholdedRelu", "Round"),
        *("Conv", "ConvTranspose", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "Dropout"),
        *("GlobalLpPool", "InstanceNormalization", "LpNormalization", "EyeLike"),
        *("HardSigmoid", "Softplus", "Softsign", "Elu", "Selu", "Sin", "Sinh", "Cos", "Cosh"),
        *("Tan", "Asin", "Asinh", "Acos", "Acosh", "Atan", "Atanh"),
    }
)
"""Operators whose later versions only take more types, or have attributes whose default is what
the older version does (ONNX, docs/Changelog.md, 13 to 23)."""

REFUSED_IF_SAID = frozenset({"ScatterND", "ScatterElements"})
"""Their parsers refuse the attribute ``reduction`` by its name, also where it says what is so
without it (onnx-tensorrt 10.1, onnxOpImporters.cpp)."""

OLDEST = 13  # Q and DQ have a scale for each channel from here on
IR_VERSIONS = ((13, 7), (15, 8), (19, 9), (21, 10))  # of onnx 1.8, 1.10, 1.14 and 1.16


def lowered(model: onnx.ModelProto, opset: int, without: Set[str]) -> onnx.ModelProto:
    """Return a copy at ``opset`` or the model's own, whichever is older, without some operators.

    Parameters
    ----------
    model
        Of fixed shapes.
    without
        Operators that are to be written out in others, where that can be done.

    Raises
    ------
    BundleError
        Rule ``lowering``: an operator has no form in that opset; names it and the reason.
    """
    if opset_of(model) < OLDEST:
        raise BundleError(
            "lowering",
            f"The graph has opset {opset_of(model)}; those for a Jetson are made of {OLDEST} and "
            f"later. Export the bundle again with --opset {OLDEST} or later.",
        )
    work = Work(model, min(opset, opset_of(model)))
    nodes = [made for node in model.graph.node for made in _older(work, node, without)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.value_info[:], made.opset_import[:]
    made.graph.node.extend(copies)
    made.opset_import.append(helper.make_opsetid("", work.opset))
    made.ir_version = next(ir for at, ir in reversed(IR_VERSIONS) if work.opset >= at)
    read = names_read(copies) | work.view.outputs
    kept = [t for t in (*model.graph.initializer, *work.constants) if t.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _older(work: Work, node: onnx.NodeProto, without: Set[str]) -> Iterator[onnx.NodeProto]:
    """Yield what stands in a node's place; a rule's own nodes are of the older opset already."""
    now = _version(node.op_type, opset_of(work.model))
    then = _version(node.op_type, work.opset)
    otherwise = then is None or (then != now and node.op_type not in UNCHANGED)
    if node.op_type in DECOMPOSED and (otherwise or node.op_type in without):
        yield from DECOMPOSED[node.op_type](work, node)
    elif node.op_type in REFUSED_IF_SAID:
        yield _plain(_unsaid(node), work.opset)
    elif now == then:
        yield node
    elif then is None:
        raise refused(node, f"opset {work.opset} has no such operator")
    elif node.op_type in LOWERED:
        for made in LOWERED[node.op_type](work, node):
            yield _plain(made, work.opset)
    elif node.op_type in UNCHANGED:
        yield _plain(node, work.opset)
    else:
        raise refused(node, f"opset {now} gave it another meaning than opset {work.opset} has")


def _unsaid(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a copy without the attributes that say what is so without them."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for each in node.attribute:
        if _is_default(node, each):
            made.attribute.remove(each)
    return made


def _version(operator: str, opset: int) -> int | None:
    """Return the opset that last changed an operator, None where there is none yet."""
    try:
        return int(defs.get_schema(operator, opset, "").since_version)
    except defs.SchemaError:
        return None


def _plain(node: onnx.NodeProto, opset: int) -> onnx.NodeProto:
    """Leave out the attributes that an older version does not know and that change nothing."""
    schema = defs.get_schema(node.op_type, opset, "")
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for attribute in node.attribute:
        if attribute.name in schema.attributes:
            continue
        if not _is_default(node, attribute):
            raise refused(node, f"opset {opset} does not know its {attribute.name}")
        made.attribute.remove(attribute)
    if sum(map(bool, node.input)) > schema.max_input:
        raise refused(node, f"opset {opset} takes {schema.max_input} inputs of it")
    return made


def _is_default(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    found: Any = helper.get_attribute_value(attribute)
    known = defs.get_schema(node.op_type, "").attributes.get(attribute.name)
    if known is None:
        return False
    if known.default_value.type == onnx.AttributeProto.UNDEFINED:
        return isinstance(found, list) and set(found) <= {1}  # dilations
    return bool(found == helper.get_attribute_value(known.default_value))
