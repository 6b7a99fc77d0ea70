"""Procedure: everything that two measurements must share before they may be compared."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from medge.profiles.terms import Count, Positive, Text

Part = Annotated[float, Meta(gt=0, lt=1)]
IMMATERIAL = frozenset({"seed"})  # another order of the same turns measures the same


class WarmUp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Untimed calls go on until two windows of them in a row are alike.

    Alike: Mann and Whitney's test does not tell them apart at ``level``, or their medians differ by
    no more than ``tolerance_ratio``. After ``max_calls`` or ``max_ns`` measuring begins all the
    same, and the measurement says that it did not settle. ``max_calls`` 0: the first calls count.
    """

    window: Annotated[int, Meta(ge=5, le=10_000)] = 10  # below 5 the test cannot reach its level
    level: Part = 0.05
    tolerance_ratio: Part = 0.01
    max_calls: Count = 200
    max_ns: Count = 5_000_000_000


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many calls are timed: until ``max_ns`` are over, between ``min`` and ``max_samples``.

    100 state p50, p90 and p95 with an interval; p99 needs 368 (``stats.interval_cases``).

    A machine that others use changes its speed for seconds, so that many calls at one time tell
    less than few over a long one. ``spells``: calls are timed in so many equal parts of the time,
    between which something else may run. ``kept``: of more samples than these, so many are kept
    that lie evenly among all; None keeps all.
    """

    min_samples: Positive = 100
    max_samples: Positive = 1000
    max_ns: Count = 10_000_000_000
    spells: Positive = 1
    kept: Positive | None = None


class Procedure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How latencies were taken; stored in every result.

    Parameters
    ----------
    span
        What lies inside the timed span: ``infer``, ``file-to-decision``, ...
    threads
        Threads of the runtime, of all streams together; None for the runtime's own choice.
    copies_in, copies_out
        Whether the span holds the copies between the host's and the device's memory.
    rest_ns
        Pause before every call.
    lead_in
        Untimed calls at the start of a turn: they refill the caches after another candidate's.
    turn_calls
        Timed calls of one turn; one sample is their time divided by this. More than 1 only where
        a single call is too short for the clock.
    order
        ``alone``, or ``interleaved``: in every round each candidate has one turn, the order
        shuffled by ``seed``; ``together``: others worked at the same time.
    spinning
        How long the runtime's threads wait for the next call in a loop: ``brief``, a millisecond
        or not at all, or as the ``runtime`` does by default. Results of medge before that say
        ``stopped``.
    cpus
        The CPUs that the process is pinned to, None when it is not.
    clock
        ``perf_counter_ns`` of the host, or events of the GPU's own stream.
    """

    version: Literal[1] = 1
    span: Text = "infer"
    batch: Positive = 1
    streams: Positive = 1
    threads: Positive | None = None
    copies_in: bool = True
    copies_out: bool = True
    warm_up: WarmUp = WarmUp()
    sampling: Sampling = Sampling()
    rest_ns: Count = 0
    lead_in: Count = 0
    turn_calls: Positive = 1
    order: Literal["alone", "interleaved", "together"] = "alone"
    seed: int = 0
    spinning: Literal["brief", "runtime", "stopped"] = "brief"
    cpus: tuple[Count, ...] | None = None
    clock: Literal["perf_counter_ns", "cuda-event"] = "perf_counter_ns"
    collector: Literal["held-off"] = "held-off"  # Python's cyclic garbage collector, in a turn
    percentile_rule: Literal["nearest-rank"] = "nearest-rank"


def differences(a: Procedure, b: Procedure) -> tuple[str, ...]:
    """Return the fields that make two procedures unlike, as ``batch`` or ``warm_up.window``.

    Measurements may be compared when there is none. A seed makes no difference.
    """
    left, right = _flat(msgspec.to_builtins(a)), _flat(msgspec.to_builtins(b))
    return tuple(name for name in left if name not in IMMATERIAL and left[name] != right[name])


def _flat(fields: dict[str, object], above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{above}{name}."))
        else:
            flat[above + name] = value
    return flat
