"""fp16 as hardware computes it: an fp32 graph that rounds what an fp16 graph keeps in 16 bits."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper


def rounded_as_half(graph: bytes) -> bytes:
    """Return a graph of fp32 layers whose tensors are rounded wherever an fp16 graph has fp16.

    ONNX Runtime has no fp16 kernels for CPUs: it computes such layers in fp32 and leaves out the
    casts between them, so that only the weights are rounded (1.31: 6 casts are left of a ResNet-18
    with 50 fp16 tensors). GPUs round what a layer writes as well, and add up in fp32, which this
    graph does. Casts that a graph holds itself are kept by every runtime.

    Parameters
    ----------
    graph
        Any ONNX graph; one without fp16 comes back as it is.

    Returns
    -------
    bytes
        A graph of the same inputs and outputs.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    half = _half_tensors(model)
    if not half:
        return graph
    for tensor in model.graph.initializer:
        if tensor.name in half:
            wide = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    nodes = [made for node in model.graph.node for made in _rounding(node, half)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]  # says fp16 of tensors that are fp32 now
    return bytes(model.SerializeToString())


def _half_tensors(model: onnx.ModelProto) -> set[str]:
    graph = model.graph
    named = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        named[value.name] = value.type.tensor_type.elem_type
    return {name for name, kind in named.items() if kind == TensorProto.FLOAT16}


def _rounding(node: onnx.NodeProto, half: set[str]) -> Iterator[onnx.NodeProto]:
    """Yield a node, and behind it the rounding of what it writes in fp16."""
    if _casts_to(node) == TensorProto.FLOAT and node.input[0] in half:
        yield helper.make_node("Identity", node.input, node.output, node.name)
        return
    if _casts_to(node) == TensorProto.FLOAT16:
        yield from _rounded(node.input[0], node.output[0])
        return
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for slot, name in enumerate(node.output):
        if name in half:
            made.output[slot] = f"{name}.wide"
    yield made
    for name in node.output:
        if name in half:
            yield from _rounded(f"{name}.wide", name)


def _rounded(name: str, made: str) -> Iterator[onnx.NodeProto]:
    yield helper.make_node("Cast", [name], [f"{made}.half"], to=TensorProto.FLOAT16)
    yield helper.make_node("Cast", [f"{made}.half"], [made], to=TensorProto.FLOAT)


def _casts_to(node: onnx.NodeProto) -> int | None:
    if node.op_type != "Cast":
        return None
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))
