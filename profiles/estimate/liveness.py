"""Memory that a network's tensors need at once: how long each is needed, and where they crowd."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from medge.profiles.layers import Layer, Layers, Shape

VIEWS = frozenset(
    ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
)  # the same bytes under another shape: runtimes copy nothing
IN_PLACE = frozenset(
    (
        "Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Elu", "Erf", "Exp", "Floor",
        "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Mul", "Neg", "PRelu",
        "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Swish", "Tanh",
    )
)  # fmt: skip
"""What reads each value once and writes it there: its result may take its argument's place.

This is also what fusion saves: an activation that is computed with the convolution before it needs
no second tensor, and neither does one that is computed in the place of its argument.
"""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One piece of memory from the step that writes it to the last that reads it, both included.

    Step 0 is the first layer; an input of the network begins at -1.
    """

    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """The most memory that tensors take at once.

    Parameters
    ----------
    peak_bytes
        At batch 1, for the element sizes of the table.
    exact
        False where the table names no tensors: then it is at most this much.
    """

    peak_bytes: int
    exact: bool


def crowd(layers: Layers, *, reuse: bool = True) -> Crowd:
    """Return the most memory that a network's tensors take at once, in the order of its table.

    Inputs of the network and what nobody reads (its outputs) stay until the end, since the caller
    holds them. Whoever plans memory needs at least this much, and more where it leaves gaps.

    Parameters
    ----------
    reuse
        Whether a result takes the place of an argument that nobody needs any more, where the
        operator allows it (``IN_PLACE``).
    """
    rows = layers.layers
    exact = all(row.inputs is not None and row.outputs is not None for row in rows)
    found = tensors(rows, reuse=reuse) if exact else _longest(rows)
    return Crowd(_peak(found, len(rows)), exact)


def tensors(rows: Sequence[Layer], *, reuse: bool) -> list[Tensor]:
    """Return every piece of memory with the steps at which it is needed.

    The names of the layers' tensors must be known.
    """
    end = len(rows)
    last_read = {name: step for step, row in enumerate(rows) for name in row.inputs or ()}
    pieces: list[Tensor] = []
    place: dict[str, int] = {}  # a tensor's piece; views share one

    def put(name: str, size_bytes: int, first: int, last: int) -> None:
        place[name] = len(pieces)
        pieces.append(Tensor(size_bytes, first, last))

    def extend(name: str, piece: int) -> None:
        place[name] = piece
        last = max(pieces[piece].last, last_read.get(name, end))
        pieces[piece] = replace(pieces[piece], last=last)

    for step, row in enumerate(rows):
        inputs, outputs = row.inputs or (), row.outputs or ()
        for name, size in zip(inputs, _sizes(row.input_shapes, row.input_bytes), strict=True):
            if name not in place:
                put(name, size, -1, end)
        for name, size in zip(outputs, _sizes(row.output_shapes, row.output_bytes), strict=True):
            if row.op in VIEWS and inputs:
                extend(name, place[inputs[0]])
                continue
            taken = _taken(row, step, size, pieces, place) if reuse else None
            if taken is None:
                put(name, size, step, last_read.get(name, end))
            else:
                extend(name, taken)
    return pieces


def _taken(
    row: Layer, step: int, size_bytes: int, pieces: Sequence[Tensor], place: Mapping[str, int]
) -> int | None:
    """Return the piece of an argument that ends with this step and that the result may take."""
    if row.op not in IN_PLACE:
        return None
    for name in row.inputs or ():
        piece = pieces[place[name]]
        if piece.last == step and piece.size_bytes == size_bytes:
            return place[name]
    return None


def _longest(rows: Sequence[Layer]) -> list[Tensor]:
    """Return tensors that last as long as any layer reads one of their shape.

    Without names nobody knows who reads which; no tensor of a network with one input and one output
    can last longer than this.
    """
    end = len(rows)
    last_read = {shape: step for step, row in enumerate(rows) for shape in row.input_shapes}
    viewed = {shape for row in rows if row.op in VIEWS for shape in row.input_shapes}
    found = [Tensor(rows[0].input_bytes, -1, end)] if rows else []
    for step, row in enumerate(rows):
        sizes = _sizes(row.output_shapes, row.output_bytes)
        for shape, size in zip(row.output_shapes, sizes, strict=True):
            # What may be seen under another shape lasts as long as that one, which is not known.
            last = end if shape in viewed else last_read.get(shape, end)
            found.append(Tensor(size, step, last if last > step else end))
    return found


def _peak(found: Iterable[Tensor], steps: int) -> int:
    """Return the largest sum over all steps."""
    change = [0] * (steps + 2)
    for tensor in found:
        change[max(tensor.first, 0)] += tensor.size_bytes
        change[min(tensor.last, steps) + 1] -= tensor.size_bytes
    return max(accumulate(change), default=0)


def _sizes(shapes: Sequence[Shape], size_bytes: int) -> list[int]:
    """Return the bytes of each tensor from those of all together, whose elements are alike."""
    counts = [math.prod(shape) for shape in shapes]
    each = size_bytes // max(1, sum(counts))
    return [count * each for count in counts]
