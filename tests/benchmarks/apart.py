"""A small network in processes of their own: benchmark_app, a bare loop, and medge's sessions.

Run: ``python tests/benchmarks/apart.py BUNDLE...``. The sides take turns, each for three seconds
without a pause; what the bare loop takes more than benchmark_app is where the clock stands.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from choice import picture_ns_of_app

from medge.bench.entrants import build
from medge.engine.backends.silence import silent_openvino
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.profiles.device import allowed_cores

ROUNDS = 5
LOOP_S = 3.0
APP, BARE = "benchmark_app", "bare loop of openvino"
MEDGE = {f"medge, {backend}": backend for backend in ("openvino", "onnxruntime")}


def main(words: list[str]) -> None:
    """Print the median of each side; a child prints its own."""
    if words[0] == "--side":
        with open_bundle(find_bundle(words[2])) as bundle:
            print(median_ns(call(words[1], bundle)))
        return
    for name in words:
        with open_bundle(find_bundle(name)) as bundle:
            print(bundle.path.name)
            taken = turns(bundle, name)
        for side, samples in taken.items():
            beside = np.median(samples / taken[APP])
            print(f"  {side:<24}{np.median(samples) / 1e6:8.3f} ms   x {beside:.3f}", flush=True)


def turns(bundle: Bundle, name: str) -> dict[str, np.ndarray]:
    """Return each side's medians, a round a column."""
    taken: dict[str, list[int]] = {side: [] for side in (APP, BARE, *MEDGE)}
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(bundle.read("model.onnx"))
        for _ in range(ROUNDS):
            taken[APP].append(picture_ns_of_app(graph, "latency", bundle))
            for side in (BARE, *MEDGE):
                words = [sys.executable, __file__, "--side", side, name]
                said = subprocess.run(words, check=True, capture_output=True, text=True)
                taken[side].append(int(said.stdout))
    return {side: np.array(samples) for side, samples in taken.items()}


def call(side: str, bundle: Bundle) -> Callable[[], object]:
    """Load a side's own network; return a call of it on one picture."""
    if side != BARE:
        candidate = Candidate(
            backend=MEDGE[side], device="cpu", variant="fp32", threads=allowed_cores()
        )
        return partial(build(bundle, candidate).run, 1)
    library = silent_openvino()
    core = library.Core()
    graph = core.read_model(bundle.read("model.onnx"))
    one = {name: np.array(array[:1]) for name, array in bundle.golden().inputs.items()}
    graph.reshape({name: list(array.shape) for name, array in one.items()})
    request = core.compile_model(
        graph, "CPU", {"PERFORMANCE_HINT": "LATENCY"}
    ).create_infer_request()
    for name, array in one.items():
        request.set_tensor(name, library.Tensor(array, shared_memory=True))
    infer: Callable[[], object] = request.infer
    return infer


def median_ns(run: Callable[[], object]) -> int:
    """Run for three seconds."""
    for _ in range(10):
        run()
    taken, begun = [], time.perf_counter()
    while time.perf_counter() - begun < LOOP_S:
        start = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - start)
    return int(np.median(taken))


if __name__ == "__main__":
    main(sys.argv[1:])
