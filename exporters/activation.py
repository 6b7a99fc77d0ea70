"""Hold the activation that a specification names against what the graph itself ends in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx

from medge.errors import UsageError
from medge.exporters.network import Tensor

if TYPE_CHECKING:
    from medge.engine.manifest import Output
    from medge.exporters.spec import Spec

PASSING = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
SUM_SLACK = 1e-4  # float32 sums of a softmax over thousands of classes stay within it


def check_activation(graph: bytes, spec: Spec, answers: Mapping[str, Tensor]) -> None:
    """Refuse a softmax on top of a softmax, and scores that are said to be probabilities.

    Parameters
    ----------
    answers
        The network's own, (n, classes) for every output, on very different pictures.

    Raises
    ------
    UsageError
        Rule ``activation``: names what the graph ends in, what the specification says, and what it
        should say.
    """
    model = onnx.load_from_string(graph)
    for output in spec.outputs:
        last = _last_operator(model.graph, output.name)
        if output.activation == "none":
            _check_probabilities(output, answers[output.name])
        elif last in ("Softmax", "Sigmoid") or _looks_like_softmax(output, answers[output.name]):
            what = f"the operator {last}" if last in ("Softmax", "Sigmoid") else "probabilities"
            raise UsageError(
                "activation",
                f"Output {output.name} already ends in {what}, and the specification asks for "
                f'{output.activation} on top. Write activation = "none".',
            )


def _last_operator(graph: onnx.GraphProto, name: str) -> str:
    """Return what makes the values of a tensor; nodes that only reshape it are passed through."""
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers:
        node = makers[name]
        if node.op_type not in PASSING:
            return str(node.op_type)
        name = node.input[0]
    return ""


def _check_probabilities(output: Output, scores: Tensor) -> None:
    low, high = float(scores.min()), float(scores.max())
    sums = scores.sum(axis=1, dtype="f8")
    single = output.task == "single-label"
    if low < -SUM_SLACK or high > 1 + SUM_SLACK:
        found = f"its values go from {low:.3g} to {high:.3g}"
    elif single and float(np.abs(sums - 1).max()) > SUM_SLACK:
        found = f"they add up to {sums[np.abs(sums - 1).argmax()]:.4g} and not to 1"
    else:
        return
    raise UsageError(
        "activation",
        f'The specification says activation = "none": output {output.name} gives probabilities. '
        f'But {found}. Write "{"softmax" if single else "sigmoid"}" if they are logits.',
    )


def _looks_like_softmax(output: Output, scores: Tensor) -> bool:
    """Whether every answer is a distribution, which logits are for no reason."""
    if output.task != "single-label":
        return False
    sums = scores.sum(axis=1, dtype="f8")
    return bool(scores.min() >= 0 and np.abs(sums - 1).max() <= SUM_SLACK)
