"""Results: what one frame was found to be, by what, in what time, or why it was refused."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

RESULT_SCHEMA = "medge.result/1"

Status = Literal["ok", "unscoped", "abstained", "refused", "invalid", "failed", "not-run"]
"""``ok``; ``unscoped``: judged, but a tag that the scope asks for is absent; ``abstained``: too
uncertain; ``refused``: the input broke a rule; ``invalid``: the network's answer is unusable;
``failed``: a bug in medge or a failing runtime, contained so that the other files go on;
``not-run``: the backend runs no network (``null``, which measures what remains)."""

INVALID_RULES = frozenset({"not-finite-output", "not-probabilities"})
"""Rules of an InputError that make a result ``invalid``: they judge the answer, not the file."""


class Fault(Struct, frozen=True, kw_only=True):
    """Why there is no prediction: the rule that was broken, its exit code and what to do."""

    rule: str
    exit_code: int
    message: str


class Timings(Struct, frozen=True, kw_only=True):
    """Time of each stage in nanoseconds; ``read_ns`` is paid once a file, on its first frame."""

    read_ns: int = 0
    decode_ns: int = 0
    prepare_ns: int = 0
    infer_ns: int = 0
    decide_ns: int = 0


class Answer(Struct, frozen=True, kw_only=True):
    """One output's decision; ``labels`` has one class, or any number when multi-label."""

    output: str
    labels: tuple[str, ...]
    scores: dict[str, float]  # class -> probability 0..1, in the bundle's order
    abstained: bool = False  # single-label, and no class was probable enough: no labels


class Result(Struct, frozen=True, kw_only=True, rename={"schema_": "schema"}):
    """The outcome of one frame, or of a whole file that was refused (then ``frame`` is None)."""

    file: str
    frame: int | None  # 0-based
    status: Status
    prediction: str | None  # labels of all answers, joined with "+"; None without a decision
    answers: tuple[Answer, ...]
    fault: Fault | None
    notes: tuple[str, ...]  # steps applied and facts worth knowing, in order
    timings: Timings
    device: str
    backend: str
    precision: str
    placement: dict[str, float] = {}  # precision -> part of the compute layers that runs in it
    bundle: str  # NAME VERSION
    bundle_sha256: str
    demonstration: bool
    schema_: str = RESULT_SCHEMA
