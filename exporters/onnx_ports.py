"""Fit the inputs and outputs of an ONNX graph to a specification: names, sizes, types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from medge.errors import UsageError

if TYPE_CHECKING:
    from medge.exporters.spec import Spec

DTYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
BATCH = "batch"

Dims = tuple[int | None, ...]  # None: any size


def fit_ports(model: onnx.ModelProto, spec: Spec) -> list[str]:
    """Check and rename the ports of a graph in place; return what was done.

    Raises
    ------
    UsageError
        Rule ``network-input`` or ``network-output``: number, shape or dtype is not what the
        specification says; both are named.
    """
    graph = model.graph
    _drop_listed_weights(graph)
    if len(graph.input) != 1:
        raise UsageError(
            "network-input",
            f"The graph has {len(graph.input)} inputs; a bundle of this version takes 1 picture. "
            "Export the network with one input.",
        )
    _check_input(graph.input[0], spec)
    outputs = _ordered_outputs(graph, spec)
    for value, output in zip(outputs, spec.outputs, strict=True):
        _check_port("network-output", f"Output {output.name}", value, (len(output.classes),))
    wanted = {graph.input[0].name: spec.input.name}
    wanted |= {v.name: o.name for v, o in zip(outputs, spec.outputs, strict=True)}
    renamed = {old: new for old, new in wanted.items() if old != new}
    _rename(graph, dict(renamed))
    return [f"{len(renamed)} inputs and outputs renamed"] if renamed else []


def _drop_listed_weights(graph: onnx.GraphProto) -> None:
    """Take weights off the list of inputs, where files of IR version 3 repeat them."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _check_input(value: onnx.ValueInfoProto, spec: Spec) -> None:
    _check_port("network-input", f"Input {spec.input.name}", value, spec.input.shape)
    found = value.type.tensor_type.elem_type
    if found != DTYPES[spec.input.dtype]:
        raise UsageError(
            "network-input",
            f"The graph's input is {_type_name(found)}, [input] says {spec.input.dtype}. Make the "
            "two agree.",
        )


def _ordered_outputs(graph: onnx.GraphProto, spec: Spec) -> list[onnx.ValueInfoProto]:
    """Return the outputs in the specification's order: by name if all names agree."""
    if len(graph.output) != len(spec.outputs):
        raise UsageError(
            "network-output",
            f"The graph has {len(graph.output)} outputs, the specification has "
            f"{len(spec.outputs)}. Write one [[outputs]] for each, in the graph's order.",
        )
    by_name = {value.name: value for value in graph.output}
    names = [output.name for output in spec.outputs]
    if set(names) == set(by_name):
        return [by_name[name] for name in names]
    return list(graph.output)


def _check_port(rule: str, what: str, value: onnx.ValueInfoProto, promised: Sequence[int]) -> None:
    dims = _dims(value)
    sizes = dims[1:]
    fits = len(sizes) == len(promised) and all(
        found in (None, size) for found, size in zip(sizes, promised, strict=True)
    )
    if not dims or dims[0] not in (None, 1) or not fits:
        raise UsageError(
            rule,
            f"{what} of the graph is {_told(dims)}, the specification says "
            f"{_told((None, *promised))} (batch first, ? for any). Make the two agree.",
        )
    if rule == "network-output" and value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise UsageError(
            rule,
            f"{what} of the graph is {_type_name(value.type.tensor_type.elem_type)}, expected "
            "float32 scores. Export the network with float32 outputs.",
        )
    # A promised size replaces a free one: the runtimes plan better with it.
    shape = value.type.tensor_type.shape
    for dim, size in zip(list(shape.dim)[1:], promised, strict=True):
        dim.dim_value = size


def _dims(value: onnx.ValueInfoProto) -> Dims:
    shape = value.type.tensor_type.shape
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in shape.dim)


def _rename(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    """Give tensors of the whole graph new names, those in the way others."""
    everywhere = _names(graph)
    for new in tuple(renamed.values()):
        if new in everywhere and new not in renamed:
            renamed[new] = _free(new, everywhere | set(renamed.values()))
    _rename_in(graph, renamed)


def _rename_in(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rename_in(inner, renamed)


def _names(graph: onnx.GraphProto) -> set[str]:
    found = {v.name for v in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found |= {*node.input, *node.output}
    return found


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _type_name(kind: int) -> str:
    known = kind in TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(kind)).lower() if known else f"of unknown type {kind}"


def _told(dims: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in dims) or "without a shape"
