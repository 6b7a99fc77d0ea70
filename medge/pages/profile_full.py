"""What `medge profile --full` adds, as rows for people: the tail, operations, load and pauses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from medge.bench.profile.idle_gaps import first_ns, keep_warm
from medge.bench.profile.sweep import best_of
from medge.bench.sections import Absent
from medge.bench.stats import interval_cases, percentile, percentile_interval, worth
from medge.console import percent_text

if TYPE_CHECKING:
    from medge.bench.result import Result
    from medge.bench.sections import IdleGap, Layers, LayerTime, LoadPoint

Row = tuple[str, str, str]
TAIL = "infer-tail"
PERCENTILES = (0.5, 0.99, 0.999)
MOST_SHOWN = 12  # operations; JSON has all
CALLS_SHOWN = (0, 1, 2, 9)
NAME_WIDTH = 24
NO_BIASES = (
    "/WithoutBiases"  # what OpenVINO adds to a convolution's name, whatever it is fused with
)


def tail(result: Result) -> Iterator[Row]:
    """Yield the network alone over minutes, for its rare late calls."""
    taken = next((each for each in result.measurements if each.stage == TAIL), None)
    if taken is None:
        return
    samples_ns = taken.samples_ns
    for p in PERCENTILES:
        bounds = taken.interval(p)
        value = f"{_ms(percentile(samples_ns, p))} ms"
        if bounds is None:
            more = round(interval_cases(p) * len(samples_ns) / max(1.0, worth(samples_ns, p)))
            value = f"needs {max(1, more - len(samples_ns))} more calls"
        else:
            value += f" ({_ms(bounds.low)} to {_ms(bounds.high)})"
        yield ("long tail", f"p{100 * p:g}", value)
    slowest = f"{_ms(max(samples_ns))} ms, of {len(samples_ns)} calls"
    yield ("long tail", "slowest", slowest)


def layers(result: Result) -> Iterator[Row]:
    """Yield the operations that take most, and all of them by kind."""
    found = None if result.sections is None else result.sections.layers
    if isinstance(found, Absent):
        yield ("operations", "not measured", found.reason)
    elif found is not None:
        yield from _layers(found)


def load(result: Result) -> Iterator[Row]:
    """Pictures a second and latency at each load that was tried, and why no more was."""
    points = () if result.sections is None else result.sections.sweep
    best = best_of(points)
    if best is not None:
        most = f"{_rate(best)} at {_named(best)}"
        yield ("load", "most pictures a second", most)
    for point in points:
        yield ("load", _named(point), _point(point))


def pauses(result: Result) -> Iterator[Row]:
    """Yield what calls take after a pause, and what keeping warm would gain."""
    gaps = () if result.sections is None else result.sections.idle_gaps
    for gap in gaps:
        yield ("after a pause", _pause(gap), _calls(gap))
    if not gaps:
        return
    found = keep_warm(gaps)
    if found is None:
        longest = max(gap.gap_ns for gap in gaps) / 1e9
        value = f"gains nothing that was shown, up to pauses of {longest:g} s"
    else:
        value = (
            f"a call every {found.every_ns / 1e9:g} s makes the first picture after "
            f"{found.gap_ns / 1e9:g} s {_ms(found.gain_ns)} ms sooner, for "
            f"{percent_text(found.busy_ratio)} of the time"
        )
    yield ("after a pause", "keeping warm", value)


FULL_SECTIONS: tuple[Callable[[Result], Iterator[Row]], ...] = (tail, layers, load, pauses)


def _layers(found: Layers) -> Iterator[Row]:
    ranked = sorted(found.layers, key=lambda layer: -layer.time_ns)
    for layer in ranked[:MOST_SHOWN]:
        value = f"{layer.kind} {layer.precision}, {_share(layer)}"
        yield ("operations", _short(layer.name), value)
    if len(ranked) > MOST_SHOWN:
        rest = sum(layer.share_ratio for layer in ranked[MOST_SHOWN:])
        left = len(ranked) - MOST_SHOWN
        yield ("operations", f"{left} others", f"{percent_text(rest)} (--json lists all)")
    kinds: Counter[str] = Counter()
    for layer in found.layers:
        kinds[f"{layer.kind} {layer.precision}"] += round(1e6 * layer.share_ratio)
    most = (f"{name} {percent_text(part / 1e6)}" for name, part in kinds.most_common(6))
    yield ("operations", "by kind", ", ".join(most))
    total = sum(layer.time_ns for layer in found.layers)
    said = f"{_ms(total)} ms, medians of {found.runs} watched calls, which are slower than others"
    yield ("operations", "together", f"{said} ({found.source})")


def _share(layer: LayerTime) -> str:
    return f"{_ms(layer.time_ns)} ms, {percent_text(layer.share_ratio)}"


def _named(point: LoadPoint) -> str:
    return f"batch {point.batch}, {point.streams} stream{'s' * (point.streams > 1)}"


def _rate(point: LoadPoint) -> str:
    return "not measured" if point.pictures_per_s is None else f"{point.pictures_per_s:.3g}"


def _point(point: LoadPoint) -> str:
    if point.measurement is None or point.pictures_per_s is None:
        return point.reason or "not measured"
    samples_ns = point.measurement.samples_ns
    told = f"p50 {_ms(percentile(samples_ns, 0.5))} ms"
    if percentile_interval(samples_ns, 0.9) is not None:
        told += f", p90 {_ms(percentile(samples_ns, 0.9))} ms"
    return f"{_rate(point)} a second; a call {told}"


def _pause(gap: IdleGap) -> str:
    return f"{gap.gap_ns / 1e9:g} s" if gap.gap_ns else "none"


def _calls(gap: IdleGap) -> str:
    places = [call for call in CALLS_SHOWN if call < len(gap.calls_ns[0])]
    told = ", ".join(f"{_ordinal(call + 1)} {_ms(first_ns(gap, call))}" for call in places)
    count = len(gap.calls_ns)
    return f"{told} ms ({count} pause{'s' * (count > 1)})"


def _ordinal(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _short(name: str) -> str:
    """Keep both ends of a long name: they tell block and operation."""
    name = name.removesuffix(NO_BIASES)
    half = (NAME_WIDTH - 1) // 2
    return name if len(name) <= NAME_WIDTH else f"{name[:half]}…{name[-half:]}"


def _ms(time_ns: float) -> str:
    value = time_ns / 1e6
    return f"{value:.4f}" if value < 0.01 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
