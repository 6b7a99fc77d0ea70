"""Types of layers.json: what each layer computes and moves, so that cost needs no graph."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from medge.profiles.terms import Count, read_json

Shape = tuple[Annotated[int, Meta(ge=1)], ...]


class Layer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node of the fp32 graph at batch 1.

    ``flops`` counts a multiplication and its addition as two. The bytes are what the node must at
    least move: its weights, the tensors that it reads, and those that it writes.

    Parameters
    ----------
    inputs, outputs
        Names of the tensors whose shapes stand in ``input_shapes`` and ``output_shapes``, so that
        it can be told how long each is needed. None in tables of ``medge.layers/1``.
    """

    name: str
    op: str
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    flops: Count
    weight_bytes: Count
    input_bytes: Count
    output_bytes: Count
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Hold names to shapes, one each."""
        for names, shapes in (
            (self.inputs, self.input_shapes),
            (self.outputs, self.output_shapes),
        ):
            if names is not None and len(names) != len(shapes):
                raise ValueError("a layer names more or fewer tensors than it gives shapes of")


class Layers(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """Every layer, in an order in which they can run."""

    schema_: Literal["medge.layers/1", "medge.layers/2"] = "medge.layers/2"
    layers: tuple[Layer, ...]


def decode_layers(raw: bytes) -> Layers:
    """Read layers.json strictly; raises ``msgspec.DecodeError`` (``ValidationError``)."""
    return read_json(raw, Layers)


def encode_layers(layers: Layers) -> bytes:
    """Write layers.json so that equal layers have equal bytes."""
    return msgspec.json.encode(layers, order="sorted") + b"\n"
