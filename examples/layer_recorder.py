"""Layer tables of torch networks without weights: the operators that torch dispatches, as ONNX's.

``record(network, (1, 3, 224, 224))`` gives what a bundle's layers.json gives for the same network,
in a fraction of a second: the network runs on meta tensors, which have shapes and no values. The
structure is that of eager execution: BatchNormalization stands by itself, where an exported graph
has it folded into the convolution before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medge.exporters.layers_of import FREE, PER_ELEMENT, POOLS, WHOLE_POOLS
from medge.profiles.layers import Layer, Layers

Tensor = torch.Tensor

SAME = frozenset(("_to_copy", "alias", "clone", "contiguous", "detach", "lift_fresh", "zero_"))
"""What ONNX has no node for: its result is its argument, under the same name."""

MADE = frozenset(("empty_like", "full_like", "new_zeros", "new_ones", "ones_like", "zeros_like"))
"""What takes nothing but a shape from its argument: its result is a constant."""

TITLED = frozenset(
    (
        "abs", "add", "ceil", "cos", "div", "elu", "erf", "exp", "expand", "floor", "gelu", "log",
        "max", "mean", "min", "mish", "mul", "neg", "pow", "reciprocal", "relu", "selu", "sigmoid",
        "sin", "softplus", "split", "sqrt", "squeeze", "sub", "tanh", "unsqueeze", "where",
    )
)  # fmt: skip
OPS = {
    "_adaptive_avg_pool2d": "AveragePool",
    "_adaptive_avg_pool3d": "AveragePool",
    "_log_softmax": "LogSoftmax",
    "_native_batch_norm_legit_no_training": "BatchNormalization",
    "_prelu_kernel": "PRelu",
    "_safe_softmax": "Softmax",
    "_softmax": "Softmax",
    "_unsafe_index": "Gather",
    "_unsafe_view": "Reshape",
    "addcmul": "Mul",  # and an addition, in one pass
    "addmm": "Gemm",
    "amax": "ReduceMax",
    "as_strided": "Slice",
    "avg_pool2d": "AveragePool",
    "avg_pool3d": "AveragePool",
    "baddbmm": "MatMul",
    "bmm": "MatMul",
    "cat": "Concat",
    "clamp": "Clip",
    "clamp_min": "Clip",
    "constant_pad_nd": "Pad",
    "convolution": "Conv",
    "cudnn_batch_norm": "BatchNormalization",
    "gather": "GatherElements",
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "hardtanh": "Clip",
    "index": "Gather",
    "index_select": "Gather",
    "leaky_relu": "LeakyRelu",
    "linalg_vector_norm": "ReduceL2",
    "log_sigmoid_forward": "LogSigmoid",
    "masked_fill": "Where",
    "max_pool2d_with_indices": "MaxPool",
    "max_pool3d_with_indices": "MaxPool",
    "mm": "MatMul",
    "native_batch_norm": "BatchNormalization",
    "native_group_norm": "GroupNormalization",
    "native_layer_norm": "LayerNormalization",
    "permute": "Transpose",
    "pixel_shuffle": "DepthToSpace",
    "prelu": "PRelu",
    "reflection_pad2d": "Pad",
    "repeat": "Tile",
    "replication_pad2d": "Pad",
    "reshape": "Reshape",
    "roll": "Concat",
    "rsqrt": "Reciprocal",
    "select": "Gather",
    "silu": "Swish",
    "slice": "Slice",
    "split_with_sizes": "Split",
    "stack": "Concat",
    "sum": "ReduceSum",
    "t": "Transpose",
    "transpose": "Transpose",
    "unbind": "Split",
    "unsafe_split": "Split",
    "upsample_bicubic2d": "Resize",
    "upsample_bilinear2d": "Resize",
    "upsample_nearest2d": "Resize",
    "upsample_trilinear3d": "Resize",
    "var_mean": "ReduceMean",
    "view": "Reshape",
    **{name: name.title() for name in TITLED},
}
"""What each of torch's operators is called in ONNX; an in-place one (``relu_``) as the other."""

FIRST_ONLY = frozenset(
    ("BatchNormalization", "GroupNormalization", "LayerNormalization", "LogSigmoid", "MaxPool")
)  # torch's other results are for training


def record(network: torch.nn.Module, *input_shapes: Sequence[int]) -> Layers:
    """Describe every operator that a network dispatches for inputs of these shapes.

    Parameters
    ----------
    network
        In any mode, on any device; it is neither changed nor computed. Build it under
        ``torch.device("meta")`` to spare its weights' memory, too.
    input_shapes
        One for each argument, the batch included; layers.json holds batch 1. All are float32.

    Raises
    ------
    NotImplementedError
        The network uses an operator of torch that has no name here, or one whose result's shape
        depends on values.
    """
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    weights = {name: tensor.detach().to("meta") for name, tensor in held.items()}
    inputs = tuple(torch.empty(tuple(shape), device="meta") for shape in input_shapes)
    training = network.training
    network.eval()
    recorder = _Recorder(weights.values(), inputs)
    try:
        with torch.no_grad(), torch.device("meta"), recorder:
            torch.func.functional_call(network, weights, inputs)
    finally:
        network.train(training)
    return Layers(layers=tuple(recorder.layers))


class _Recorder(TorchDispatchMode):
    """Writes one layer for each operator that works on what comes from the inputs."""

    def __init__(self, weights: Any, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._names = {id(tensor): f"input_{index}" for index, tensor in enumerate(inputs)}
        self._kept = [*weights, *inputs]  # an id is a tensor's own only while the tensor lives

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self._note(func, args, kwargs or {}, made)
        return made

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
        given = _tensors((args, kwargs))
        read = [tensor for tensor in given if id(tensor) in self._names]
        written = _tensors(made)
        self._kept += written
        name = func.overloadpacket.__name__
        # Weights alone: an exporter folds it, and so does whoever loads the graph.
        if not read or name in MADE:
            return
        if name in SAME:
            self._names[id(written[0])] = self._names[id(read[0])]
            return
        op = _op(name, args, written)
        written = written[:1] if op in FIRST_ONLY else written
        fixed = [tensor for tensor in given if id(tensor) not in self._names]
        if op in ("Slice", "Split", "Expand") and _unchanged(read, written):
            self._names[id(written[0])] = self._names[id(read[0])]
            return
        self._write(op, args, read, written, fixed)

    def _write(
        self,
        op: str,
        args: tuple[Any, ...],
        read: list[Tensor],
        written: list[Tensor],
        fixed: list[Tensor],
    ) -> None:
        index = len(self.layers)
        inputs = tuple(self._names[id(tensor)] for tensor in read)
        outputs = tuple(f"{op}_{index}_{place}" for place in range(len(written)))
        self._names |= {id(t): name for t, name in zip(written, outputs, strict=True)}
        self.layers.append(
            Layer(
                name=f"{op}_{index}",
                op=op,
                input_shapes=tuple(tuple(tensor.shape) for tensor in read),
                output_shapes=tuple(tuple(tensor.shape) for tensor in written),
                flops=_flops(op, args, read, written),
                weight_bytes=sum(map(_bytes, fixed)),
                input_bytes=sum(map(_bytes, read)),
                output_bytes=sum(map(_bytes, written)),
                inputs=inputs,
                outputs=outputs,
            )
        )


def _op(name: str, args: tuple[Any, ...], written: list[Tensor]) -> str:
    if name == "convolution" and args[6]:
        return "ConvTranspose"
    if name in ("mean", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"):
        whole = args[0].dim() == written[0].dim() > 3 and set(written[0].shape[2:]) == {1}
        if whole and args[0].shape[1] == written[0].shape[1]:
            return "GlobalAveragePool"
    op = OPS.get(name) or OPS.get(name.removesuffix("_"))
    if op is None:
        raise NotImplementedError(f"torch's operator {name} has no name in ONNX here; add it")
    return {"Mean": "ReduceMean", "Expand": "Expand"}.get(op, op)


def _flops(op: str, args: tuple[Any, ...], read: list[Tensor], written: list[Tensor]) -> int:
    """Count as ``layers_of`` counts a graph's nodes."""
    output = written[0]
    if op in FREE or not output.is_floating_point():
        return 0
    if op in PRODUCTS:
        return PRODUCTS[op](args, output)
    if op in POOLS:
        return output.numel() * _window(args, output)
    if op in WHOLE_POOLS or op.startswith("Reduce"):
        return read[0].numel()
    return output.numel() * PER_ELEMENT.get(op, 1)


def _conv(args: tuple[Any, ...], output: Tensor) -> int:
    return 2 * output.numel() * math.prod(args[1].shape[1:])


def _conv_transpose(args: tuple[Any, ...], _output: Tensor) -> int:
    return 2 * int(args[0].numel()) * math.prod(args[1].shape[1:])


def _product(args: tuple[Any, ...], output: Tensor) -> int:
    return 2 * output.numel() * int(args[0].shape[-1])


def _sum_and_product(args: tuple[Any, ...], output: Tensor) -> int:
    return 2 * output.numel() * int(args[1].shape[-1])  # the first argument is the bias


PRODUCTS: dict[str, Callable[[tuple[Any, ...], Tensor], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _sum_and_product,
    "MatMul": lambda args, output: (_sum_and_product if len(args) > 2 else _product)(args, output),
}


def _window(args: tuple[Any, ...], output: Tensor) -> int:
    """Return how many values a pooling sees for each that it writes."""
    spatial = output.dim() - 2
    sizes = list(args[1])
    if list(output.shape[2:]) == sizes and len(args) == 2:  # adaptive: told the output's size
        return math.prod(-(-i // o) for i, o in zip(args[0].shape[2:], sizes, strict=True))
    return math.prod(sizes * spatial if len(sizes) == 1 else sizes)


def _unchanged(read: list[Tensor], written: list[Tensor]) -> bool:
    return len(read) == len(written) == 1 and read[0].shape == written[0].shape


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _tensors(values: Any) -> list[Tensor]:
    return list(_distinct(leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)))


def _distinct(tensors: Iterator[Tensor]) -> Iterator[Tensor]:
    seen: set[int] = set()
    for tensor in tensors:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor
