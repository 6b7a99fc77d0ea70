"""What ONNX Runtime's profiler tells of one run: every node, its provider, its element types."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from medge.engine.placement import Node, Placement, tally

# Convolutions and matrix products, as ONNX and ONNX Runtime's own domains call them. The precision
# is the element type of the first input, the activations.
COMPUTE = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "FusedConv",
        "NhwcConv",
        "NhwcFusedConv",
        "Gemm",
        "FusedGemm",
        "MatMul",
        "FusedMatMul",
        "MatMulNBits",
        "QLinearConv",
        "ConvInteger",
        "QLinearMatMul",
        "MatMulInteger",
        "QGemm",
        "Attention",
        "MultiHeadAttention",
        "QAttention",
    }
)
QUANTIZES_ITSELF = frozenset({"MatMulIntegerToFloat", "DynamicQuantizeMatMul"})

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it
_SUFFIX = "_kernel_time"


class _Facts(Struct, frozen=True):
    op_name: str = ""
    provider: str = ""
    node_index: str = ""
    input_type_shape: list[dict[str, Any]] = []


class _Event(Struct, frozen=True):
    name: str = ""
    dur: int = 0  # microseconds
    args: _Facts = _Facts()


@contextmanager
def private_folder(*, in_memory: bool = True) -> Iterator[Path]:
    """Yield a folder for this user alone, in memory where possible; it goes with all that is in it.

    Parameters
    ----------
    in_memory
        False for what may be large: containers have little shared memory.

    Raises
    ------
    OSError
        There is no place for it.
    """
    memory = in_memory and _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)
    folder = Path(tempfile.mkdtemp(prefix="medge-", dir=_MEMORY if memory else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def placement_of(profile: bytes, provider: str) -> Placement:
    """Read a profile; one that is not whole tells nothing, and then nothing is known to run."""
    try:
        events = msgspec.json.decode(profile, type=list[_Event])
    except msgspec.DecodeError:
        return Placement()
    nodes = {}
    for event in events:
        facts = event.args
        if event.name.endswith(_SUFFIX) and facts.op_name:
            nodes[event.name, facts.node_index] = _node(facts, event.dur, provider)
    return tally(nodes.values())


def _node(facts: _Facts, duration_us: int, provider: str) -> Node:
    first = next(iter(facts.input_type_shape), {})
    precision = next(iter(first), "none")
    if facts.op_name in QUANTIZES_ITSELF:
        precision = "int8"
    computes = facts.op_name in COMPUTE and not _only_scales(facts)
    return Node(
        kind=facts.op_name,
        precision=precision,
        layers=int(computes or facts.op_name in QUANTIZES_ITSELF),
        here=facts.provider == provider,
        time_ns=1000 * duration_us,
    )


def _only_scales(facts: _Facts) -> bool:
    """Whether a convolution multiplies each channel by one number.

    ONNX Runtime turns batch normalisation into such ones; the graph does not count them.
    """
    shapes = [next(iter(tensor.values()), None) for tensor in facts.input_type_shape]
    weights = shapes[1] if facts.op_name == "Conv" and len(shapes) > 1 else None
    return isinstance(weights, list) and len(weights) > 2 and set(weights[1:]) == {1}
