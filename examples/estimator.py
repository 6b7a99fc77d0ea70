"""Fit the latency model to published measurements, and judge it by rows that it did not see.

``python examples/estimator.py validate DATA.csv`` prints the tables of docs/estimation.md;
``fit DATA.csv`` writes profiles/data/estimator.json. ``--more OTHER.csv --targets SPECS.csv``
judges the installed parameters by measurements of devices that no fit has seen.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from estimator_data import Sample, load
from estimator_fit import Fit
from estimator_folds import SPREADS, judge
from estimator_report import (
    Report,
    anchor_table,
    anchored_rows,
    device_table,
    family_table,
    interval_table,
    kind_table,
    measure,
    rank_table,
    row_table,
    worst_table,
)
from estimator_scores import coverage, errors, quantile, score

from medge.profiles.estimate.parameters import PATH, Limits, Parameters, encode, parameters

TABLES = (
    row_table, device_table, kind_table, family_table, interval_table, anchor_table, rank_table,
    worst_table,
)  # fmt: skip


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("fit", "validate", "both"))
    parser.add_argument("data", type=Path, help="CSV of published measurements")
    parser.add_argument("--more", type=Path, help="CSV of the same form that no fit has seen")
    parser.add_argument("--targets", type=Path, action="append", default=[], help="catalog CSV")
    given = parser.parse_args()
    if given.more is not None:
        judge_others(given.more, given.targets)
        return
    rows, samples = load(given.data, given.targets)
    report = measure(rows, samples)
    if given.command != "fit":
        for table in TABLES:
            for line in table(report):
                print(line)
            sys.stdout.flush()
    if given.command != "validate":
        write(report, given.data)


def write(report: Report, data: Path) -> None:
    """Write the parameters of the fit to all rows, with what left-out boards say of them."""
    core = report.core
    distances = np.abs(report.estimated - report.measured) / report.sds
    limits_of = [quantile(distances[core], np.array(report.device)[core].tolist())]
    for count in (1, 3):
        place, off, sds = anchored_rows(report, count)
        limits_of.append(quantile(np.abs(off) / sds, [report.device[i] for i in place]))
    plain, some, several = (round(limit, 3) for limit in limits_of)
    found = score(report.estimated, report.measured, report.device, core)
    fit = report.full
    made = Parameters(
        schema_="medge.estimator/1",
        date=datetime.date.today().isoformat(),
        data_digest=hashlib.sha256(data.read_bytes()).hexdigest(),
        rows=len(report.samples),
        quantiles=(plain, some, several),
        spreads=SPREADS,
        limits=limits(report.samples),
        errors={
            "left_out_pooled_percent": round(found.pooled, 1),
            "left_out_device_median_percent": round(found.device, 1),
            "left_out_over_2x_percent": round(found.twice_off, 1),
            "left_out_rows": float(found.rows),
        },
        values=rounded(fit),
    )
    PATH.write_bytes(encode(made))
    print(f"{PATH.name}: {len(made.values)} parameters of {made.rows} rows", file=sys.stderr)


def rounded(fit: Fit) -> dict[str, tuple[float, float]]:
    """Return values and standard deviations as they are committed."""
    table = zip(fit.names, fit.values, fit.sds, fit.seen, strict=True)
    return {n: (float(f"{v:.4g}"), float(f"{s:.3g}")) for n, v, s, seen in table if seen}


def limits(samples: list[Sample] | tuple[Sample, ...]) -> Limits:
    """Return the range of what was measured."""
    boards: dict[str, set[str]] = {}
    for s in samples:
        boards.setdefault(f"{s.case.runtime.id}-{s.case.hardware.kind}", set()).add(s.group)
    flops = [float(s.case.kernels.flops @ s.case.kernels.count) for s in samples]
    return Limits(
        batch=(1, max(s.row.batch for s in samples)),
        flops=(min(flops), max(flops)),
        runtimes={name: len(found) for name, found in sorted(boards.items())},
    )


def judge_others(path: Path, specifications: list[Path]) -> None:
    """Print how the installed parameters do on other measurements."""
    refused: Counter[str] = Counter()
    rows, samples = load(path, specifications, refused)
    known = parameters()
    names = tuple(known.values)
    table = np.array([known.values[name] for name in names])
    fit = Fit(names, table[:, 0], table[:, 1], np.ones(len(names), bool), np.empty(0))
    found = judge(fit, samples, list(range(len(samples))))
    measured = np.log([s.row.seconds for s in samples])
    device = [s.row.device for s in samples]
    every = np.ones(len(samples), bool)
    made = score(found.times.log_s, measured, device, every)
    inside = np.abs(found.times.log_s - measured) <= known.quantile(0) * found.sds
    held = coverage(inside, device)
    out = len(rows) - len(samples) - sum(refused.values())
    print(
        f"{len(rows)} rows, {out} left out, {sum(refused.values())} refused, {made.devices} devices"
    )
    for reason, count in refused.most_common():
        print(f"refused {count}: {reason}")
    print(f"pooled {made.pooled:.1f} %, devices' median {made.device:.1f} %")
    mean = np.mean(list(held.values()))
    print(f"over 2x off {made.twice_off:.1f} %; covered, mean device {mean:.0f} %")
    wrong = errors(found.times.log_s, measured)
    for name in dict.fromkeys(device):
        part = np.array(device) == name
        print(f"| {name} | {part.sum()} | {np.median(wrong[part]):.1f} | {held[name]:.0f} % |")


if __name__ == "__main__":
    main()
