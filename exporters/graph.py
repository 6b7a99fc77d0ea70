"""ONNX graphs: stripped of where they were made, checked by ONNX itself, and of a size to store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx

from medge.engine.graph_scan import check_graph
from medge.engine.manifest import MODEL
from medge.errors import BundleError

FILE_CAP_BYTES = (1 << 31) - 1  # one protobuf message


def cleaned(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a graph without its history, after ONNX's own full check.

    Stack traces, local paths and free texts go: they say nothing about the network, and much about
    the machine that it was made on.

    Raises
    ------
    BundleError
        Rule ``graph-size``: 2 GiB or more. Rule ``graph``: ONNX finds it invalid. And the rules of
        ``check_graph``.
    """
    _strip(model)
    check_size(model.ByteSize())
    raw = bytes(model.SerializeToString(deterministic=True))
    check_graph(MODEL, raw)
    try:
        onnx.checker.check_model(raw, full_check=True)
    # The checker's own classes, and what becomes of its words when they quote damaged bytes.
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        RuntimeError,
    ) as error:
        raise BundleError(
            "graph",
            f"ONNX {onnx.__version__} finds the exported graph invalid ({type(error).__name__}). "
            "Export with another version of the framework.",
        ) from error
    return raw


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set."""
    return max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def check_size(size_bytes: int) -> None:
    """Refuse what one ONNX file cannot hold; also asked of the weights before they are a graph."""
    if size_bytes > FILE_CAP_BYTES:
        raise BundleError(
            "graph-size",
            f"The network has {size_bytes} bytes; one ONNX file holds at most {FILE_CAP_BYTES}. "
            "Choose a smaller one.",
        )


def _strip(model: onnx.ModelProto) -> None:
    graph = model.graph
    described = [model, graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    described += [*_nodes(graph.node), *model.functions]
    for function in model.functions:
        described += _nodes(function.node)
    for message in described:
        message.doc_string = ""
        del message.metadata_props[:]


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[Any]:
    """Yield nodes, and what the graphs within them are made of: all that can carry texts."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            attribute.doc_string = ""
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield inner
                    yield from (*inner.input, *inner.output, *inner.value_info, *inner.initializer)
                    yield from _nodes(inner.node)
