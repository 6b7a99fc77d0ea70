"""ONNX graphs: stripped of where they were made, named as the bundle says, and checked."""

from __future__ import annotations

from collections.abc import Iterator
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
    size = model.ByteSize()
    if size > FILE_CAP_BYTES:
        raise BundleError(
            "graph-size",
            f"The graph has {size} bytes; one ONNX file holds at most {FILE_CAP_BYTES}. Choose a "
            "smaller network, or one with float16 weights.",
        )
    raw = bytes(model.SerializeToString(deterministic=True))
    check_graph(MODEL, raw)
    try:
        onnx.checker.check_model(raw, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            "graph",
            f"ONNX {onnx.__version__} finds the exported graph invalid ({type(error).__name__}). "
            "Export with another version of the framework.",
        ) from error
    return raw


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set."""
    return max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _strip(model: onnx.ModelProto) -> None:
    for message in (model, *_described(model.graph), *model.functions):
        message.doc_string = ""
        del message.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _described(graph: onnx.GraphProto) -> Iterator[Any]:
    """Yield every message of a graph, and of the graphs within, that can carry texts."""
    yield graph
    yield from (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            attribute.doc_string = ""
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _described(inner)
