"""What ONNX Runtime's profiler tells of one run: every node, its provider, its element types."""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from medge.engine.placement import PRECISIONS, Node, Placement, TimedNode, tally

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
_CALL = "model_run"  # the event that holds all of one call


class _Facts(Struct, frozen=True):
    op_name: str = ""
    provider: str = ""
    node_index: str = ""
    input_type_shape: list[dict[str, Any]] = []


class _Event(Struct, frozen=True):
    name: str = ""
    ts: int = 0  # when it began, and
    dur: int = 0  # how long it took, in microseconds
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


def placement_of(profile: bytes, provider: str, *, timed: bool = True) -> Placement:
    """Read a profile; one that is not whole tells nothing, and then nothing is known to run.

    Parameters
    ----------
    provider
        Which was asked for; nodes of another count as elsewhere.
    timed
        Whether the durations are those of the work.
    """
    nodes = {
        (event.name, event.args.node_index): _node(event.args, timed * event.dur, provider)
        for event in _events(profile)
        if _is_node(event)
    }
    return tally(nodes.values())


def timed_nodes_of(profile: bytes) -> tuple[TimedNode, ...]:
    """Read what each node took in each call; nothing of a profile that is not whole.

    A node that ran several times in a call, as in a loop, has their sum.
    """
    events = _events(profile)
    calls = sorted((event.ts, event.ts + event.dur) for event in events if event.name == _CALL)
    begins = [begin for begin, _ in calls]
    found: dict[tuple[str, str], tuple[_Facts, list[int]]] = {}
    for event in filter(_is_node, events):
        call = bisect_right(begins, event.ts) - 1
        if call >= 0 and event.ts <= calls[call][1]:
            key = event.name, event.args.node_index
            _, times_us = found.setdefault(key, (event.args, [0] * len(calls)))
            times_us[call] += event.dur
    return tuple(
        TimedNode(name.removesuffix(_SUFFIX), facts.op_name, _precision(facts), _in_ns(times_us))
        for (name, _), (facts, times_us) in found.items()
    )


def _events(profile: bytes) -> list[_Event]:
    try:
        return msgspec.json.decode(profile, type=list[_Event])
    except msgspec.DecodeError:
        return []


def _is_node(event: _Event) -> bool:
    return event.name.endswith(_SUFFIX) and bool(event.args.op_name)


def _in_ns(times_us: list[int]) -> tuple[int, ...]:
    return tuple(1000 * time_us for time_us in times_us)


def _precision(facts: _Facts) -> str:
    """Return the element type of the activations, in medge's words."""
    if facts.op_name in QUANTIZES_ITSELF:
        return "int8"
    told = next(iter(next(iter(facts.input_type_shape), {})), "none")
    return PRECISIONS.get(told, told)


def _node(facts: _Facts, duration_us: int, provider: str) -> Node:
    computes = facts.op_name in COMPUTE and not _only_scales(facts)
    return Node(
        kind=facts.op_name,
        precision=_precision(facts),
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
