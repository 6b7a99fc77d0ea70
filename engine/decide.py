"""Decide: from a network's raw outputs to labels, by the bundle's own operating points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from medge.engine.prediction import Answer
from medge.errors import InputError

if TYPE_CHECKING:
    from medge.engine.manifest import Manifest, Output

MULTI_LABEL_THRESHOLD = 0.5  # for a class of a multi-label output that states none
SUM_TOLERANCE = 1e-3  # float32 softmax over 1000 classes is off by about 1e-6; fp16 by 5e-4
RANGE_TOLERANCE = 1e-6


def decide(
    outputs: Mapping[str, npt.NDArray[Any]], row: int, manifest: Manifest
) -> tuple[Answer, ...]:
    """Return one answer per output of the manifest.

    Parameters
    ----------
    outputs
        Arrays (n, classes) by name, finite, as the graph gives them.
    row
        Which item of the batch.

    Raises
    ------
    InputError
        Rule ``not-probabilities``: an output that should be probabilities is out of 0..1, or does
        not add up to 1.
    """
    return tuple(_answer(outputs[output.name][row].tolist(), output) for output in manifest.outputs)


def _answer(raw: Sequence[float], output: Output) -> Answer:
    values = _ACTIVATIONS[output.activation](raw, output)
    scores = dict(zip(output.classes, values, strict=True))
    thresholds = {threshold.label: threshold.value for threshold in output.thresholds}
    if output.task == "multi-label":
        reached = (
            label
            for label, score in scores.items()
            if score >= thresholds.get(label, MULTI_LABEL_THRESHOLD)
        )
        return Answer(output=output.name, labels=tuple(reached), scores=scores)
    winner = _winner(scores, thresholds)
    abstained = scores[winner] < output.abstain_below
    labels = () if abstained else (winner,)
    return Answer(output=output.name, labels=labels, scores=scores, abstained=abstained)


def _winner(scores: Mapping[str, float], thresholds: Mapping[str, float]) -> str:
    """Return the first class that reaches its threshold, else the best of those without one."""
    for label, value in thresholds.items():
        if scores[label] >= value:
            return label
    rest = (label for label in scores if label not in thresholds)
    return max(rest, key=scores.__getitem__)


def _softmax(raw: Sequence[float], output: Output) -> list[float]:
    """Take the largest logit off first, so that nothing overflows."""
    top = max(raw)
    powers = [math.exp((value - top) / output.temperature) for value in raw]
    total = math.fsum(powers)
    return [power / total for power in powers]


def _sigmoid(raw: Sequence[float], output: Output) -> list[float]:
    """Raise e to negative numbers only, so that nothing overflows."""
    powers = [math.exp(-abs(value) / output.temperature) for value in raw]
    return [
        (1.0 if value >= 0 else power) / (1.0 + power)
        for value, power in zip(raw, powers, strict=True)
    ]


def _probabilities(raw: Sequence[float], output: Output) -> list[float]:
    """Check that the graph keeps its promise; rounding beyond 0 and 1 is taken off."""
    if not all(-RANGE_TOLERANCE <= value <= 1.0 + RANGE_TOLERANCE for value in raw):
        raise _fault(output, f"lie between {min(raw):.4g} and {max(raw):.4g}")
    total = math.fsum(raw)
    if output.task == "single-label" and abs(total - 1.0) > SUM_TOLERANCE:
        raise _fault(output, f"add up to {total:.4g}")
    return [min(1.0, max(0.0, value)) for value in raw]


_ACTIVATIONS = {"softmax": _softmax, "sigmoid": _sigmoid, "none": _probabilities}


def _fault(output: Output, found: str) -> InputError:
    return InputError(
        "not-probabilities",
        f"The network's output {output.name} should be probabilities, but its values {found}. "
        "There is no decision; check the bundle's activation.",
    )
