"""From layers to the kernels that a runtime launches: what each computes and moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medge.profiles.layers import Layer, Layers, Shape

Floats = NDArray[np.float64]

CLASSES = (
    "conv3", "conv", "stem", "pointwise", "depthwise", "grouped", "gemm", "attention",
    "pool", "norm", "elementwise", "move",
)  # fmt: skip
"""Kernels of one class are written alike, so that one efficiency fits them.

``conv3`` are 3x3 convolutions of stride 1, which may be computed by Winograd's way; ``stem`` are
those of at most four channels; ``gemm`` has weights, ``attention`` multiplies two activations.
"""
MATRIX = 8  # classes before this one are computed by matrix units where there are any

NORMS = frozenset(
    (
        "BatchNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "LRN",
        "LpNormalization",
        "Softmax",
        "LogSoftmax",
    )
)
POOLS = frozenset(("AveragePool", "LpPool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"))
MOVES = frozenset(
    (
        "Concat",
        "Transpose",
        "Pad",
        "Resize",
        "Upsample",
        "Gather",
        "GatherElements",
        "GatherND",
        "DepthToSpace",
        "SpaceToDepth",
        "Tile",
        "ScatterND",
        "ScatterElements",
        "TopK",
    )
)
FREE = frozenset(  # a new view of the same memory, or arithmetic on shapes
    (
        "Cast",
        "CastLike",
        "Constant",
        "ConstantOfShape",
        "Dropout",
        "Expand",
        "Flatten",
        "Identity",
        "Range",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
    )
)
ELEMENTWISE = frozenset(
    (
        "Abs", "Add", "And", "BitShift", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal",
        "Erf", "Exp", "Floor", "Gelu", "Greater", "HardSigmoid", "HardSwish", "HardTanh",
        "LeakyRelu", "Less", "Log", "LogSigmoid", "Max", "Mean", "Min", "Mish", "Mod", "Mul",
        "Neg", "Not", "Or", "PRelu", "Pow", "QuickGelu", "Reciprocal", "Relu", "Round", "Selu",
        "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
        "ThresholdedRelu", "Where",
    )
)  # fmt: skip
WINDOWS = (9, 25, 49, 81, 121)  # square kernels of a depthwise convolution
SMALL = 64
"""Tensors of at most this many values hold shapes or scalars; no kernel is timed by them."""


class UnknownOperatorError(ValueError):
    """An operator whose time no class of kernels describes; ``str`` is what to tell the user."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels for one picture, equal ones counted once; arrays of shape (kernels,).

    Parameters
    ----------
    kind
        Index into ``CLASSES``.
    flops, outputs
        Operations, and values written, of one picture.
    depth
        Multiplications and additions that make one value; 1 where there are no products.
    width
        Channels or columns written.
    moved, weights
        Values read and written that grow with the batch, and weights that do not.
    count
        How many kernels of the network are like this.
    """

    kind: NDArray[np.intp]
    flops: Floats
    outputs: Floats
    depth: Floats
    width: Floats
    moved: Floats
    weights: Floats
    count: Floats
    picture: int

    @property
    def launches(self) -> float:
        """Return how many kernels are launched."""
        return float(self.count.sum())


@dataclass(slots=True)
class _Kernel:
    kind: str
    flops: float
    outputs: float
    depth: float
    width: float
    moved: float
    weights: float


def kernels_of(layers: Layers, fuses: bool) -> Kernels:
    """Return the kernels that a runtime launches for one picture.

    Parameters
    ----------
    fuses
        Whether normalisation, activation and the addition of a residual are computed with the
        convolution or product before them, as compilers of networks do.

    Raises
    ------
    UnknownOperatorError
        The table holds an operator of no known class.
    """
    found = _Walk(fuses).walk(layers.layers)
    rows = Counter(
        (CLASSES.index(k.kind), k.flops, k.outputs, k.depth, k.width, k.moved, k.weights)
        for k in found
    )
    table = np.array([(*row, count) for row, count in rows.items()], np.float64).reshape(-1, 8)
    picture = max((math.prod(s) for s in layers.layers[0].input_shapes), default=0)
    return Kernels(
        kind=table[:, 0].astype(np.intp),
        flops=table[:, 1],
        outputs=table[:, 2],
        depth=table[:, 3],
        width=table[:, 4],
        moved=table[:, 5],
        weights=table[:, 6],
        count=table[:, 7],
        picture=picture,
    )


class _Walk:
    """One pass over the layers, with the kernel that may take in what follows."""

    def __init__(self, fuses: bool) -> None:
        self.fuses = fuses
        self.kernels: list[_Kernel] = []
        self.open = False  # the last kernel may take in what follows it
        self.scores: int | None = None  # elements of attention scores between their two products

    def walk(self, layers: Sequence[Layer]) -> list[_Kernel]:
        for layer in layers:
            self._take(layer)
        return self.kernels

    def _take(self, layer: Layer) -> None:
        op, size = layer.op, _size(layer.output_shapes)
        if op in FREE or (size <= SMALL and not layer.flops):
            return
        if op in ("Conv", "ConvTranspose"):
            self._add(_convolution(layer))
            return
        if op in ("Gemm", "MatMul", "Attention", "Einsum"):
            self._product(layer)
            return
        if self.scores is not None and size == self.scores:
            return  # scaled, masked and made a distribution within the attention kernel
        self._simple(layer, size)

    def _product(self, layer: Layer) -> None:
        weighted = layer.weight_bytes > 0 or layer.op == "Gemm"
        kernel = _matrix_product(layer, weighted)
        size = _size(layer.output_shapes)
        if not weighted:
            first = math.prod(layer.input_shapes[0])
            if self.scores is not None and first == self.scores:
                kernel.moved -= first
                self.scores = None
            elif size >= max(map(math.prod, layer.input_shapes)) // 4:
                kernel.moved -= size
                self.scores = size
        self._add(kernel)

    def _simple(self, layer: Layer, size: int) -> None:
        op = layer.op
        fresh = layer.input_bytes / 4
        if op in ELEMENTWISE:
            bias = layer.weight_bytes > 0 and len(layer.input_shapes) == 1
            if self.open and self._joins(op, bias, layer):
                return
            # What follows an addition of two tensors is a kernel of its own in eager execution;
            # a chain on one tensor is an activation that the exporter took apart (GELU, SiLU).
            chained = self.fuses or len(layer.input_shapes) == 1
            self._add(_plain("elementwise", layer, fresh + size), opens=chained)
        elif op in NORMS:
            if op == "BatchNormalization" and self.fuses and self.open:
                return
            self._add(_plain("norm", layer, fresh + size), opens=self.fuses)
        elif op in POOLS or op.startswith(("Reduce", "Arg", "CumSum")):
            self._add(_plain("pool", layer, fresh + size), opens=False)
        elif op in MOVES:
            self._add(_plain("move", layer, fresh + size), opens=False)
        else:
            raise UnknownOperatorError(f"operator {op} belongs to no measured class of kernels")

    def _joins(self, op: str, bias: bool, layer: Layer) -> bool:
        """Tell whether an elementwise layer is computed with the kernel before it."""
        last = self.kernels[-1]
        same = _size(layer.output_shapes) == last.outputs
        if not same:
            return False
        joined = len(layer.input_shapes) > 1
        if joined and self.fuses and op in ("Add", "Sum"):
            last.moved += last.outputs  # the residual is read
            return True
        if joined:  # SiLU is exported as x * sigmoid(x)
            return op == "Mul" and last.kind != "elementwise" and self.fuses
        if self.fuses:
            return True
        return last.kind == "elementwise" or (bias and op == "Add" and last.kind == "gemm")

    def _add(self, kernel: _Kernel, opens: bool = True) -> None:
        self.kernels.append(kernel)
        self.open = opens


def _convolution(layer: Layer) -> _Kernel:
    source, made = layer.input_shapes[0], layer.output_shapes[0]
    if len(source) != 4:
        raise UnknownOperatorError(
            f"operator {layer.op} in {len(source) - 2} dimensions was never measured"
        )
    outputs = math.prod(made)
    depth = layer.flops / (2 * outputs)
    channels = source[1]
    return _Kernel(
        kind=_convolution_kind(depth, source, made),
        flops=layer.flops,
        outputs=outputs,
        depth=depth,
        width=made[1],
        moved=channels * math.prod(source[2:]) + outputs,
        weights=layer.weight_bytes / 4,
    )


def _convolution_kind(depth: float, source: Shape, made: Shape) -> str:
    """Tell the kind from what one output value sums up: channels of its group x window."""
    channels = source[1]
    if depth % channels or depth < channels:
        grouped = depth not in WINDOWS or made[1] % channels
        return "grouped" if grouped else "depthwise"
    if channels <= 4:
        return "stem"
    window = depth / channels
    if window == 1:
        return "pointwise"
    return "conv3" if window == 9 and source[2:] == made[2:] else "conv"


def _matrix_product(layer: Layer, weighted: bool) -> _Kernel:
    outputs = _size(layer.output_shapes)
    width = layer.output_shapes[0][-1]
    return _Kernel(
        kind="gemm" if weighted else "attention",
        flops=layer.flops,
        outputs=outputs,
        depth=max(1.0, layer.flops / (2 * outputs)),
        width=width,
        moved=sum(map(math.prod, layer.input_shapes)) + outputs,
        weights=layer.weight_bytes / 4,
    )


def _plain(kind: str, layer: Layer, moved: float) -> _Kernel:
    size = _size(layer.output_shapes)
    return _Kernel(kind, layer.flops, size, 1.0, 1.0, moved, 0.0)


def _size(shapes: Sequence[Any]) -> int:
    return sum(math.prod(shape) for shape in shapes)
