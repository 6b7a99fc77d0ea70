"""Count the layers that a graph asks to be computed in fewer bits."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from medge.exporters.graph_view import GraphView

NARROW_TYPES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def count_narrow(model: onnx.ModelProto) -> tuple[int, int]:
    """Return how many compute layers ask for INT8 or fp16, and how many there are.

    A layer asks for INT8 when both its operands come out of DequantizeLinear, and for fp16 when its
    weight is fp16. Only layers with constant weights can ask.
    """
    view = GraphView(model)
    places = view.compute_nodes()
    narrow = sum(_is_integer(view, place) or _is_half(view, place) for place in places)
    return narrow, len(places)


def _is_integer(view: GraphView, place: int) -> bool:
    makers = [view.maker(name) for name in view.nodes[place].input[:2]]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _is_half(view: GraphView, place: int) -> bool:
    for name in view.nodes[place].input[:2]:
        tensor = view.initializers.get(name)
        if tensor is not None and tensor.data_type in NARROW_TYPES:
            return True
        maker = view.maker(name)
        if maker is not None and maker.op_type == "Constant":
            value = view.array(name)
            return value is not None and value.dtype == np.float16
    return False
