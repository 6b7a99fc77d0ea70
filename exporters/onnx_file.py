"""Read an ONNX file, with the weights that it keeps in other files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from medge.errors import UsageError

FILE_CAP_BYTES = (1 << 31) - 1  # one protobuf message


def read_onnx(path: Path) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model and what was done while it was read.

    Raises
    ------
    UsageError
        Rule ``source-unreadable``: absent, too large, damaged, or weights beside it are missing.
    """
    try:
        size = path.stat().st_size
        if size > FILE_CAP_BYTES:
            raise _unreadable(path, f"has {size} bytes; one ONNX file holds {FILE_CAP_BYTES}")
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or 'no reason'}") from None
    try:
        model = onnx.load_from_string(raw)
    except Exception:  # protobuf's class differs between its implementations
        raise _unreadable(path, "is not an ONNX file, or is damaged") from None
    # protobuf hands out as bytes what is no UTF-8.
    if not all(isinstance(text, str) for text in _texts(model)):
        raise _unreadable(path, "holds a name that is no UTF-8 text, so it is damaged")
    if not model.graph.node or not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        raise _unreadable(path, "is not an ONNX file, or holds no node of ONNX's own")
    return model, _take_in(model, path)


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Yield every text that means something."""
    for opset in model.opset_import:
        yield opset.domain
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        yield from _texts_of_nodes(function.node)
    yield from _texts_of_graph(model.graph)


def _texts_of_graph(graph: onnx.GraphProto) -> Iterator[object]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    yield from _texts_of_nodes(graph.node)


def _texts_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            for inner in (attribute.g, *attribute.graphs):
                yield from _texts_of_graph(inner)


def _take_in(model: onnx.ModelProto, path: Path) -> list[str]:
    """Bring weights that lie in other files into the model; onnx keeps to the model's folder."""
    outside = [t for t in model.graph.initializer if t.data_location == t.EXTERNAL]
    if not outside:
        return []
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise _unreadable(
            path,
            f"keeps {len(outside)} tensors in another file, which is missing or damaged "
            f"({type(error).__name__}); put it beside this one",
        ) from None
    return [f"{len(outside)} tensors were taken in from files beside it"]


def _unreadable(path: Path, found: str) -> UsageError:
    return UsageError("source-unreadable", f"{path.name} {found}. Export it again.")
