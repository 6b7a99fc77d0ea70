"""medge's ResNet-50 beside OpenVINO's benchmark_app and a bare loop of ONNX Runtime.

Run: ``python tests/benchmarks/side_by_side.py [BUNDLE]``, by default out/zoo/resnet50.medge; some
5 minutes. The same fp32 graph, batch 1, as many threads as CPUs, one stream, synchronous calls;
sides take turns. The wheel of ONNX Runtime has no onnxruntime_perf_test: the loop here does what
that does (performance_runner.cc: one warm-up, then Run again and again, each timed), with medge's
session options. benchmark_app fills its input with random numbers, all others take a golden case:
dense fp32 kernels take no longer for one than for the other. A ratio beyond 2 % shows the reason
that can be measured: what medge adds, its check that all numbers are finite above all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pairs import verdict

from medge.bench.effect import paired_effect
from medge.bench.entrants import choice_of
from medge.bench.measure import measure, measure_interleaved
from medge.bench.procedure import Procedure, Sampling
from medge.bench.stats import percentile
from medge.engine.backends.silence import silent_onnxruntime, silent_openvino
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.engine.session import Session
from medge.profiles.device import allowed_cores

BUNDLE = Path("out/zoo/resnet50.medge")
PAIRS = 300
TURNS = 12  # of benchmark_app, each beside as many calls of medge
TURN_CALLS = 60
LIMIT_RATIO = 0.02
# Telemetry is blocked before the tool is imported, as medge does for itself.
APP = (
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from openvino.tools.benchmark.main import main; sys.exit(main())"
)
MEDIAN = re.compile(r"Median:\s+([\d.]+) ms")

Feed = dict[str, np.ndarray[Any, Any]]


def main(words: list[str]) -> None:
    """Print both comparisons."""
    with open_bundle(Path(words[0]) if words else BUNDLE) as bundle:
        golden = bundle.golden()
        one = {name: np.ascontiguousarray(array[:1]) for name, array in golden.inputs.items()}
        model = bundle.read("model.onnx")
        print(f"{bundle.manifest.name}, fp32, batch 1, {allowed_cores()} threads", flush=True)
        beside_a_bare_loop(bundle, one, model)
        beside_benchmark_app(bundle, one, model)


def beside_a_bare_loop(bundle: Bundle, one: Feed, model: bytes) -> None:
    """Take turns call by call: medge's session, and ONNX Runtime alone in two manners."""
    with _session(bundle, "onnxruntime") as session:
        bare = _bare(model)
        calls: dict[str, Callable[[], object]] = {
            "medge": partial(session.infer, one),
            "bare Run": partial(bare.run, None, one),
        }
        sampling = Sampling(min_samples=PAIRS, max_samples=PAIRS)
        taken = measure_interleaved(calls, Procedure(sampling=sampling, lead_in=1))
    for name, found in taken.items():
        print(f"  {name:<28}{percentile(found.samples_ns, 0.5) / 1e6:9.3f} ms at p50")
    effect = paired_effect(taken["bare Run"].samples_ns, taken["medge"].samples_ns, 0.99)
    print(f"  medge over a bare Run: {_bounds(effect.low, effect.high)} with 99 %, pair by pair")
    _judge("medge beside ONNX Runtime's own loop", effect.change, bundle, one)


def beside_benchmark_app(bundle: Bundle, one: Feed, model: bytes) -> None:
    """Take turns of some seconds: benchmark_app in its own process, then medge in this one."""
    silent_openvino()
    app_ms: list[float] = []
    ours_ms: list[float] = []
    sampling = Sampling(min_samples=TURN_CALLS, max_samples=TURN_CALLS)
    with (
        TemporaryDirectory(prefix="medge-beside-") as folder,
        _session(bundle, "openvino") as session,
    ):
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        for turn in range(TURNS):
            for side in ("app", "medge") if turn % 2 else ("medge", "app"):
                if side == "app":
                    app_ms.append(_benchmark_app(path, one))
                else:
                    found = measure(partial(session.infer, one), Procedure(sampling=sampling))
                    ours_ms.append(percentile(found.samples_ns, 0.5) / 1e6)
    ratios = np.sort(np.array(ours_ms) / np.array(app_ms))
    print(f"  {'benchmark_app':<28}{np.median(app_ms):9.3f} ms, median of {TURNS} medians")
    print(f"  {'medge':<28}{np.median(ours_ms):9.3f} ms")
    print(
        f"  medge over benchmark_app: {ratios[1] - 1:+.2%} to {ratios[-2] - 1:+.2%} but for 2 turns"
    )
    _judge("medge beside benchmark_app", float(np.median(ratios)) - 1, bundle, one)


def _judge(what: str, change: float, bundle: Bundle, one: Feed) -> None:
    good = abs(change) <= LIMIT_RATIO
    verdict(what, change, f"within {LIMIT_RATIO:g}, or its reason shown", good)
    if not good:
        with Session(bundle, choice_of(_candidate("null"))) as session:
            own = measure(partial(session.infer, one), Procedure())
        own_us = percentile(own.samples_ns, 0.5) / 1e3
        print(
            f"  the reason as far as it is medge's: {own_us:.1f} us around each call (null backend)"
        )


def _benchmark_app(model: Path, one: Feed) -> float:
    """Return the median latency that benchmark_app prints, in ms."""
    shapes = ",".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in one.items())
    told = subprocess.run(
        [
            *(sys.executable, "-c", APP, "-m", str(model), "-d", "CPU", "-api", "sync"),
            *("-hint", "none", "-nstreams", "1", "-nthreads", str(allowed_cores())),
            *("-infer_precision", "f32", "-niter", str(TURN_CALLS), "-data_shape", shapes),
            *("-shape", shapes, "-pin", "NO"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = MEDIAN.search(told.stdout)
    if told.returncode or found is None:
        raise SystemExit(f"benchmark_app failed:\n{told.stdout[-2000:]}{told.stderr[-2000:]}")
    return float(found[1])


def _bare(model: bytes) -> Any:
    onnxruntime = silent_onnxruntime()
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = allowed_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _session(bundle: Bundle, backend: str) -> Session:
    return Session(bundle, choice_of(_candidate(backend)))


def _candidate(backend: str) -> Candidate:
    threads = 1 if backend == "null" else allowed_cores()
    return Candidate(backend=backend, device="cpu", variant="fp32", threads=threads)


def _bounds(low: float | None, high: float | None) -> str:
    return "no bounds" if low is None or high is None else f"{low:+.2%} to {high:+.2%}"


if __name__ == "__main__":
    main(sys.argv[1:])
