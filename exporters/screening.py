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

PICTURES = 32
CLOSE_RATIO = 1.25
"""Distances of this ratio are equal for the eye of 32 pictures; then the faster graph is taken."""

RATHER_RATIO = 0.9
"""A later recipe has to take less than this part of the first one's time."""

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

    def errors(self, graph: bytes) -> Tensor:
        """Return the squared error on each picture, as a part of the outputs' variance.

        The variance is that over the pictures: 0.01 means that the error is a tenth of what one
        picture differs from another.
        """
        found = self._outputs(graph)
        parts = [_errors(self._wanted[name], found[name]) for name in self._wanted]
        return np.asarray(np.max(parts, axis=0))

    def distance(self, graph: bytes) -> float:
        """Return the root of the mean of ``errors``."""
        return float(np.sqrt(self.errors(graph).mean()))

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
            fastest = int(np.argmin(times))
            # The recipes stand in the order in which more runtimes are fast with them.
            taken = 0 if times[fastest] > RATHER_RATIO * times[0] else fastest
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


def _errors(wanted: Tensor, found: Tensor) -> Tensor:
    spread = float(wanted.std(axis=0).max()) if len(wanted) > 1 else 0.0
    scale = spread or float(np.abs(wanted).max()) or 1.0
    return np.asarray(np.mean(((wanted - found) / scale) ** 2, axis=1))
