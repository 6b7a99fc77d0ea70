"""Fold a graph: constants computed, BatchNorm in its convolution, no node that does nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BundleError

FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
FEWEST_OPSET = 13  # the first with a scale for each channel of a weight


def folded(graph: bytes) -> onnx.ModelProto:
    """Return a graph that computes the same with fewer nodes, in ONNX's own operators.

    ONNX Runtime's basic level does the work: it stays within the standard and is the same on every
    machine. What a later step inserts between two nodes would otherwise stand between a convolution
    and the BatchNorm that belongs into its weights.

    Raises
    ------
    BundleError
        Rule ``graph``: ONNX Runtime refuses it. Rule ``variant-opset``: it is older than 13.
    """
    onnxruntime = silent_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = FATAL
    with tempfile.TemporaryDirectory(prefix="medge-") as folder:
        made = Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(made)
        try:
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes have no base of their own
            raise BundleError(
                "graph",
                f"onnxruntime {onnxruntime.__version__} refuses the fp32 graph "
                f"({type(error).__name__}). Export the bundle again.",
            ) from None
        model = onnx.load(made)
    _keep_standard(model)
    return model


def _keep_standard(model: onnx.ModelProto) -> None:
    """Drop the domains that ONNX Runtime declares and does not use; refuse those that it uses."""
    used = {node.domain for node in model.graph.node}
    foreign = sorted(used - STANDARD_DOMAINS)
    if foreign:
        raise BundleError(
            "graph",
            f"The graph has operators of {len(foreign)} domains beside ONNX's own; no precision "
            "but fp32 can be made of it. Export the bundle with standard operators.",
        )
    kept = [o for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    opset = max(int(o.version) for o in kept)
    if opset < FEWEST_OPSET:
        raise BundleError(
            "variant-opset",
            f"The graph has opset {opset}; Q/DQ with a scale for each channel needs "
            f"{FEWEST_OPSET}. Export the bundle again with --opset {FEWEST_OPSET} or later.",
        )
