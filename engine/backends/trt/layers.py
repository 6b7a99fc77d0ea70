"""TensorRT's account of an engine, read: which layers there are, of which operators, in which type.

The inspector's JSON (``EngineInspector``, detailed) differs between releases: until 10 a tensor has
one text "Format/Datatype", since 11 two fields; what a layer was fused from is in its name until
8.5, since then in "Metadata" too. What a layer computes in is the type of its weights; a layer
without weights computes in the type of what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import msgspec
from msgspec import Struct

from medge.engine.placement import Node, TimedNode

_COMPUTE_KIND = re.compile(r"conv|gemm|matrixmultiply|matmul|fullyconnected|mha", re.IGNORECASE)
_MOVES = frozenset({"Reformat", "Constant", "NoOp", "Shuffle", "Slice", "Concat", "ShapeCall"})
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]{1,512})\]")
_WRAPPED = re.compile(r"\A(?:PWN|Reformatting CopyNode for [^(]*)\((.*)\)\Z")

# As releases write a type: "Row major linear FP16 format", "Half((32,1:8))", "Int8", "kHALF".
_TYPES: tuple[tuple[str, str], ...] = (
    ("bf16", "bf16"),
    ("bfloat", "bf16"),
    ("fp16", "fp16"),
    ("half", "fp16"),
    ("fp8", "fp8"),
    ("int8", "int8"),
    ("int4", "int4"),
    ("fp4", "fp4"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("bool", "bool"),
    ("uint8", "uint8"),
    ("fp32", "fp32"),
    ("float", "fp32"),
)
UNTOLD = "untold"


class _Tensor(Struct, frozen=True):
    both: str = msgspec.field(name="Format/Datatype", default="")
    datatype: str = msgspec.field(name="DataType", default="")
    datatype_: str = msgspec.field(name="Datatype", default="")

    @property
    def words(self) -> str:
        return self.datatype or self.datatype_ or self.both


class _Weights(Struct, frozen=True):
    kind: str = msgspec.field(name="Type", default="")


class _Layer(Struct, frozen=True):
    name: str = msgspec.field(name="Name", default="")
    kind: str = msgspec.field(name="LayerType", default="")
    inputs: tuple[_Tensor, ...] = msgspec.field(name="Inputs", default=())
    outputs: tuple[_Tensor, ...] = msgspec.field(name="Outputs", default=())
    weights: _Weights = msgspec.field(name="Weights", default=_Weights())
    metadata: str = msgspec.field(name="Metadata", default="")


class _Account(Struct, frozen=True):
    layers: tuple[_Layer | str, ...] = msgspec.field(name="Layers", default=())


def layers_of(account: str) -> tuple[_Layer, ...]:
    """Return the layers of an account; none where it is not one, or names them and no more."""
    try:
        told = msgspec.json.decode(account, type=_Account)
    except msgspec.DecodeError:
        return ()
    return tuple(layer for layer in told.layers if isinstance(layer, _Layer))


def nodes_of(account: str, compute: Collection[str]) -> list[Node]:
    """Return every layer with its type and with how many of the graph's operators are in it.

    Parameters
    ----------
    compute
        Names of the graph's convolutions and matrix products.
    """
    known = set(compute)
    return [
        Node(kind=layer.kind, precision=_precision(layer), layers=_count(layer, known))
        for layer in layers_of(account)
    ]


def timed_nodes_of(account: str, layers_ns: dict[str, tuple[int, ...]]) -> tuple[TimedNode, ...]:
    """Return what the profiler told, with kind and type where the account has the layer."""
    known = {layer.name: layer for layer in layers_of(account)}
    return tuple(
        TimedNode(
            name,
            known[name].kind if name in known else "unknown",
            _precision(known[name]) if name in known else UNTOLD,
            times,
        )
        for name, times in layers_ns.items()
    )


def _precision(layer: _Layer) -> str:
    texts = [layer.weights.kind, *(tensor.words for tensor in (*layer.inputs, *layer.outputs))]
    return next((found for text in texts if (found := _type(text))), UNTOLD)


def _type(text: str) -> str:
    words = text.lower()
    return next((name for part, name in _TYPES if part in words), "")


def _count(layer: _Layer, compute: set[str]) -> int:
    """Return how many of the graph's compute layers are in one of the engine's."""
    origins = compute.intersection(_origins(layer))
    if layer.kind in _MOVES:  # it may name the layer that it serves
        return 0
    return max(len(origins), int(bool(_COMPUTE_KIND.search(layer.kind))))


def _origins(layer: _Layer) -> Iterable[str]:
    yield from _ORIGIN.findall(layer.metadata)
    for part in layer.name.split(" + "):
        wrapped = _WRAPPED.match(part)
        yield wrapped[1] if wrapped else part
