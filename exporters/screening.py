"""Screening: which of several graphs stays closest to fp32 on calibration pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from medge.exporters.network import Tensor
from medge.exporters.plain_session import backend_outputs, runtime_outputs

if TYPE_CHECKING:
    import onnx

    from medge.engine.manifest import Manifest
    from medge.exporters.calibrate import CalibrationSet
    from medge.exporters.precision import Candidate

PICTURES = 32
MANY_PICTURES = 96  # where small effects must be told from chance
FAR_RATIO = 2.0  # of the closest graph's distance: beyond it speed is no reason to try it first
RATHER_RATIO = 0.9  # a later recipe has to take less than this part of the first one's time

RUNTIME = "onnxruntime"  # a base dependency, so that the choice is the same with any extras

Stopwatch = Callable[[Sequence[bytes]], Sequence[float]]


class Screen:
    """Measures distances of graphs from the fp32 graph on the same few pictures."""

    def __init__(
        self,
        model: onnx.ModelProto,
        pictures: CalibrationSet,
        manifest: Manifest,
        most: int = PICTURES,
    ) -> None:
        count = min(most, len(pictures))
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

    def order(
        self, candidates: Sequence[Candidate], stopwatch: Stopwatch | None
    ) -> list[Candidate]:
        """Return the closest graph of each recipe, the one to try first in front.

        That is the fastest; recipes stand in the order in which more runtimes are fast with them,
        so that another has to be clearly faster than the first. Graphs that are further off than
        FAR_RATIO times the closest come last.
        """
        nearest: dict[str, tuple[float, Candidate]] = {}
        for candidate in candidates:
            name = candidate.recipe.name if candidate.recipe else ""
            found = (self.distance(candidate.graph), candidate)
            if name not in nearest or found[0] < nearest[name][0]:
                nearest[name] = found
        kept = [
            (max(distance, self._elsewhere(candidate.graph)), candidate)
            for distance, candidate in nearest.values()
        ]
        weights = [float(place) for place in range(len(kept))]
        if stopwatch is not None and len(kept) > 1:
            weights = list(stopwatch([candidate.graph for _, candidate in kept]))
            weights[0] *= RATHER_RATIO
            self.notes += [
                f"{_spoken(candidate)}: the runtime that is timed refuses the graph, so it "
                "counts as the slowest"
                for (_, candidate), weight in zip(kept, weights, strict=True)
                if math.isinf(weight)
            ]
        closest = min(distance for distance, _ in kept)
        far = [distance > FAR_RATIO * closest for distance, _ in kept]
        order = sorted(range(len(kept)), key=lambda place: (far[place], weights[place]))
        for distance, candidate in kept:
            self.notes.append(
                f"{_spoken(candidate)}: {candidate.ranges} ranges are the closest; outputs are off "
                f"by {distance:.2g} of their spread on {len(self._inputs)} calibration pictures"
            )
        return [kept[place][1] for place in order]

    def _elsewhere(self, graph: bytes) -> float:
        """Return the largest distance on the other runtimes that are installed here.

        A graph may be close to fp32 as ONNX defines it, and far from it as a runtime fuses it: seen
        with OpenVINO and a ViT whose integers run from layer to layer.
        """
        errors = [
            np.max([_errors(self._wanted[name], found[name]) for name in self._wanted], axis=0)
            for _, found in runtime_outputs(graph, self._inputs, self._manifest, but=RUNTIME)
        ]
        return max((float(np.sqrt(each.mean())) for each in errors), default=0.0)

    def _outputs(self, graph: bytes) -> Mapping[str, Tensor]:
        found = backend_outputs(RUNTIME, graph, self._inputs, self._manifest)
        if found is None:
            raise RuntimeError(f"{RUNTIME} refuses a graph that was made for it")
        return found


def _spoken(candidate: Candidate) -> str:
    return f"{candidate.precision}, {candidate.recipe.name if candidate.recipe else ''}"


def _errors(wanted: Tensor, found: Tensor) -> Tensor:
    spread = float(wanted.std(axis=0).max()) if len(wanted) > 1 else 0.0
    scale = spread or float(np.abs(wanted).max()) or 1.0
    return np.asarray(np.mean(((wanted - found) / scale) ** 2, axis=1))
