"""Gates: limits as `p99 > +5%`, parsed strictly, that fail only when the interval says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from medge.bench.compare import Comparison
from medge.bench.effect import Effect, Unit
from medge.errors import UsageError
from medge.profiles.terms import Text

Outcome = Literal["holds", "fails", "cannot-tell"]

METRICS: dict[str, Unit] = {
    "cold-start": "ns",
    "memory": "bytes",
    "device-memory": "bytes",
    "energy": "mJ",
    "flips": "ratio",
    "misses": "ratio",
}
UNITS: dict[str, tuple[Unit, float]] = {
    "ns": ("ns", 1.0),
    "us": ("ns", 1e3),
    "ms": ("ns", 1e6),
    "s": ("ns", 1e9),
    "B": ("bytes", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "KiB": ("bytes", 2.0**10),
    "MiB": ("bytes", 2.0**20),
    "GiB": ("bytes", 2.0**30),
    "mJ": ("mJ", 1.0),
    "J": ("mJ", 1e3),
    "%": ("ratio", 0.01),
}
_GATE = re.compile(
    r" *([a-z][a-z0-9.-]{0,31}) *([<>]) *([+-]?)([0-9]{1,12}(?:\.[0-9]{1,12})?) *([A-Za-z%]{1,3}) *"
)
_PERCENTILE = re.compile(r"p([1-9][0-9]?(?:\.[0-9]{1,3})?)")


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One limit.

    Parameters
    ----------
    fails
        On which side of the limit it fails.
    change
        Whether the limit is one of B's change against A (signed percent; of rates their difference
        in points), else of B's own figure.
    limit
        As a part of 1 for a change, else in the unit of the metric: ns, bytes, mJ, part of 1.
    """

    text: Text
    metric: Text
    fails: Literal["above", "below"]
    change: bool
    limit: float


class Judged(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a gate: ``value`` within ``low`` and ``high`` against its limit."""

    gate: Gate
    outcome: Outcome
    value: float
    low: float | None
    high: float | None


def parse(text: str) -> Gate:
    """Read a gate: METRIC < or > LIMIT.

    METRIC is a percentile of the stage (p50, p99.9), cold-start, memory, device-memory, energy,
    flips or misses. LIMIT is a signed percent, of B's change against A (``+5%``), or a figure of B
    alone with its unit (``33.3ms``, ``200MB``, ``1%`` of a rate).

    Raises
    ------
    UsageError
        Rule ``gate``.
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise _wrong(text, "is not METRIC, < or >, LIMIT")
    metric, sign, signed, number, unit = found.groups()
    of_latency = _PERCENTILE.fullmatch(metric)
    if of_latency:
        metric = f"p{float(of_latency[1]):g}"
    kind: Unit | None = "ns" if of_latency else METRICS.get(metric)
    if kind is None:
        known = ", ".join(METRICS)
        raise _wrong(text, f"has an unknown metric: there are p50, p90, p99 and so on, {known}")
    if unit not in UNITS:
        raise _wrong(text, f"has an unknown unit: there are {', '.join(UNITS)}")
    of, factor = UNITS[unit]
    if signed and unit != "%":
        raise _wrong(text, "has a signed limit that is no percent")
    if not signed and of != kind:
        raise _wrong(text, f"has a limit in {unit} for a metric in {kind}")
    limit = float(number) * factor
    return Gate(
        text=text.strip(),
        metric=metric,
        fails="above" if sign == ">" else "below",
        change=bool(signed),
        limit=-limit if signed == "-" else limit,
    )


def percentiles(gates: Sequence[Gate]) -> tuple[float, ...]:
    """Return the percentiles that gates name, as parts of 1."""
    found = (_PERCENTILE.fullmatch(gate.metric) for gate in gates)
    return tuple(float(one[1]) / 100.0 for one in found if one is not None)


def judge(gates: Sequence[Gate], comparison: Comparison) -> tuple[Judged, ...]:
    """Hold a comparison against gates.

    A gate fails when the whole interval lies beyond its limit, holds when the whole interval does
    not, and cannot tell between.

    Raises
    ------
    UsageError
        Rule ``gate-metric``: what a gate names was not compared.
    """
    return tuple(_judge(gate, comparison) for gate in gates)


def _judge(gate: Gate, comparison: Comparison) -> Judged:
    effect = next((one for one in comparison.effects if one.metric == gate.metric), None)
    if effect is None:
        why = [told for told in comparison.left_out if told.startswith(f"{gate.metric}: ")]
        raise UsageError(
            "gate-metric",
            f"The gate {gate.text!r} cannot be judged: {why[0] if why else 'neither side has it'}. "
            "Profile both with it, or leave the gate out.",
        )
    value, low, high = _figure(effect, change=gate.change)
    outcome: Outcome = "cannot-tell"
    if low is not None and high is not None:
        above, within = low > gate.limit, high <= gate.limit
        if gate.fails == "below":
            above, within = high < gate.limit, low >= gate.limit
        outcome = "fails" if above else "holds" if within else "cannot-tell"
    return Judged(gate=gate, outcome=outcome, value=value, low=low, high=high)


def _figure(effect: Effect, *, change: bool) -> tuple[float, float | None, float | None]:
    if change:
        return effect.change, effect.low, effect.high
    return effect.b, effect.b_low, effect.b_high


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(
        "gate",
        f"The gate {text[:60]!r} {what}. Write one as 'p99 > +5%' for B's change against A, or as "
        "'p99 > 33.3ms' for B alone.",
    )
