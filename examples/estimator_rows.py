"""Rows of published measurements: what each one timed, on which target, and which are left out."""

from __future__ import annotations

import csv
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medge.profiles.estimate.runtimes import Setting, find_runtime

TARGETS = {  # the printed name, where it is not the catalog's
    "NVIDIA A100-SXM4-40GB": "nvidia-a100-40gb-sxm",
    "NVIDIA H200-SXM-141GB": "nvidia-h200",
    "NVIDIA Jetson AGX Xavier": "nvidia-jetson-agx-xavier",
    "NVIDIA Jetson Orin Nano": "nvidia-jetson-orin-nano-8gb",
    "NVIDIA Jetson Xavier NX": "nvidia-jetson-xavier-nx",
    "NVIDIA GeForce GTX TITAN X (Maxwell)": "nvidia-gtx-titan-x",
    "NVIDIA Tesla V100": "nvidia-tesla-v100-16gb",
    "Intel Core i7-1185G7 iGPU": "intel-iris-xe-i7-1185g7",
    "Intel Core i7-12700H iGPU": "intel-iris-xe-i7-12700h",
}
COPY_BYTES_PER_S = 6e9  # pageable memory over PCI Express 3.0 x16
MOST_COPY = 0.25
MOST_SPREAD = 1.5
MOST_CLASH = 1.6


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of one network: seconds a batch."""

    device: str
    model: str
    height: int
    width: int
    batch: int
    precision: str
    runtime: str
    setting: Setting
    seconds: float
    copies: bool
    params_m: float | None
    source: str
    notes: str
    excluded: str = ""

    @property
    def campaign(self) -> str:
        """Return the repository that published it."""
        return self.source.split("@")[0].removeprefix("github:")


def read_rows(path: Path) -> list[Row]:
    """Return every row of a CSV, each with the reason for which it is left out, if any."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [_row(line) for line in csv.DictReader(stream)]
    rows = _twice(rows)
    return _clashing(rows)


def _row(line: Mapping[str, str]) -> Row:
    batch = int(line["batch"]) if line["batch"] else 0
    value = float(line["value"])
    seconds = value / 1e3 if line["metric"] == "latency_ms" else max(batch, 1) / value
    notes = line["notes"]
    copies = "copy" in notes
    height, width = int(line["input_h"]), int(line["input_w"])
    excluded = _reason(line, batch, seconds, 12 * height * width * max(batch, 1) if copies else 0)
    return Row(
        device=line["device"],
        model=line["model"],
        height=height,
        width=width,
        batch=batch,
        precision=line["precision"],
        runtime=line["runtime"],
        setting=find_runtime(line["runtime"]),
        seconds=seconds,
        copies=copies,
        params_m=float(line["params_m"]) if line["params_m"] else None,
        source=line["source"],
        notes=notes,
        excluded=excluded,
    )


def _reason(line: Mapping[str, str], batch: int, seconds: float, copied: int) -> str:
    """Return why a row times no whole network in a comparable way, or nothing."""
    notes = line["notes"]
    spread = re.search(r"min ([\d.]+) max ([\d.]+)", notes)
    rules = (
        ("saturated-streams", "saturated throughput" in notes),
        ("batch-unstated", batch == 0 or "DLA" in notes),
        ("precision-unstated", line["precision"] == "unstated"),
        ("suspect-in-source", "suspect" in notes),
        ("python-bound", "bound by Python" in notes and batch <= 8),
        ("copy-dominates", copied / COPY_BYTES_PER_S > MOST_COPY * seconds),
        ("unstable", spread is not None and float(spread[2]) > MOST_SPREAD * float(spread[1])),
    )
    return next((name for name, holds in rules if holds), "")


def _twice(rows: Sequence[Row]) -> list[Row]:
    """Leave out the second of two equal measurements under two names in one repository."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for row in rows:
        key = (row.campaign, row.device, row.model, row.height, row.batch, row.precision)
        key = (*key, row.runtime, row.seconds)
        again = key in seen and row.setting.threads is None
        seen.add(key)
        kept.append(replace(row, excluded=row.excluded or ("filed-twice" if again else "")))
    return kept


def _clashing(rows: Sequence[Row]) -> list[Row]:
    """Leave out a framework's rows on one device that its own repository's others contradict.

    Per device and framework: the median ratio to the other frameworks there (same network, batch
    and precision). Where it is more than ``MOST_CLASH`` times the median of the other devices, the
    setting was another one (a driver, a build without cuDNN), which no row tells.
    """
    ratios = _framework_ratios([row for row in rows if not row.excluded])
    bad = set()
    for (campaign, framework), devices in ratios.items():
        for device, ratio in devices.items():
            others = [value for name, value in devices.items() if name != device]
            if len(others) >= 2 and ratio > MOST_CLASH * statistics.median(others):
                bad.add((campaign, framework, device))
    return [
        replace(row, excluded="framework-clash")
        if not row.excluded and (row.campaign, row.setting.runtime.id, row.device) in bad
        else row
        for row in rows
    ]


def _framework_ratios(rows: Iterable[Row]) -> dict[tuple[str, str], dict[str, float]]:
    cells: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        key = (row.campaign, row.device, row.model, row.height, row.batch, row.precision)
        cells[key][row.setting.runtime.id] = row.seconds
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (campaign, device, *_), by_framework in cells.items():
        for framework, seconds in by_framework.items():
            others = [value for name, value in by_framework.items() if name != framework]
            if others:
                ratio = seconds / statistics.median(others)
                found[str(campaign), framework][str(device)].append(ratio)
    return {
        key: {device: statistics.median(values) for device, values in devices.items()}
        for key, devices in found.items()
    }


def exclusions(rows: Iterable[Row]) -> Counter[str]:
    """Count the rows that each rule leaves out."""
    return Counter(row.excluded for row in rows if row.excluded)


def target_id(device: str, names: Mapping[str, str]) -> str:
    """Return the catalog's id of a printed device; ``names`` maps lower-case names to ids."""
    return TARGETS.get(device) or names[device.casefold()]
