"""What LoadGen and the way to it cost: time a query, and memory a query that is made ready.

Run: ``python tests/benchmarks/loadgen_cost.py``, one minute on a quiet machine. The network is the
null backend, which answers at once, so that all that is left is LoadGen, Python and medge's checks.
Memory is the highest that the process ever had, with 4 million queries made ready.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from medge.bench.profile.loaded import Load
from medge.bench.profile.process import Worker
from medge.bench.scenario.loadgen import Pictures, Run, Scenario, run
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.sealed import Candidate

SECONDS = 5
READY = 4_000_000
SLACK = {"SingleStream": 2.0, "Offline": 1.1}  # by which LoadGen makes more than its time needs


def main() -> None:
    """Print the figures."""
    with open_bundle(find_bundle(None)) as bundle:
        load = Load(
            folder=os.fsencode(bundle.path.resolve()),
            bundle_sha256=bundle.digest,
            candidate=Candidate(backend="null", device="cpu", variant="fp32", threads=1),
        )
    with tempfile.TemporaryDirectory() as folder:
        for scenario in ("SingleStream", "MultiStream", "Offline"):
            print(f"{scenario:13}{query_us(load, Path(folder) / scenario, scenario):7.1f} us")
        for scenario in ("SingleStream", "Offline"):
            ready = memory_bytes(load, Path(folder) / f"{scenario}-ready", scenario)
            print(f"{scenario:13}{ready:7.0f} bytes for each query, or picture, made ready")


def query_us(load: Load, folder: Path, scenario: Scenario) -> float:
    """Return the time a query; of Offline a picture."""
    found = asked(load, folder, scenario, seconds=SECONDS, expected_ns=20_000, qps=30_000.0)[0]
    return found / 1e3 if scenario != "Offline" else 1e6 / found


def memory_bytes(load: Load, folder: Path, scenario: Scenario) -> float:
    """Return what one query more needs."""
    ready = READY / SLACK[scenario]
    _, few = asked(load, folder / "few", scenario, 1, expected_ns=1_000_000, qps=1000.0)
    _, many = asked(load, folder / "many", scenario, 1, expected_ns=round(1e9 / ready), qps=ready)
    return (many - few) / READY


def asked(
    load: Load, folder: Path, scenario: Scenario, seconds: int, *, expected_ns: int, qps: float
) -> tuple[float, int]:
    """Return a run's figure, and the most memory that its process ever had, in bytes."""
    request = Run(
        scenario=scenario,
        mode="PerformanceOnly",
        folder=os.fsencode(folder),
        pictures=Pictures(wanted=64),
        expected_ns=expected_ns,
        qps=qps,
        min_duration_ms=1000 * seconds,
        min_queries=1,
    )
    with Worker() as worker:
        worker.load(load)
        found = worker.ask(run, request, 600.0)
        status = Path(f"/proc/{worker.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    if peak is None:
        raise RuntimeError("the kernel does not tell VmHWM")
    return found.value, int(peak[1]) << 10


if __name__ == "__main__":
    main()
