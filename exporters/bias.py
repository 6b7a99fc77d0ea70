"""Bias correction: what rounding a layer's weights shifts on average, its bias takes back."""

from __future__ import annotations

import numpy as np
import onnx

from medge.exporters.graph_view import GraphView, attribute
from medge.exporters.network import Tensor

BIASED = frozenset({"Conv", "Gemm"})  # layers that have a bias of their own


def corrected_bias(
    view: GraphView, node: onnx.NodeProto, lost: Tensor, mean: Tensor
) -> Tensor | None:
    """Return a layer's new bias, float32 (outputs,); None where it can have none.

    Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
    section 4.2: rounding adds ``-lost @ x`` to the outputs, whose mean is ``-lost @ mean``. The
    border of a picture, where padding is read instead, is treated as its inside.

    Parameters
    ----------
    lost
        The weight minus what its integers stand for, of the weight's shape.
    mean
        The mean of each channel that the layer reads, on calibration pictures.
    """
    if node.op_type == "Conv":
        shift = _convolved(node, lost, mean)
    elif node.op_type == "Gemm" and _is_plain(node):
        shift = (lost if attribute(node, "transB", 0) else lost.T) @ mean
    else:
        return None
    if len(node.input) < 3 or not node.input[2]:
        return shift.astype("f4")
    bias = view.array(node.input[2])
    if bias is None or bias.size != shift.size:
        return None
    return (bias.ravel().astype("f8") + shift).astype("f4")


def _convolved(node: onnx.NodeProto, lost: Tensor, mean: Tensor) -> Tensor:
    """Return the mean over a picture of a convolution whose channels are constant."""
    groups = attribute(node, "group", 1)
    kernels = lost.sum(axis=tuple(range(2, lost.ndim)), dtype="f8")
    parts = kernels.reshape(groups, -1, kernels.shape[1])
    return np.asarray(np.einsum("goi,gi->go", parts, mean.reshape(groups, -1)).ravel())


def _is_plain(node: onnx.NodeProto) -> bool:
    factors = [a.f for a in node.attribute if a.name in ("alpha", "beta")]
    return all(factor == 1.0 for factor in factors) and not attribute(node, "transA", 0)
