"""What a comparison found, as rows for people and one object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from medge.bench.candidates import precision_name
from medge.bench.gates import METRICS
from medge.console import Row, bytes_text, percent_text

if TYPE_CHECKING:
    from medge.bench.compare import Comparison, Side
    from medge.bench.effect import Effect
    from medge.bench.gates import Judged

COLUMNS = (
    *("metric", "unit", "a", "b", "scale", "change", "low", "high", "confidence", "verdict"),
    *("paired", "independent_samples", "missing_samples"),
)
_OUTCOMES = {"holds": "holds", "fails": "FAILS", "cannot-tell": "cannot tell"}


def compare_object(found: Comparison, judged: Sequence[Judged], exit_code: int) -> dict[str, Any]:
    """Return everything that is known, in plain JSON types; changes as parts of 1."""
    return {
        "schema": "medge.compare/1",
        "exit_code": exit_code,
        "verdict": found.latency.verdict,
        **msgspec.to_builtins(found),
        "gates": [msgspec.to_builtins(one) for one in judged],
    }


def compare_columns(form: str) -> Sequence[str]:
    """Return every column for a spreadsheet, and those of a page for people."""
    return COLUMNS if form == "csv" else ("part", "what", "value")


def compare_rows(
    found: Comparison, judged: Sequence[Judged], form: str = "table"
) -> Iterator[Sequence[str]]:
    """Yield the verdict, then what it rests on, then the gates."""
    if form == "csv":
        yield from (_cells(effect) for effect in found.effects)
        return
    for part, what, value in _rows(found, judged):
        yield part, what, printable(value)


def verdict_text(found: Comparison) -> str:
    """Say in one line what B is against A."""
    latency, first = found.latency, found.latency.effects[0]
    words = {"faster": "B is faster", "slower": "B is slower", "cannot-tell": "cannot tell"}
    told = f"{words[latency.verdict]}: {first.metric} {change_text(first)}"
    others = [
        f"{one.metric} is {one.verdict}"
        for one in latency.effects[1:]
        if one.verdict not in ("cannot-tell", first.verdict)
    ]
    if others:
        told += f", but {', '.join(others)}"
    if found.across_devices:
        told += "; on unlike devices"
    return told


def change_text(effect: Effect) -> str:
    """Say a change with its bounds, or how many samples are missing to bound it."""
    points = " points" if effect.scale == "difference" else " %"
    told = f"{100.0 * effect.change:+.3g}{points}"
    if effect.low is None or effect.high is None:
        return f"{told}, not bounded"
    return f"{told} [{100.0 * effect.low:+.3g}, {100.0 * effect.high:+.3g}]"


def judged_text(judged: Judged) -> str:
    """Say what became of a gate, by which figures."""
    gate = judged.gate
    unit = "ratio" if gate.change else _unit_of(judged)
    value, low, high = (
        "-" if figure is None else _signed(figure) if gate.change else figure_text(figure, unit)
        for figure in (judged.value, judged.low, judged.high)
    )
    return f"{_OUTCOMES[judged.outcome]}: {value} [{low}, {high}]"


def printable(text: str) -> str:
    """Replace what could drive a terminal: results may come from elsewhere."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def figure_text(value: float, unit: str) -> str:
    """Write a figure with the unit that people use."""
    if unit == "ns":
        return f"{value / 1e6:.4g} ms"
    if unit == "bytes":
        return bytes_text(int(value))
    return percent_text(value) if unit == "ratio" else f"{value:.4g} {unit}"


def side_text(side: Side) -> str:
    """Say what a side is of."""
    told = side.bundle
    if side.candidate is not None:
        told += f", {side.candidate.backend} {precision_name(side.candidate)}"
    return f"{told}, {side.taken}, {side.device}"


def _rows(found: Comparison, judged: Sequence[Judged]) -> Iterator[Row]:
    latency = found.latency
    yield ("verdict", latency.stage, verdict_text(found))
    for part, side in (("A", found.a), ("B", found.b)):
        yield (part, side.name, side_text(side))
    if found.a.bundle_sha256 != found.b.bundle_sha256:
        unlike = f"{found.a.bundle_sha256[:12]} and {found.b.bundle_sha256[:12]}"
        yield ("bundles", "unlike", unlike)
    for effect in latency.effects:
        yield (latency.stage, effect.metric, _effect(effect))
    yield (latency.stage, "rounds", _rounds(found))
    for effect in found.others:
        yield ("also", effect.metric, _effect(effect))
    for reason in found.left_out:
        metric, _, why = reason.partition(": ")
        yield ("left out", metric, why)
    for one in judged:
        yield ("gates", one.gate.text, judged_text(one))


def _effect(effect: Effect) -> str:
    before, after = (figure_text(figure, effect.unit) for figure in (effect.a, effect.b))
    told = f"{before} → {after}: {change_text(effect)}"
    if effect.verdict != "cannot-tell":
        return f"{told}, {effect.verdict}"
    if effect.missing and effect.independent:
        return f"{told}; {effect.missing} more independent samples are needed"
    return f"{told}, cannot tell"


def _rounds(found: Comparison) -> str:
    latency = found.latency
    confidence = percent_text(latency.effects[0].confidence)
    if latency.paired:
        rounds, what = "shared, so that p50 is compared pair by pair", "processes"
    else:
        rounds, what = "not shared", "sessions"
    allowed = percent_text(latency.session_ratio)
    return (
        f"{rounds}; intervals of {confidence}, widened by {allowed} for what two {what} differ by"
    )


def _unit_of(judged: Judged) -> str:
    return METRICS.get(judged.gate.metric, "ns")


def _signed(ratio: float) -> str:
    return f"{100.0 * ratio:+.3g} %"


def _cells(effect: Effect) -> tuple[str, ...]:
    figures = (effect.a, effect.b, effect.scale, effect.change, effect.low, effect.high)
    return (
        effect.metric,
        effect.unit,
        *("" if figure is None else str(figure) for figure in figures),
        str(effect.confidence),
        effect.verdict,
        str(int(effect.paired)),
        f"{effect.independent:.1f}",
        str(effect.missing),
    )
