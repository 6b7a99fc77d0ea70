"""The chosen configuration against a full sweep, ONNX Runtime's defaults and benchmark_app.

Run: ``python tests/benchmarks/choice.py sweep|defaults|benchmark-app [--throughput] BUNDLE...``

Every bundle is compiled first with ``medge compile``'s own search, into a state folder of its own.
``sweep`` builds every configuration that may run and times each on its own, as somebody would who
had no search; ``defaults`` is onnxruntime as its documentation shows it; ``benchmark-app`` is
OpenVINO's own benchmark on the fp32 graph, taken in turns with the chosen configuration.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from pairs import Samples, ratio, sample, verdict

from medge.bench.candidates import candidates, runtimes, stored_drift, unjudged
from medge.bench.choose import CompileRequest, choose_fastest, spoken
from medge.bench.entrants import Built, build
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.passport import Passport
from medge.engine.sealed import Candidate, Goal, SealedChoice
from medge.errors import MedgeError
from medge.profiles.device import allowed_cores, device_tier

RUNS = 200
REST_S = 0.06  # until onnxruntime's own threads have stopped spinning
WAVE_NS = 20_000_000
PAIRS = 7
APP_S = 3
APP = (
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from openvino.tools.benchmark.main import main; main()"
)


def main() -> None:
    """Compile every bundle and compare."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("against", choices=("sweep", "defaults", "benchmark-app"))
    asked.add_argument("bundles", nargs="+")
    asked.add_argument("--throughput", action="store_true")
    options = asked.parse_args()
    compare = {"sweep": sweep, "defaults": defaults, "benchmark-app": benchmark_app}
    found = []
    runtimes(None)  # imported once, whether somebody searches or sweeps
    with tempfile.TemporaryDirectory() as home:
        os.environ["MEDGE_HOME"] = home
        for name in options.bundles:
            goal = "throughput" if options.throughput else "latency"
            with open_bundle(find_bundle(name)) as bundle:
                start = time.perf_counter()
                sealed = choose_fastest(bundle, CompileRequest(goal=goal))
                seconds = time.perf_counter() - start
                print(f"{bundle.path.name}: {spoken(sealed.chosen)}, found in {seconds:.1f} s")
                with loaded(bundle, sealed.chosen) as built:
                    found.append(compare[options.against](bundle, sealed, built, seconds))
    told(options.against, found)


def told(against: str, found: list[tuple[float, float]]) -> None:
    """Print what all bundles show together; each is a ratio and the milliseconds of the other."""
    if against == "sweep":
        verdict(
            "chosen / best of the sweep, lowest",
            min(r for r, _ in found),
            ">= 0.97",
            min(r for r, _ in found) >= 0.97,
        )
        verdict(
            "search / sweep time, highest",
            max(t for _, t in found),
            "<= 0.25",
            max(t for _, t in found) <= 0.25,
        )
        return
    large = [r for r, ms in found if ms >= 1.0]
    if large:
        mean = math.exp(float(np.mean(np.log(large))))
        print(f"geometric mean over {len(large)} models of 1 ms and more: {mean:.2f} times faster")
    slowest = max(1.0 / r for r, _ in found)
    verdict("largest ratio of the chosen to the other", slowest, "<= 1.02", slowest <= 1.02)


@contextmanager
def loaded(bundle: Bundle, candidate: Candidate) -> Iterator[Built]:
    """Build a candidate for as long as it is measured."""
    built = build(bundle, candidate)
    try:
        yield built
    finally:
        built.close()


def sweep(
    bundle: Bundle, sealed: SealedChoice, built: Built, seconds: float
) -> tuple[float, float]:
    """Return chosen against the best of all (1 is as fast), and the search's part of the time."""
    runtimes_here, _ = runtimes(None)
    cores = allowed_cores()
    worth, _ = candidates(bundle.manifest, runtimes_here, sealed.goal, cores)
    versions = {runtime.backend: runtime.version for runtime in runtimes_here}
    start, medians = time.perf_counter(), {}
    for plain, threads, streams in product(worth, {1, cores}, (1, 2)):
        candidate = msgspec.structs.replace(plain, threads=threads * streams, streams=streams)
        drift = stored_drift(
            bundle.manifest, Passport(), candidate, versions[candidate.backend], device_tier()
        )
        if unjudged(candidate, drift) is not None:
            continue
        try:
            with loaded(bundle, candidate) as each:
                medians[candidate] = median_ns(each, sealed.goal)
        except MedgeError as error:
            print(f"  {spoken(candidate):<44}{error.rule}")
            continue
        print(f"  {spoken(candidate):<44}{medians[candidate] / 1e6:8.3f} ms", flush=True)
    spent = time.perf_counter() - start
    best = min(medians, key=lambda one: medians[one])
    print(f"  sweep of {len(medians)} in {spent:.1f} s; its best is {spoken(best)}")
    if best == sealed.chosen:
        return 1.0, seconds / spent
    with loaded(bundle, best) as other:
        pair = waves({"chosen": lambda: built.run(1), "best": lambda: other.run(1)})
    found = ratio(
        per_picture(pair["best"], other, sealed.goal),
        per_picture(pair["chosen"], built, sealed.goal),
    )
    print(f"  best of the sweep / chosen, in waves: {found}")
    return found.median, seconds / spent


def median_ns(built: Built, goal: Goal) -> float:
    """Return the median of 200 runs after 5."""
    taken = sample({"it": lambda: built.run(1)}, rounds=RUNS, warm=5)["it"]
    return float(np.median(per_picture(taken, built, goal)))


def per_picture(samples: Samples, built: Built, goal: Goal) -> Samples:
    """Return the time until a picture is answered, or for throughput the time it uses up.

    Two pictures in two streams at once are both answered when the wave ends.
    """
    return np.asarray(samples // (built.pictures if goal == "throughput" else 1))


def defaults(
    bundle: Bundle, sealed: SealedChoice, built: Built, seconds: float
) -> tuple[float, float]:
    """Return how many times faster than onnxruntime's defaults, and their milliseconds."""
    onnxruntime = silent_onnxruntime()
    session = onnxruntime.InferenceSession(
        bundle.read("model.onnx"), providers=["CPUExecutionProvider"]
    )
    golden = bundle.golden()
    feed = {name: np.ascontiguousarray(array[:1]) for name, array in golden.inputs.items()}
    pair = waves({"theirs": lambda: session.run(None, feed), "chosen": lambda: built.run(1)})
    found = ratio(pair["theirs"], per_picture(pair["chosen"], built, sealed.goal))
    theirs_ms = float(np.median(pair["theirs"])) / 1e6
    print(f"  onnxruntime defaults {theirs_ms:.3f} ms, {found} times faster", flush=True)
    return found.median, theirs_ms


def waves(calls: Mapping[str, Callable[[], object]]) -> dict[str, Samples]:
    """Return the time of a call as it is among others of its own kind, in turning order.

    A wave is one call that is not timed and then at least 20 ms of them. Between waves there is a
    rest: onnxruntime's threads spin on, which makes their own next call start sooner and would slow
    down whoever else comes next.
    """
    names, taken = list(calls), {name: [] for name in calls}
    for round_ in range(61):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(REST_S)
            calls[name]()
            count, start = 0, time.perf_counter_ns()
            while count == 0 or time.perf_counter_ns() - start < WAVE_NS:
                calls[name]()
                count += 1
            taken[name].append((time.perf_counter_ns() - start) // count)
    return {name: np.array(values) for name, values in taken.items()}


def benchmark_app(
    bundle: Bundle, sealed: SealedChoice, built: Built, seconds: float
) -> tuple[float, float]:
    """Return how many times faster than benchmark_app says it is, and its milliseconds."""
    hint = "latency" if sealed.goal == "latency" else "throughput"
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(bundle.read("model.onnx"))
        for _ in range(PAIRS):
            theirs.append(picture_ns_of_app(graph, hint, bundle))
            ours.append(picture_ns_for(built, APP_S))
    found = ratio(np.asarray(theirs), np.asarray(ours))
    theirs_ms = float(np.median(theirs)) / 1e6
    print(f"  benchmark_app -hint {hint} {theirs_ms:.3f} ms, {found} times faster", flush=True)
    return found.median, theirs_ms


def picture_ns_of_app(graph: Path, hint: str, bundle: Bundle) -> int:
    """Run benchmark_app; its median latency, or for throughput the time per picture."""
    spec = bundle.manifest.inputs[0]
    shape = ",".join(map(str, (1, *spec.shape)))
    words = ["-m", graph, "-d", "CPU", "-hint", hint, "-t", APP_S, "-shape", f"[{shape}]"]
    report = graph.parent
    words += ["-report_type", "no_counters", "-report_folder", report, "-json_stats"]
    subprocess.run(
        [sys.executable, "-I", "-c", APP, *map(str, words)], check=True, capture_output=True
    )
    said = json.loads((report / "benchmark_report.json").read_text())["execution_results"]
    if hint == "latency":
        return int(float(said["latency (ms)"]) * 1e6)
    return int(1e9 / float(said["throughput"]))


def picture_ns_for(built: Built, seconds: float) -> int:
    """Run for so long; the median latency, or with several streams the time per picture."""
    built.run(3)
    taken, begun = [], time.perf_counter_ns()
    # Streams wait for each other when a wave ends; benchmark_app's requests never do.
    calls = 1 if built.pictures == 1 else 32
    while time.perf_counter_ns() - begun < seconds * 1e9:
        start = time.perf_counter_ns()
        built.run(calls)
        taken.append((time.perf_counter_ns() - start) // (calls * built.pictures))
    return int(np.median(taken))


if __name__ == "__main__":
    main()
