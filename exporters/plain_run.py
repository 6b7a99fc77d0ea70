"""Run a graph node by node as it stands, keep every tensor, and find where two networks part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BundleError
from medge.exporters.network import Tensor

FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr

APART_RATIO = 1e-3
"""Part of a tensor's largest value by which it may be off before its node is named.

Looser than the limit on the answers: sums of inner layers cancel, and the first node that is off by
this much is the cause, the later ones its victims.
"""


def run_plainly(
    model: onnx.ModelProto, image: Tensor, wanted: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the tensors ``wanted`` of a graph, None for all, as its nodes stand, none fused.

    Raises
    ------
    BundleError
        Rule ``graph``: ONNX Runtime refuses it, or stops while running it.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = list(wanted or (name for node in model.graph.node for name in node.output if name))
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    onnxruntime = silent_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = FATAL
    try:
        session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        fed = session.get_inputs()[0].name
        values = session.run(names, {fed: image})
    except Exception as error:  # its classes have no base of their own
        raise BundleError(
            "graph",
            f"onnxruntime {onnxruntime.__version__} cannot run the graph ({type(error).__name__}). "
            "Take out operators that are not ONNX's own, or choose another opset.",
        ) from None
    made = zip(names, values, strict=True)
    # Sequences and absent optional values are no tensors.
    return {fed: image} | {name: value for name, value in made if isinstance(value, np.ndarray)}


def first_apart(
    graph: bytes, image: Tensor, expected: Mapping[str, Tensor], layers: Mapping[str, str]
) -> str:
    """Say which node of ``graph`` first gives something else than ``expected``, in one sentence.

    Parameters
    ----------
    expected
        What the network itself computes on ``image``, by the names of the graph's tensors. Tensors
        that it does not have are passed over.
    layers
        Names of layers by the names of tensors, where the framework knows them.
    """
    model = onnx.load_from_string(graph)
    found = run_plainly(model, image)
    compared = 0
    for node in model.graph.node:
        for name in node.output:
            if not _comparable(name, expected, found):
                continue
            compared += 1
            off = _off_ratio(expected[name], found[name])
            if not off <= APART_RATIO:
                layer = f", layer {layers[name]}" if layers.get(name) else ""
                return (
                    f"The first node that differs is {node.name or name} ({node.op_type}{layer}): "
                    f"by {off:.2g} of its largest value, after {compared - 1} that agree."
                )
    if not compared:
        return "The network's inner values have no names in the graph, so no node can be named."
    return (
        f"Run node by node, all {compared} comparable nodes agree: the difference comes from what "
        "the runtime does when it optimises the graph."
    )


def _comparable(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    if name not in expected or name not in found:
        return False
    one, other = expected[name], found[name]
    return one.shape == other.shape and one.size > 0 and np.issubdtype(other.dtype, np.floating)


def _off_ratio(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference as a part of the largest value; NaN where either has one."""
    difference = float(np.abs(expected.astype("f8") - found.astype("f8")).max())
    largest = float(np.abs(expected).max())
    return difference / largest if largest > 0 else difference
