"""Tables of the estimator's accuracy, each figure from fits that did not see what it judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from estimator_baselines import by_peak, by_regression, log_peak
from estimator_data import Sample, single_device_kinds
from estimator_fit import Fit, Floats, Mask, Problem
from estimator_folds import Judged, anchored, judge, leave_out
from estimator_rows import Row, exclusions
from estimator_scores import (
    coverage,
    errors,
    nested_quantiles,
    quantile,
    score,
    spread,
)

SEEDS = range(5)
FEWEST_CELLS = 10  # that two devices share before they are ranked
APART = 1.3


@dataclass
class Report:
    """Samples with their left-out estimates, from which every table is made."""

    rows: Sequence[Row]
    samples: Sequence[Sample]
    problem: Problem
    full: Fit
    judged: list[Judged]

    def __post_init__(self) -> None:
        self.device = [s.row.device for s in self.samples]
        self.group = [s.group for s in self.samples]
        self.measured = np.log([s.row.seconds for s in self.samples])
        self.estimated = np.full(len(self.samples), np.nan)
        self.sds = np.full(len(self.samples), np.nan)
        for part in self.judged:
            self.estimated[part.place] = part.times.log_s
            self.sds[part.place] = part.sds
        alone = single_device_kinds(self.samples)
        self.core = np.array([s.kind not in alone for s in self.samples])

    def where(self, holds: Callable[[Sample], bool]) -> Mask:
        """Return which core rows are such."""
        return np.array([holds(s) for s in self.samples]) & self.core


def measure(rows: Sequence[Row], samples: Sequence[Sample]) -> Report:
    """Fit all rows, then every board left out."""
    problem = Problem(samples)
    full = problem.fit()
    parts = [_is("group", name) for name in sorted({s.group for s in samples})]
    return Report(rows, samples, problem, full, leave_out(problem, samples, parts))


def _is(field: str, value: str) -> Callable[[Sample], bool]:
    return lambda sample: getattr(sample, field) == value


def row_table(report: Report) -> Iterator[str]:
    """Yield how many rows each rule leaves out."""
    found = exclusions(report.rows)
    share = 100 * sum(found.values()) / len(report.rows)
    yield "## Rows"
    yield ""
    yield (
        f"{len(report.rows)} rows, {sum(found.values())} left out ({share:.1f} %), "
        f"{len(report.samples)} judged, {int(report.core.sum())} of them of a runtime that more "
        "than one board has rows of."
    )
    yield ""
    yield "| left out | rows |"
    yield "| --- | --- |"
    yield from (f"| {name} | {count} |" for name, count in found.most_common())
    yield ""


def device_table(report: Report) -> Iterator[str]:
    """Yield the errors with each board left out, beside the baselines."""
    models = {
        "operations / peak": by_peak(report.samples, report.measured, report.group),
        "log-linear ridge": by_regression(report.samples, report.measured, report.group),
        "**roofline of kernels**": report.estimated,
    }
    yield "## One board left out"
    yield ""
    yield "Median absolute error in percent: rows pooled / median of devices' medians."
    yield ""
    yield "| model | core | GPU batch 1 | GPU batch >= 8 | over 2x off | all rows |"
    yield "| --- | --- | --- | --- | --- | --- |"
    small = report.where(lambda s: s.case.hardware.kind == "gpu" and s.row.batch == 1)
    large = report.where(lambda s: s.case.hardware.kind == "gpu" and s.row.batch >= 8)
    whole = np.ones(len(report.core), bool)
    for name, estimated in models.items():
        cells = [
            score(estimated, report.measured, report.device, rows)
            for rows in (report.core, small, large, whole)
        ]
        both = [f"{cell.pooled:.1f} / {cell.device:.1f}" for cell in cells]
        both.insert(3, f"{cells[0].twice_off:.1f} %")
        yield f"| {name} | {' | '.join(both)} |"
    pooled, single = spread(report.estimated, report.measured, report.device, report.core)
    yield ""
    yield (
        f"80 % range over draws of devices: pooled {pooled[0]:.1f}-{pooled[1]:.1f}, devices "
        f"{single[0]:.1f}-{single[1]:.1f}."
    )
    yield ""


def kind_table(report: Report) -> Iterator[str]:
    """Yield the errors of each runtime, and of each device."""
    yield "| runtime and hardware | rows | devices | pooled | devices' median | bias |"
    yield "| --- | --- | --- | --- | --- | --- |"
    kinds = sorted({s.kind for s in report.samples})
    for kind in kinds:
        rows = np.array([s.kind == kind for s in report.samples])
        found = score(report.estimated, report.measured, report.device, rows)
        bias = np.exp(np.median((report.estimated - report.measured)[rows]))
        alone = "" if report.core[rows].any() else " (one board)"
        yield (
            f"| {kind}{alone} | {found.rows} | {found.devices} | {found.pooled:.1f} | "
            f"{found.device:.1f} | {bias:.2f}x |"
        )
    yield ""
    yield "| device | core rows | median error | bias |"
    yield "| --- | --- | --- | --- |"
    for name in sorted(set(report.device)):
        rows = report.where(lambda s, name=name: s.row.device == name)  # type: ignore[misc]
        found = score(report.estimated, report.measured, report.device, rows)
        if found.rows:
            bias = np.exp(np.median((report.estimated - report.measured)[rows]))
            yield f"| {name} | {found.rows} | {found.pooled:.1f} | {bias:.2f}x |"
    yield ""


def family_table(report: Report) -> Iterator[str]:
    """Yield the errors with each family left out, and with family and board left out."""
    families = sorted({s.family for s in report.samples})
    parts = [_is("family", name) for name in families]
    judged = leave_out(report.problem, report.samples, parts)
    estimated = np.full(len(report.samples), np.nan)
    for part in judged:
        estimated[part.place] = part.times.log_s
    wrong = errors(estimated, report.measured)
    ridge = by_regression(report.samples, report.measured, [s.family for s in report.samples])
    yield "## One family of networks left out"
    yield ""
    medians = [float(np.median(wrong[part.place])) for part in judged]
    yield (
        f"{len(families)} families, {len(wrong)} rows: pooled {np.median(wrong):.1f} %, median "
        f"family {np.median(medians):.1f} %; log-linear ridge pooled "
        f"{np.median(errors(ridge, report.measured)):.1f} %."
    )
    yield ""
    yield "| family | rows | error |"
    yield "| --- | --- | --- |"
    for name, part, median in zip(families, judged, medians, strict=True):
        yield f"| {name} | {len(part.place)} | {median:.1f} |"
    yield ""
    yield from _both_out(report)


def _both_out(report: Report) -> Iterator[str]:
    cells: dict[tuple[str, str], int] = defaultdict(int)
    for s in report.samples:
        cells[s.group, s.family] += 1
    large = [cell for cell, count in sorted(cells.items()) if count >= 25]
    outs = [lambda s, c=c: s.group == c[0] or s.family == c[1] for c in large]
    asked = [lambda s, c=c: s.group == c[0] and s.family == c[1] for c in large]
    judged = leave_out(report.problem, report.samples, outs, asked)
    medians = [
        float(np.median(errors(part.times.log_s, report.measured[part.place]))) for part in judged
    ]
    yield (
        f"Family and board both left out, {len(large)} pairs of at least 25 rows: median pair "
        f"{np.median(medians):.1f} %."
    )
    yield ""


def interval_table(report: Report) -> Iterator[str]:
    """Yield how often the interval holds what was measured, by device."""
    distances = np.abs(report.estimated - report.measured) / report.sds
    core = report.core
    device = np.array(report.device)[core].tolist()
    group = np.array(report.group)[core].tolist()
    nested = nested_quantiles(distances[core], device, group)
    limit = np.array([nested[name] for name in group])
    inside = distances[core] <= limit
    each = coverage(inside, device)
    factor = np.exp(limit * report.sds[core])
    rows = 100 * float(inside.mean())
    low = sorted(name for name, value in each.items() if value < 60)
    yield "## Intervals of 80 %"
    yield ""
    yield (
        f"Rows covered {rows:.0f} %, mean device {np.mean(list(each.values())):.0f} %, median "
        f"half-width a factor of {np.median(factor):.2f}; {len(low)} of {len(each)} devices are "
        f"covered below 60 %: {', '.join(low)}."
    )
    alone = ~core
    if alone.any():
        wide = quantile(distances[core], device)
        held = 100 * float((distances[alone] <= wide).mean())
        factor = np.exp(wide * report.sds[alone])
        yield (
            f"Runtimes with one board ({int(alone.sum())} rows, the runtime itself unseen): "
            f"{held:.0f} % covered, median factor {np.median(factor):.2f}."
        )
    yield ""


def anchor_table(report: Report) -> Iterator[str]:
    """Yield the errors after one and after three rows of the board and runtime were measured."""
    yield "## Rows measured on the device"
    yield ""
    yield "| measured rows | pooled | devices' median | covered, mean device | factor |"
    yield "| --- | --- | --- | --- | --- |"
    for count in (1, 3):
        place, off, sds = anchored_rows(report, count)
        names = [report.device[i] for i in place]
        group = [report.group[i] for i in place]
        wrong = 100 * np.abs(np.expm1(off))
        distances = np.abs(off) / sds
        nested = nested_quantiles(distances, names, group)
        limit = np.array([nested[name] for name in group])
        held = coverage(distances <= limit, names)
        each = [np.median(wrong[np.array(names) == name]) for name in dict.fromkeys(names)]
        yield (
            f"| {count} | {np.median(wrong):.1f} | {np.median(each):.1f} | "
            f"{np.mean(list(held.values())):.0f} % | {np.median(np.exp(limit * sds)):.2f} |"
        )
    yield ""


def anchored_rows(report: Report, count: int) -> tuple[list[int], Floats, Floats]:
    """Return core rows, how far off their shifted estimates are, and the stated deviations."""
    place: list[int] = []
    off: list[float] = []
    deviation: list[float] = []
    for part in report.judged:
        for seed in SEEDS:
            rows, centers, sds = anchored(part, report.samples, count, seed)
            for i, center, sd in zip(rows, centers, sds, strict=True):
                if report.core[i]:
                    place.append(i)
                    off.append(center - report.measured[i])
                    deviation.append(sd)
    return place, np.array(off), np.array(deviation)


def rank_table(report: Report) -> Iterator[str]:
    """Yield how often the faster of two devices is told, by a fit that saw neither."""
    pairs = _pairs(report)
    right, peak, cells = 0, 0, 0
    for (one, other), places in pairs.items():
        out = np.array([s.group in (one, other) for s in report.problem.samples])
        fit = report.problem.refit(out)
        flat = [i for place in places for i in place]
        made = judge(fit, report.samples, flat).times.log_s
        for (i, j), (a, b) in zip(places, made.reshape(-1, 2), strict=True):
            slower = report.measured[i] > report.measured[j]
            right += int((a > b) == slower)
            cells += 1
            rates = log_peak(report.samples[i]), log_peak(report.samples[j])
            peak += int((rates[0] < rates[1]) == slower)
    yield "## Ranking"
    yield ""
    yield (
        f"{len(pairs)} pairs of boards that share at least {FEWEST_CELLS} cells (network, size, "
        f"batch, precision, runtime) at least {APART}x apart, {cells} cells, one fit for each pair "
        f"that saw neither: the faster one is told in {100 * right / max(cells, 1):.1f} %; by peak "
        f"rate alone {100 * peak / max(cells, 1):.1f} %."
    )
    yield ""


def _pairs(report: Report) -> dict[tuple[str, str], list[tuple[int, int]]]:
    cells: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
    for i, s in enumerate(report.samples):
        row = s.row
        threads = row.setting.threads
        key = (row.model, row.height, row.batch, row.precision, s.kind, threads, row.campaign)
        if report.core[i]:
            cells[key].setdefault(s.group, i)
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for found in cells.values():
        names = sorted(found)
        for a, one in enumerate(names):
            for other in names[a + 1 :]:
                i, j = found[one], found[other]
                if abs(report.measured[i] - report.measured[j]) >= np.log(APART):
                    pairs[one, other].append((i, j))
    return {pair: places for pair, places in pairs.items() if len(places) >= FEWEST_CELLS}


def worst_table(report: Report, most: int = 15) -> Iterator[str]:
    """Yield the rows that are furthest off."""
    off = np.abs(report.estimated - report.measured)
    yield "## Worst core rows"
    yield ""
    yield "| device | network | batch | precision | runtime | measured ms | estimated ms |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    ranked = [i for i in np.argsort(-off) if report.core[i]][:most]
    for i in ranked:
        row = report.samples[i].row
        yield (
            f"| {row.device} | {row.model} | {row.batch} | {row.precision} | {row.runtime} | "
            f"{1e3 * row.seconds:.3g} | {1e3 * np.exp(report.estimated[i]):.3g} |"
        )
    yield ""
