"""The answer of a build bundle's runner, as it is written on the Jetson."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.bench.result import Moment
from medge.profiles.terms import Count, Name, Positive, Sha256, Text

Runtime = Literal["tensorrt", "tensorrt-rtx", "onnxruntime", "null"]


DAY_NS = 86_400 * 10**9
Taken = Annotated[int, Meta(ge=1, le=DAY_NS)]
Part = Annotated[int, Meta(ge=0, le=DAY_NS)]


class Series(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times of the same calls, one each: the host's clock around all, and what CUDA's events tell.

    Only ``host_ns`` is told of a runtime without a GPU.
    """

    host_ns: tuple[Taken, ...]
    enqueue_ns: tuple[Part, ...] = ()
    copy_in_ns: tuple[Part, ...] = ()
    compute_ns: tuple[Part, ...] = ()
    copy_out_ns: tuple[Part, ...] = ()


class BoardGpu(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What CUDA told of the GPU; ``cuda`` is its runtime's version, 12060 for 12.6."""

    compute_capability: Text
    sm_count: Positive
    memory_bytes: Positive
    cuda: Positive


class Board(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the board told of itself: texts of the kernel's files, by their path."""

    machine: Text
    cpus: Positive
    cpuinfo: str
    files: dict[str, str]


class States(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Clocks and temperatures before and after, as the kernel's files tell them."""

    before: dict[str, str]
    after: dict[str, str]


class GraphAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of one graph; ``rule`` and ``reason`` where it could not be measured.

    ``layers`` is TensorRT's own account of the engine. ``outputs`` has by the name of an output one
    row for each golden case, the first of its batch. ``lasted_ns`` is from before the first timed
    call to behind the last.
    """

    variant: Name
    version: Text | None = None
    rule: Name | None = None
    reason: Text | None = None
    build_s: float | None = None
    plan_bytes: Positive | None = None
    plan_sha256: Sha256 | None = None
    gpu: BoardGpu | None = None
    layers: str | None = None
    max_abs: float | None = None
    passed: bool | None = None
    outputs: dict[str, tuple[tuple[float, ...], ...]] = {}
    warm_up_calls_ns: tuple[Taken, ...] = ()
    lasted_ns: Positive | None = None
    series: Series | None = None
    states: States


class BuildAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the runner told, with the digests of what it was told of."""

    build_sha256: Sha256
    bundle_sha256: Sha256
    taken: Moment
    runtime: Runtime
    python: Text
    numpy: Text
    warm_up_ns: Count
    duration_ns: Positive
    board: Board
    graphs: tuple[GraphAnswer, ...]


class AnswerDocument(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """The file; ``sha256`` is the digest of ``result`` with sorted keys and without blanks."""

    schema_: Literal["medge.build-result/1"] = "medge.build-result/1"
    sha256: Sha256
    result: BuildAnswer
