"""What TensorRT's refusals mean: its own text is never passed on, only what is known of it."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from medge.errors import BundleError

Reason: TypeAlias = Literal[
    "operator",
    "attribute",
    "type",
    "mixed-types",
    "shape",
    "zero-point",
    "uint8",
    "quantised-bias",
    "opset",
    "ports",
    "no-graph",
    "turing-fp32",
    "node",
    "build",
]

REASONS: dict[Reason, str] = {
    "operator": "it has no such operator",
    "attribute": "it does not take it with these attributes",
    "type": "it does not take it with these element types",
    "mixed-types": "its inputs have different element types",
    "shape": "it does not take it with these shapes",
    "zero-point": "it takes no zero point other than 0",
    "uint8": "it would read uint8 as int8, which changes values from 128 on",
    "quantised-bias": "it takes no bias in int32",
    "opset": "the graph's opset is newer than it knows",
    "ports": "inputs or outputs are not what the manifest promises",
    "no-graph": "it cannot read the graph",
    "turing-fp32": "for Turing (compute capability 7.5) it computes no matrix products in fp32",
    "node": "it holds the node to be invalid",
    "build": "it reads the graph and cannot build it",
}

_NEXT = {
    "zero-point": "Use the variant int8, which `medge quantize` makes without zero points.",
    "uint8": "Use the variant int8, which `medge quantize` makes without uint8.",
    "quantised-bias": "Use the variant int8, which `medge quantize` makes with its bias in fp32.",
    "turing-fp32": "Use the variant fp16.",
}
_ELSE = "Choose another variant or --backend onnxruntime, or export the bundle again."

# TensorRT tells by code only which part of itself refused; these words of its parser tell why.
_WORDS: tuple[tuple[str, Reason], ...] = (
    ("Non-zero zero point", "zero-point"),
    ("shiftIsAllZeros", "zero-point"),
    ("Defaulting to INT8", "uint8"),
    ("input has type Int32 but must have type", "quantised-bias"),
    ("FP32 GEMM is not supported", "turing-fp32"),
    ("must have the same type", "mixed-types"),
    ("must have same type", "mixed-types"),
    ("Plugin not found", "operator"),
    ("plugin creator version", "operator"),
    ("does not support", "attribute"),
    ("Failed to convert ONNX dat", "type"),
    ("dimension failed to broadcast", "shape"),
    ("opset", "opset"),
)
_CODES: dict[str, Reason] = {
    "UNSUPPORTED_NODE": "operator",
    "UNSUPPORTED_NODE_ATTR": "attribute",
    "UNSUPPORTED_NODE_INPUT": "attribute",
    "UNSUPPORTED_NODE_DATATYPE": "type",
    "UNSUPPORTED_NODE_DYNAMIC": "shape",
    "UNSUPPORTED_NODE_SHAPE": "shape",
    "UNSUPPORTED_GRAPH": "operator",
    "INVALID_NODE": "node",
    "MODEL_DESERIALIZE_FAILED": "no-graph",
}
_NAME = re.compile(r"[\w.:/-]{1,64}\Z")


class PlanRefusedError(BundleError):
    """The runtime takes a graph not at all, or not for this GPU.

    Attributes
    ----------
    runtime
        Which one, with its version.
    operator
        The ONNX operator that it stopped at; empty where it does not tell.
    reason
        Why; ``REASONS`` has it in words.
    """

    def __init__(self, runtime: str, operator: str, reason: Reason) -> None:
        self.runtime = runtime
        self.operator = operator if _NAME.match(operator) else ""
        self.reason = reason
        where = f" at operator {self.operator}" if self.operator else ""
        super().__init__(
            "graph",
            f"{runtime} refuses the graph{where}: {REASONS[reason]}. {_NEXT.get(reason, _ELSE)}",
        )


def reason_of(code: str, words: str) -> Reason:
    """Return why, from the name of an error code and from the text that came with it."""
    for part, reason in _WORDS:
        if part in words:
            return reason
    return _CODES.get(code, "build")
