"""Screening: which of several graphs stays closest to fp32 on calibration pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from medge.exporters.network import Tensor
from medge.exporters.plain_session import backend_outputs

if TYPE_CHECKING:
    import onnx

    from medge.engine.manifest import Manifest
    from medge.exporters.calibrate import CalibrationSet
    from medge.exporters.precision import Candidate

PICTURES = 24
CLOSE_RATIO = 1.25
"""Distances of this ratio are equal for the eye of 24 pictures; then the faster graph is taken."""

RUNTIME = "onnxruntime"  # a base dependency, so that the choice is the same with any extras

Stopwatch = Callable[[Sequence[bytes]], Sequence[float]]


class Screen:
    """Measures distances of graphs from the fp32 graph on the same few pictures."""

    def __init__(
        self, model: onnx.ModelProto, pictures: CalibrationSet, manifest: Manifest
    ) -> None:
        count = min(PICTURES, len(pictures))
        step = len(pictures) // count
        self._inputs = [p.copy() for p in islice(pictures, 0, count * step, step)]
        self._manifest = manifest
        self._wanted = self._outputs(model.SerializeToString())
        self.notes: list[str] = []

    def distance(self, graph: bytes) -> float:
        """Return the root mean square error of the outputs, as a part of their spread.

        The spread is the standard deviation over the pictures: 0.1 means that the error is a tenth
        of what one picture differs from another.
        """
        found = self._outputs(graph)
        return max(_error(self._wanted[name], found[name]) for name in self._wanted)

    def best(self, candidates: Sequence[Candidate], stopwatch: Stopwatch | None) -> Candidate:
        """Return the closest graph; among those about as close the fastest."""
        distances = [self.distance(candidate.graph) for candidate in candidates]
        nearest = min(distances)
        close = [
            (distance, candidate)
            for distance, candidate in zip(distances, candidates, strict=True)
            if distance <= CLOSE_RATIO * nearest
        ]
        if stopwatch is not None and len(close) > 1:
            times = stopwatch([candidate.graph for _, candidate in close])
            taken = int(np.argmin(times))
        else:
            taken = int(np.argmin([distance for distance, _ in close]))
        distance, candidate = close[taken]
        self.notes.append(
            f"{candidate.precision}: {candidate.method}; outputs are off by {distance:.2g} of "
            f"their spread on {len(self._inputs)} calibration pictures; {len(candidates)} tried"
        )
        return candidate

    def _outputs(self, graph: bytes) -> Mapping[str, Tensor]:
        found = backend_outputs(RUNTIME, graph, self._inputs, self._manifest)
        if found is None:
            raise RuntimeError(f"{RUNTIME} refuses a graph that was made for it")
        return found


def _error(wanted: Tensor, found: Tensor) -> float:
    spread = float(wanted.std(axis=0).max()) if len(wanted) > 1 else 0.0
    error = float(np.sqrt(np.mean((wanted - found) ** 2)))
    return error / (spread or float(np.abs(wanted).max()) or 1.0)
