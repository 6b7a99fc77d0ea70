"""A variant's own golden outputs, and how far runtimes may stay from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from medge.exporters.network import Tensor
from medge.exporters.plain_session import defined_outputs, runtime_outputs
from medge.exporters.rounded import rounded_as_half

if TYPE_CHECKING:
    from medge.engine.golden import Golden
    from medge.engine.manifest import Manifest
    from medge.exporters.calibrate import CalibrationSet

MARGIN = 2.0
"""What the largest gap found here is multiplied by: another CPU's kernels add up in another order,
and an integer on the edge between two then falls to the other side."""

FEWEST_RATIO = 0.005  # of the largest output: half a step of 8 bits, where no gap was found here
MOST_RATIO = 0.2  # of the largest output: a runtime that is further off computes something else
PICTURES = 8  # calibration pictures that the gap is measured on, beside the golden cases


@dataclass(frozen=True, slots=True)
class VariantGolden:
    """What a variant answers to the golden inputs when it is computed as ONNX defines it."""

    outputs: dict[str, Tensor]
    tolerance: float
    notes: tuple[str, ...]


def variant_golden(
    graph: bytes, golden: Golden, pictures: CalibrationSet, manifest: Manifest
) -> VariantGolden:
    """Compute the golden outputs node by node; measure how far the runtimes here are from them.

    Fused integer layers keep sums that Q/DQ as defined would round, so two correct runtimes differ
    by much more than at fp32: by up to 1.04 on logits of 65 for a ResNet-18.
    """
    cases = next(iter(golden.inputs.values()))
    inputs = [np.ascontiguousarray(cases[i : i + 1]) for i in range(len(cases))]
    meant = rounded_as_half(graph)
    outputs = defined_outputs(meant, inputs, manifest)
    more = [picture.copy() for picture in islice(pictures, PICTURES)]
    defined = defined_outputs(meant, more, manifest)
    notes = []
    gap = 0.0
    for name, found in runtime_outputs(graph, [*inputs, *more], manifest):
        expected = {key: np.concatenate([outputs[key], defined[key]]) for key in outputs}
        apart = _largest_gap(expected, found)
        gap = max(gap, apart)
        notes.append(f"{name} stays within {apart:.2g} of the graph as ONNX defines it")
    largest = max(float(np.abs(array).max()) for array in outputs.values())
    tolerance = min(max(MARGIN * gap, FEWEST_RATIO * largest), MOST_RATIO * largest)
    return VariantGolden(outputs, tolerance, tuple(notes))


def _largest_gap(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    return max(float(np.abs(expected[name] - found[name]).max()) for name in expected)
