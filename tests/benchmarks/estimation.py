"""Estimates against this machine: time and memory of 20 networks under both runtimes.

Run: ``python tests/benchmarks/estimation.py [latency|memory]``; about 8 minutes on a quiet machine,
after ``estimation_networks.py`` wrote the graphs (once, some minutes).

Every network runs in processes of its own. Latency: three networks that are not among the 20 are
measured and given to the estimator as a user gives ``--calibrate``; the 20 judge it. Memory: what
the runtimes take was fitted to 12 other networks by ``estimation.py fit``, which writes
``profiles/data/runtime_memory.csv``; the 20 judge it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from estimation_networks import FITTED, JUDGED, SIDES, graph_of, layers_of_graph
from pairs import verdict

from medge.profiles.device import describe
from medge.profiles.estimate import LatencyEstimate, Measured, estimate_latency
from medge.profiles.estimate.memory import (
    DATA,
    RuntimeMemory,
    estimate_memory,
    footprint,
    process_bytes,
)
from medge.profiles.here import targets_here

RUNTIMES = ("onnxruntime", "openvino")
ANCHORS = ("resnet34", "mobilenet_v3_small", "vit_b_32")  # chosen before anything was measured
ROUNDS = 2
ENOUGH_MS = 1500.0
MOST_OFF_RATIO, MOST_OFF_BYTES = 0.15, 20e6
CHILD = Path(__file__).with_name("estimation_child.py")


def main() -> None:
    """Measure, estimate, compare."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("what", nargs="?", choices=("latency", "memory", "fit"))
    what = asked.parse_args().what
    if what == "fit":
        fit()
        return
    if what != "latency":
        memory()
    if what != "memory":
        latency()


def child(runtime: str, name: str, *, batch: int = 1, runs: int = 3) -> dict[str, Any]:
    """Run one network in a process of its own."""
    words = (runtime, graph_of(name), SIDES[name], batch, runs)
    done = subprocess.run(
        [sys.executable, str(CHILD), *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} under {runtime}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def latency() -> None:
    """Compare estimated with measured time, before and after three networks were measured."""
    here = next(targets_here())
    print(f"{here.name}: {here.source}; {here.memory_bandwidth_gb_s:.1f} GB/s measured")
    names = (*ANCHORS, *JUDGED)
    for name in names:
        layers_of_graph(name)
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS):
        for name in names if turn % 2 == 0 else names[::-1]:
            for runtime in RUNTIMES if turn % 2 == 0 else RUNTIMES[::-1]:
                taken.setdefault((runtime, name), []).append(_median_ms(runtime, name))
    for runtime in RUNTIMES:
        medians = {name: float(np.median(taken[runtime, name])) for name in names}
        _compare_times(runtime, medians, here)


def _median_ms(runtime: str, name: str) -> float:
    """Return the median time of a network, its first runs left out."""
    guess_ms = sum(row.flops for row in layers_of_graph(name).layers) / 5e7
    runs = 3 + int(np.clip(ENOUGH_MS / max(guess_ms, 1.0), 9, 200))
    return float(np.median(child(runtime, name, runs=runs)["taken_ns"][3:])) / 1e6


def _compare_times(runtime: str, medians: dict[str, float], here: Any) -> None:
    rows = tuple(
        Measured(layers_of_graph(name), medians[name], runtime=runtime) for name in ANCHORS
    )
    print(f"\n{runtime}: ms measured; estimated from the catalog, error; after 3 rows, error")
    before, after, covered = [], [], 0
    for name in JUDGED:
        measured = medians[name]
        plain, told = (
            estimate_latency(layers_of_graph(name), here, runtime=runtime, measured=given)
            for given in ((), rows)
        )
        if not isinstance(plain, LatencyEstimate) or not isinstance(told, LatencyEstimate):
            sys.exit(f"{name}: no estimate: {plain} {told}")
        before.append(abs(plain.latency_ms / measured - 1))
        after.append(abs(told.latency_ms / measured - 1))
        covered += told.low_ms <= measured <= told.high_ms
        print(
            f"  {name:<20}{measured:9.2f} {plain.latency_ms:9.2f} {before[-1]:6.1%}"
            f" {told.latency_ms:9.2f} {after[-1]:6.1%}",
            flush=True,
        )
    print(f"  median error {np.median(before):.1%} from the catalog alone")
    print(f"  {covered} of {len(JUDGED)} in the 80 % interval after three rows")
    median = float(np.median(after))
    verdict(f"{runtime}, after three rows, median error", median, "<= 0.15", median <= 0.15)


def memory() -> None:
    """Compare the estimated with the highest memory of a process."""
    here = next(targets_here())
    for runtime in RUNTIMES:
        print(f"\n{runtime}: MB estimated, measured while loading and while running, error")
        good = 0
        for name in JUDGED:
            found = child(runtime, name)
            measured = 1024 * max(found["load_peak_kb"], found["run_peak_kb"])
            told = estimate_memory(
                footprint(layers_of_graph(name)), here, batch=1, precision="fp32", runtime=runtime
            )
            off = abs(told.peak_bytes - measured)
            held = off <= max(MOST_OFF_RATIO * measured, MOST_OFF_BYTES)
            good += held
            print(
                f"  {name:<20}{told.peak_bytes / 1e6:8.0f} {1.024e-3 * found['load_peak_kb']:8.0f}"
                f" {1.024e-3 * found['run_peak_kb']:8.0f} {told.peak_bytes / measured - 1:+7.1%}"
                f"{'' if held else '  beyond'}",
                flush=True,
            )
        verdict(f"{runtime}, within 15 % or 20 MB", good, "20 of 20", good == len(JUDGED))


def fit() -> None:
    """Fit what each runtime takes to the networks that judge nothing, and write it."""
    found = [_fitted(runtime) for runtime in RUNTIMES]
    names = [field.name for field in msgspec.structs.fields(RuntimeMemory)]
    with DATA.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(names)
        for row in found:
            rows.writerow([_cell(getattr(row, name)) for name in names])


def _fitted(runtime: str) -> RuntimeMemory:
    points = list(_points(runtime))
    base = float(np.median([p["base_kb"] for p in points])) * 1.024e-3
    loading = _solve(
        [(1e6, p["convolutions"], p["products"], 1e3 * p["layers"]) for p in points],
        [1024.0 * p["load_peak_kb"] - base * 1e6 for p in points],
    )
    running = _solve(
        [(1e6, p["convolutions"], p["products"], p["tensors"], 1e3 * p["layers"]) for p in points],
        [1024.0 * p["run_peak_kb"] - base * 1e6 for p in points],
    )
    row = RuntimeMemory(
        runtime=runtime,
        version=points[0]["version"],
        base_mb=base,
        load_fixed_mb=loading[0],
        load_convolutions=loading[1],
        load_products=loading[2],
        load_layers_kb=loading[3],
        run_fixed_mb=running[0],
        run_convolutions=running[1],
        run_products=running[2],
        run_tensors=running[3],
        run_layers_kb=running[4],
        networks=len(FITTED),
        error_ratio=0.0,
        source=f"tests/benchmarks/estimation.py fit; {describe().name}; {date.today()}",
    )
    errors = []
    for p in points:
        weights = p["convolutions"] + p["products"]
        told = max(process_bytes(row, p["convolutions"], weights, p["tensors"], p["layers"]))
        measured = 1024 * max(p["load_peak_kb"], p["run_peak_kb"])
        errors.append(abs(told / measured - 1))
        print(f"  {p['name']:<20} batch {p['batch']} {told / 1e6:7.0f} {measured / 1e6:7.0f}")
    print(f"{runtime}: {row}")
    return msgspec.structs.replace(row, error_ratio=max(errors))


def _points(runtime: str) -> Iterator[dict[str, Any]]:
    for name in FITTED:
        network = footprint(layers_of_graph(name))
        for batch in (1, 4):
            yield {
                **child(runtime, name, batch=batch),
                "name": name,
                "batch": batch,
                "convolutions": network.convolution_bytes,
                "products": network.weights_bytes - network.convolution_bytes,
                "tensors": network.crowd.peak_bytes * batch,
                "layers": network.layers,
            }


def _solve(columns: Sequence[tuple[float, ...]], values: Sequence[float]) -> list[float]:
    """Return parameters that are not negative, by least squares of relative errors."""
    from scipy.optimize import nnls

    weight = 1 / np.maximum(np.array(values), MOST_OFF_BYTES / MOST_OFF_RATIO)
    found, _ = nnls(np.array(columns) * weight[:, None], np.array(values) * weight)
    return [float(each) for each in found]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
