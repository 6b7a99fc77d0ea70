"""Plots: how each kind of measured series is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from medge.bench.report.blocks import Draw
from medge.bench.report.quantities import number
from medge.bench.report.svg import COLOURS
from medge.bench.stats import percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_POINTS = 1500  # of a series; more could not be told apart and would make the page heavy
FEW = 100  # points can be drawn larger
MS = 1e-6  # of a nanosecond


def thinned(values: Sequence[float], most: int = MOST_POINTS) -> tuple[Any, Any]:
    """Return places and values of a series; of a long one the highest of each stretch.

    A late call is what is looked for: it must not be thinned away.
    """
    series = np.asarray(values, float)
    if len(series) <= most:
        return np.arange(len(series)), series
    edges = np.linspace(0, len(series), most + 1).astype(int)
    places = np.array([low + int(np.argmax(series[low:high])) for low, high in pairwise(edges)])
    return places, series[places]


def distribution(samples_ns: Sequence[int], marks: Sequence[tuple[str, int]]) -> Draw:
    """Draw a histogram of latencies, with lines at percentiles.

    What lies 15 % beyond p99 is counted in words at the right, so that one late call does not press
    all others together.
    """

    def draw(canvas: Canvas, narrow: bool) -> None:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - as svg.py: only pages draw

        times = np.asarray(samples_ns) * MS
        far = percentile(samples_ns, 0.99) * MS * 1.15
        shown = times[times <= far]
        axes = canvas.subplots()
        axes.hist(shown, bins=30 if narrow else 60, color=COLOURS["soft"], linewidth=0)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("calls")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="x", visible=False)
        top = axes.get_ylim()[1]
        axes.set_ylim(0, top * 1.25)
        _marked(axes, [(name, mark * MS) for name, mark in marks], top * 1.06)
        if len(shown) < len(times):
            later = (
                f"{len(times) - len(shown)} later, up to {times.max():.3g} ms \N{RIGHTWARDS ARROW}"
            )
            axes.set_title(later, loc="right", color=COLOURS["bad"])

    return draw


def _marked(axes: Axes, marks: Sequence[tuple[str, float]], height: float) -> None:
    """Draw lines with names above them; names that would touch stand one above the other."""
    low, high = axes.get_xlim()
    before, level = -np.inf, 0
    for name, place in sorted(marks, key=lambda mark: mark[1]):
        level = level + 1 if (place - before) / (high - low) < 0.09 else 0
        axes.axvline(place, color=COLOURS["accent"], linewidth=1.2)
        axes.annotate(
            name,
            (place, height),
            xytext=(3, -11 * (level % 3)),
            textcoords="offset points",
            color=COLOURS["accent"],
            va="center",
            annotation_clip=False,
        )
        before = place


def timeline(
    samples_ns: Sequence[int],
    limit_ns: int | None,
    sensors: Sequence[tuple[str, Sequence[float], Sequence[float]]],
) -> Draw:
    """Draw every call in the order taken, and below it what the sensors gave, over seconds.

    Parameters
    ----------
    limit_ns
        A deadline to draw, None for none.
    sensors
        Title with unit, seconds, values; each gets a panel of its own.
    """

    def draw(canvas: Canvas, narrow: bool) -> None:
        heights = [2.4, *(1.0 for _ in sensors)]
        panels = canvas.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        places, times = thinned(samples_ns)
        points = 2.2 if len(places) > FEW else 5
        panels[0].plot(places, times * MS, ".", color=COLOURS["accent"], markersize=points)
        panels[0].set_ylabel("latency, ms")
        panels[0].set_xlabel("call")
        panels[0].set_ylim(0, max(times.max(), limit_ns or 0) * MS * 1.08)
        if limit_ns is not None:
            panels[0].axhline(limit_ns * MS, color=COLOURS["bad"], linewidth=1.2, linestyle="--")
        for panel, (title, seconds, values) in zip(panels[1:], sensors, strict=True):
            at, shown = thinned(values)
            panel.plot(np.asarray(seconds)[at], shown, color=COLOURS["second"], linewidth=1.2)
            panel.set_title(title, color=COLOURS["muted"])
            panel.margins(y=0.2)
            if np.ptp(shown) == 0:
                panel.set_ylim(shown[0] * 0.9 - 1e-9, shown[0] * 1.1 + 1e-9)
        if len(panels) > 1:
            panels[-1].set_xlabel("seconds since the first timed call")

    return draw


def waterfall(stages: Sequence[tuple[str, int]], whole_ns: int | None) -> Draw:
    """Draw the median of each stage where the one before it ends, and of the whole below."""

    def draw(canvas: Canvas, narrow: bool) -> None:
        axes = canvas.subplots()
        start = 0.0
        names = [name for name, _ in stages]
        for row, (name, time_ns) in enumerate(stages):
            colour = COLOURS["accent" if name.startswith("infer") else "soft"]
            axes.barh(row, time_ns * MS, left=start, height=0.62, color=colour)
            _beside(axes, start + time_ns * MS, row, time_ns)
            start += time_ns * MS
        if whole_ns is not None:
            names.append("whole")
            axes.barh(len(stages), whole_ns * MS, height=0.62, color=COLOURS["second"])
            _beside(axes, whole_ns * MS, len(stages), whole_ns)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("ms, median")
        axes.margins(x=0.16)
        axes.set_xlim(left=0)

    return draw


def _beside(axes: Axes, place: float, row: int, time_ns: int) -> None:
    said = number(time_ns * MS)
    axes.annotate(said, (place, row), xytext=(4, 0), textcoords="offset points", va="center")


def roofline(
    points: Sequence[tuple[str, float, float]], peak_flops: float, bytes_s: float, peak_name: str
) -> Draw:
    """Draw a roofline (Williams, Waterman and Patterson, CACM 52(4), 2009) with measured points.

    Parameters
    ----------
    points
        Name, operations for each byte moved, operations a second.
    peak_flops, bytes_s
        Of the device: operations and bytes a second.
    """

    def draw(canvas: Canvas, narrow: bool) -> None:
        axes = canvas.subplots()
        knee = peak_flops / bytes_s
        places = [place for _, place, _ in points]
        low, high = min(*places, knee) / 6, max(*places, knee) * 6
        across = np.geomspace(low, high, 200)
        axes.loglog(across, np.minimum(peak_flops, across * bytes_s) / 1e9, color=COLOURS["ink"])
        for (name, place, reached), mark in zip(points, "osD^vP*X" * 9, strict=False):
            axes.plot(place, reached / 1e9, mark, markersize=7, label=name, color=COLOURS["accent"])
        axes.set_xlabel("operations for each byte moved, FLOP/byte")
        axes.set_ylabel("GFLOP/s")
        axes.set_ylim(min(reached for *_, reached in points) / 4e9, peak_flops / 1e9 * 4)
        axes.text(high, peak_flops / 1e9 * 1.25, peak_name, ha="right", color=COLOURS["muted"])
        canvas.legend(loc="outside lower center", ncols=1 if narrow else 2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: number(value, 1))
            axis.set_minor_formatter(lambda value, _: "")

    return draw


@dataclass(frozen=True, slots=True)
class Traded:
    """A row of the trade-off: latency in ms; flips as an upper bound in percent, None unjudged."""

    name: str
    verdict: str
    middle: float
    low: float
    high: float
    flips: float | None


MARKS = {"yes": ("o", "good"), "no": ("X", "bad"), "open": ("s", "warn")}


def tradeoff(rows: Sequence[Traded], margin: float | None) -> Draw:
    """Draw latency, and beside it how many decisions may differ, one row a candidate.

    Parameters
    ----------
    margin
        Flips that are allowed, in percent; None where nothing was judged: then latency stands
        alone.
    """

    def draw(canvas: Canvas, narrow: bool) -> None:
        widths = [3, 2] if margin is not None else [1]
        panels = canvas.subplots(1, len(widths), squeeze=False, sharey=True, width_ratios=widths)[0]
        for row, one in enumerate(rows):
            mark, colour = MARKS[one.verdict]
            panels[0].plot((one.low, one.high), (row, row), color=COLOURS[colour], linewidth=2.2)
            panels[0].plot(one.middle, row, mark, color=COLOURS[colour], markersize=7.5)
            if margin is not None:
                _flips(panels[1], row, one)
            if narrow:
                _above(panels[0], row, one.name)
        panels[0].set_ylim(len(rows) - 0.5, -0.9 if narrow else -0.6)
        names = [] if narrow else [one.name for one in rows]
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_xlim(0, max(one.high for one in rows) * 1.08)
        panels[0].set_xlabel("ms a picture" if narrow else "ms a picture: median, 95 % interval")
        for panel in panels:
            panel.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
            panel.grid(axis="y", visible=False)
        if margin is not None:
            highest = max([margin, *(one.flips or 0.0 for one in rows)])
            panels[1].set_xlim(-0.04 * highest, highest * 1.25)
            panels[1].axvline(margin, color=COLOURS["bad"], linewidth=1.2, linestyle="--")
            panels[1].set_xlabel("flips, %" if narrow else "flips, %: upper bound, dashed: allowed")

    return draw


def _flips(panel: Axes, row: int, one: Traded) -> None:
    mark, colour = MARKS[one.verdict]
    if one.flips is None:
        panel.text(0, row, "not judged", va="center", color=COLOURS[colour])
    else:
        panel.plot((0, one.flips), (row, row), color=COLOURS[colour], linewidth=2.2)
        panel.plot(one.flips, row, mark, color=COLOURS[colour], markersize=7.5, clip_on=False)


def _above(panel: Axes, row: int, name: str) -> None:
    label = panel.annotate(
        name,
        (0, row),
        xycoords=("axes fraction", "data"),
        xytext=(0, 8),
        textcoords="offset points",
        color=COLOURS["ink"],
        annotation_clip=False,
    )
    label.set_in_layout(False)  # it may reach into the panel beside it


def lines(
    series: Sequence[tuple[str, Sequence[float | None]]],
    places: Sequence[str],
    labels: tuple[str, str],
) -> Draw:
    """Draw a few series of points with lines between them, at evenly spaced places.

    Parameters
    ----------
    series
        Name and one value for each place, None where there is none.
    places
        What stands on the x axis.
    labels
        Of both axes.
    """

    def draw(canvas: Canvas, narrow: bool) -> None:
        axes = canvas.subplots()
        colours = ("accent", "second", "warn", "good", "bad", "muted")
        highest = 0.0
        for (name, values), colour, mark in zip(series, colours * 9, "osD^vP" * 9, strict=False):
            known = [(at, value) for at, value in enumerate(values) if value is not None]
            axes.plot(
                *zip(*known, strict=True),
                f"{mark}-",
                color=COLOURS[colour],
                markersize=5,
                label=name,
            )
            highest = max(highest, *(value for _, value in known))
        step = max(1, len(places) // (6 if narrow else 12))
        axes.set_xticks(range(0, len(places), step), places[::step])
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.set_ylim(0, highest * 1.12)
        if len(series) > 1:
            axes.legend()

    return draw


def frames(latency_ns: Sequence[int | None], deadline_ns: int) -> Draw:
    """Draw every frame of a replayed cine: on time, late, or dropped."""

    def draw(canvas: Canvas, narrow: bool) -> None:
        axes = canvas.subplots()
        limit = deadline_ns * MS
        answered = [(at, ns * MS) for at, ns in enumerate(latency_ns) if ns is not None]
        late = [(at, ms) for at, ms in answered if ms > limit]
        dropped = [(at, 0.0) for at, ns in enumerate(latency_ns) if ns is None]
        kept, _ = thinned([ms for _, ms in answered])
        for some, mark, colour, points in (
            ([answered[place] for place in kept], ".", "accent", 2.5),
            (late, "X", "bad", 3.5 if len(late) > FEW else 6),
            (dropped, "|", "bad", 11),
        ):
            if some:
                at, ms = zip(*some, strict=True)
                axes.plot(at, ms, mark, color=COLOURS[colour], markersize=points)
        axes.axhline(limit, color=COLOURS["bad"], linewidth=1.2, linestyle="--")
        axes.set_title(f"dashed: deadline {number(limit)} ms", loc="right", color=COLOURS["bad"])
        axes.set_ylim(0, max([limit * 1.3, *(ms * 1.1 for _, ms in answered)]))
        axes.set_xlabel("frame, in order of arrival")
        axes.set_ylabel("arrival to decision, ms")

    return draw
