"""Whether TensorRT takes a graph, told from its documents before any parser sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from medge.errors import BundleError
from medge.exporters.graph import opset_of
from medge.exporters.graph_view import GraphView
from medge.exporters.int8_rules import DQ, Q
from medge.exporters.trt_conditions import Context, broken
from medge.exporters.trt_tables import Release, conditions, operators, releases

TYPED = ("Cast", "Constant", "ConstantOfShape")
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_SAID = {
    "type": "its integers are {}",
    "zero-point": "its zero point {}",
    "scale": "its scale {}",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule of a release that a graph breaks.

    Attributes
    ----------
    rule
        ``opset``, ``domain``, ``operator``, ``condition``, ``element-type``, or one of
        ``int8_rules.violations``, each of them about Q and DQ.
    operator, node
        Where; both empty for the graph as a whole.
    found
        What is there, in words.
    """

    rule: str
    operator: str
    node: str
    found: str

    def __str__(self) -> str:
        place = " ".join(word for word in (self.operator, self.node) if word)
        return f"{place}: {self.found}" if place else self.found


def breaches(model: onnx.ModelProto, release: Release) -> tuple[Breach, ...]:
    """Return every rule of a release that a graph breaks; none means legal on paper.

    What the tables cannot tell is left to the parser: what lies inside If, Loop and Scan beyond
    the operators there, and activations of recurrent networks.
    """
    return tuple(_breaches(Context(model), release))


def check_graph_for(release: Release, shown: str, model: onnx.ModelProto) -> None:
    """Refuse a graph that a release does not take.

    Raises
    ------
    BundleError
        Rule ``graph``: names the first operator and what is wrong with it.
    """
    found = breaches(model, release)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise BundleError(
            "graph",
            f"{shown}: {release.shown} does not take this graph: {told(found[0])}{more}. "
            f"{next_step(found[0])}",
        )


def told(breach: Breach) -> str:
    """Return a breach in words for a message."""
    return plain(str(breach))


def plain(words: str) -> str:
    """Return words that cannot drive a terminal: names and attributes are the bundle's."""
    return "".join(c if c.isprintable() else "?" for c in words[:200])


def next_step(breach: Breach) -> str:
    """Return what to do about a breach."""
    if breach.rule == "opset":
        return "Export it again with that opset."
    if breach.rule in ("domain", "operator", "condition", "element-type"):
        return "Replace that operator in the network, or choose another runtime."
    return "Use the variant int8 of `medge quantize`, whose Q/DQ is legal for TensorRT."


def refusals(model: onnx.ModelProto) -> dict[str, tuple[Breach, ...]]:
    """Return the releases of the tables that do not take a graph, each with its breaches."""
    context = Context(model)
    found = {name: tuple(_breaches(context, release)) for name, release in releases().items()}
    return {name: wrong for name, wrong in found.items() if wrong}


def refusal_notes(model: onnx.ModelProto) -> Iterator[str]:
    """Yield which releases do not take a graph as it is, and why."""
    found = refusals(model)
    beyond = {
        name: [breach for breach in wrong if breach.rule != "opset"]
        for name, wrong in found.items()
    }
    older = [releases()[name].shown for name, wrong in beyond.items() if not wrong]
    if older:
        yield (
            f"Its opset {opset_of(model)} is not for {', '.join(older)}; for a Jetson `medge "
            "compile --target` writes an older one"
        )
    for name, wrong in beyond.items():
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield f"{releases()[name].shown} does not take it as it is: {told(wrong[0])}{more}"


def _breaches(context: Context, release: Release) -> Iterator[Breach]:
    view = context.view
    yield from _opset(view.model, release)
    yield from _types(view, release)
    yield from _operators(view.model.graph, release)
    asked = conditions(release.name)
    for node in view.nodes:
        for condition in asked.get(node.op_type, ()):
            said = broken(condition, context, node)
            if said:
                yield Breach("condition", node.op_type, node.name, said)
    kinds = {node.name: node.op_type for node in view.nodes}
    for one in context.violations:
        if one.rule != "operator":  # said above, as of every operator
            words = _SAID.get(one.rule, "{}").format(one.found)
            yield Breach(one.rule, kinds.get(one.node, ""), one.node, words)


def _opset(model: onnx.ModelProto, release: Release) -> Iterator[Breach]:
    opset = opset_of(model)
    oldest, newest = release.opsets
    if not oldest <= opset <= newest:
        yield Breach("opset", "", "", f"opset {opset}, it takes {oldest} to {newest}")


def _operators(graph: onnx.GraphProto, release: Release) -> Iterator[Breach]:
    """Yield what a release has no operator for, in the graphs of branches and loops too."""
    known = operators()
    for node in graph.node:
        if node.domain not in STANDARD_DOMAINS:
            yield Breach("domain", node.op_type, node.name, f"it is of the domain {node.domain}")
        elif release.name not in known.get(node.op_type, ()):
            yield Breach("operator", node.op_type, node.name, "it has no such operator")
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _operators(inner, release)


def _types(view: GraphView, release: Release) -> Iterator[Breach]:
    graph = view.model.graph
    for value in (*graph.input, *graph.output):
        kind = _name(value.type.tensor_type.elem_type)
        if kind not in release.types | release.ports:
            yield Breach("element-type", "", value.name, f"{kind} at the graph's border")
        elif kind not in release.types:
            yield from _uncast(view, value.name, kind)
    scales = {name for node in view.nodes if node.op_type in (Q, DQ) for name in node.input}
    for tensor in graph.initializer:
        kind = _name(tensor.data_type)
        # The types of Q and DQ have rules of their own.
        if kind not in release.types and tensor.name not in scales:
            yield Breach("element-type", "", tensor.name, f"a constant of {kind}")
    for node in view.nodes:
        kind = _made_type(node)
        if kind and kind not in release.types:
            yield Breach("element-type", node.op_type, node.name, f"it makes {kind}")


def _uncast(view: GraphView, name: str, kind: str) -> Iterator[Breach]:
    """Yield who reads a type that inputs may have and nothing else, other than to cast it."""
    for edge in view.readers[name]:
        reader = view.nodes[edge.node]
        if reader.op_type != "Cast":
            yield Breach("element-type", reader.op_type, reader.name, f"it reads {kind}")


def _made_type(node: onnx.NodeProto) -> str:
    """Return the element type that a node names itself, empty where it names none."""
    if node.op_type not in TYPED:
        return ""
    for attribute in node.attribute:
        if attribute.name == "to":
            return _name(attribute.i)
        if attribute.name == "value" and attribute.HasField("t"):
            return _name(attribute.t.data_type)
    return ""


def _name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind))
