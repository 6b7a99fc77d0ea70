"""What is planted to be found: work in a call, flipped decisions; and series drawn anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from medge.bench.decisions import collect
from medge.bench.measure import Call, Measurement
from medge.engine.bundle import Bundle
from medge.engine.select import choose
from medge.engine.session import Session

WANTED = 0.85  # of what is planted is to be found
BLOCKS = 8  # blocks of a series that are drawn anew: waves as long as they are kept


def busy(call: Call, extra_ns: int) -> Callable[[], None]:
    """Return a call that works so much longer."""

    def longer() -> None:
        call()
        until_ns = time.perf_counter_ns() + extra_ns
        while time.perf_counter_ns() < until_ns:
            pass

    return longer


def resampled(
    a: Measurement, b: Measurement, draw: np.random.Generator, *, paired: bool
) -> tuple[Measurement, Measurement]:
    """Draw two series that differ by nothing but chance, from two of the same candidate.

    Blocks of an eighth are drawn anywhere in the series, so that what follows each other stays
    together (moving block bootstrap, Künsch, Annals of Statistics 17, 1989). Paired: the same
    blocks of both, and which is A is drawn for each. Else two independent draws from A alone.
    """
    count = min(len(a.samples_ns), len(b.samples_ns))
    one, other = np.array(a.samples_ns[:count]), np.array(b.samples_ns[:count])
    if not paired:
        return _taken(a, one[_blocks(count, draw)]), _taken(b, one[_blocks(count, draw)])
    places = _blocks(count, draw)
    swapped = np.repeat(draw.random(-(-count // _size(count))) < 0.5, _size(count))[:count]
    left, right = one[places], other[places]
    return (
        _taken(a, np.where(swapped, right, left)),
        _taken(b, np.where(swapped, left, right)),
    )


def pictures(folder: Path, seed: int, count: int) -> Path:
    """Write PNG pictures of soft spots on speckle, of many sizes and strengths."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64]
    for number in range(count):
        shown = draw.normal(draw.uniform(0.2, 0.7), draw.uniform(0.02, 0.2), (64, 64))
        for _ in range(draw.integers(1, 5)):
            row, column, size = draw.uniform(8, 56), draw.uniform(8, 56), draw.uniform(3, 24)
            spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * size**2))
            shown += draw.uniform(-0.6, 0.6) * spot
        values = np.clip(shown * 255, 0, 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{number:05}.png")
    return folder


def flipping(bundle: Bundle, folder: Path, ratio: float) -> bytes:
    """Return the bundle's graph with one class favoured so that so many decisions flip.

    By how much is found on the pictures of ``folder``.
    """
    (output,) = bundle.manifest.outputs
    with Session(bundle, choose(bundle, "onnxruntime", precision="fp32")) as session:
        found = collect(bundle, session, sorted(folder.iterdir())).outputs[output.name]
    (threshold,) = output.thresholds
    favoured = output.classes.index(threshold.label)
    with np.errstate(divide="ignore"):
        score = found.scores[:, favoured].astype(float)
        distance = np.log(threshold.value / (1 - threshold.value)) - np.log(score / (1 - score))
    below = np.sort(distance[distance > 0])
    needed = round(ratio * len(distance))
    if needed >= len(below):
        raise SystemExit("too few of these pictures can be flipped; take another bundle")
    shift = np.zeros(len(output.classes), np.float32)
    shift[favoured] = output.temperature * (below[needed - 1] + below[needed]) / 2
    return _shifted(bundle.read("model.onnx"), output.name, shift)


def _shifted(model: bytes, name: str, shift: npt.NDArray[np.float32]) -> bytes:
    """Return a graph whose output has ``shift`` added."""
    graph = onnx.load_from_string(model)
    for node in graph.graph.node:
        for place, found in enumerate(node.output):
            if found == name:
                node.output[place] = f"{name}_before"
        for place, found in enumerate(node.input):
            if found == name:
                node.input[place] = f"{name}_before"
    graph.graph.initializer.append(numpy_helper.from_array(shift, "planted"))
    graph.graph.node.append(helper.make_node("Add", [f"{name}_before", "planted"], [name]))
    assert graph.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    whole: bytes = graph.SerializeToString()
    return whole


def _size(count: int) -> int:
    return max(1, count // BLOCKS)


def _blocks(count: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    size = _size(count)
    starts = draw.integers(0, count - size + 1, -(-count // size))
    return (starts[:, None] + np.arange(size)).ravel()[:count]


def _taken(like: Measurement, samples_ns: npt.NDArray[np.int64]) -> Measurement:
    return replace(like, samples_ns=tuple(samples_ns.tolist()))
