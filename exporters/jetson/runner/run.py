#!/usr/bin/env python3
"""Build this bundle's engines on the Jetson that it lies on, prove and time them, tell in one file.

It needs what JetPack brings: Python 3.6 or later, numpy, TensorRT and CUDA's runtime library.
    python3 run.py              writes result.json, which `medge results import` takes
    python3 run.py --check      only looks whether every file is whole
Each engine is built and run in a process of its own, so that a crash is one line of the answer.
Exit codes: 0 done, 2 usage, 4 damaged files, 5 something could not run, 8 an answer is wrong,
130 stopped with Ctrl-C: the answer holds the graphs that were done by then.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List

import numpy as np
from board import board, states
from gpu_engine import RefusedError, TensorRT

SCHEMA = "medge.build-result/1"
HERE = os.path.dirname(os.path.abspath(__file__))
LEAST_CALLS = 10
MOST_CALLS = 200000
LONGEST_S = 4 * 3600  # of one engine: a large network takes a Nano most of an hour
DAMAGED, NOT_RUN, WRONG, STOPPED = 4, 5, 8, 130
NOT_FINITE = "not-finite"
EARLIEST = 1704067200  # 2024: a clock that tells less was never set, and the answer is refused
Json = Dict[str, Any]
Call = Callable[[], Json]


class OnnxRuntime:
    """Runs the graphs on the CPU: no measurement of a Jetson's GPU, but a proof of the files."""

    def __init__(self) -> None:
        try:
            self.module: Any = importlib.import_module("onnxruntime")
        except ImportError:
            raise RefusedError(
                "no-onnxruntime", "onnxruntime is not installed: pip install onnxruntime"
            ) from None
        self.version = str(self.module.__version__)

    def load(self, raw: bytes, _graph: Json, told: Json) -> "OnnxSession":
        """Open a graph as ONNX defines it, no two operators fused."""
        start = time.perf_counter()
        options = self.module.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        # Fused integer layers round less often than the golden answers did.
        options.graph_optimization_level = self.module.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = self.module.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes have no base of their own
            kind = type(error).__name__
            raise RefusedError("parse", f"onnxruntime does not take the graph ({kind})") from None
        told["build_s"] = time.perf_counter() - start
        return OnnxSession(session)


class OnnxSession:
    """A graph that ONNX Runtime holds."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.names = [value.name for value in session.get_outputs()]
        self.inputs: Json = {}

    def run(self, inputs: Json) -> Json:
        """Return the outputs of one call."""
        self.inputs = inputs
        return dict(zip(self.names, self.session.run(self.names, inputs)))

    def call(self) -> Json:
        """Run the last inputs again; a CPU tells no times apart."""
        self.session.run(self.names, self.inputs)
        return {}


class Null:
    """Answers at once and computes nothing: what remains are the runner's own steps."""

    version = "1"

    def load(self, _raw: bytes, _graph: Json, _told: Json) -> "Null":
        """Open nothing."""
        return self

    def run(self, _inputs: Json) -> None:
        """Give no answer."""

    def call(self) -> Json:
        """Return at once."""
        return {}


def main(arguments: List[str]) -> int:
    """Do what was asked; return the exit code."""
    asked = _asked(arguments)
    try:
        raw = _read("build.json")
        build = _parsed(raw)
        _check_files(build)
    except RefusedError as refused:
        print("refused: " + refused.reason, file=sys.stderr)
        return DAMAGED
    if asked.one:
        return _one(asked, build)
    if asked.check:
        print("{} files are whole".format(len(build["files"])))
        return 0
    known = [graph["variant"] for graph in build["graphs"]]
    wanted = asked.variant or known
    if not set(wanted) <= set(known):
        print("usage: the variants here are " + ", ".join(known), file=sys.stderr)
        return 2
    problem = _in_the_way(asked.output)
    if problem:
        print("refused: " + problem, file=sys.stderr)
        return NOT_RUN
    return _measured(asked, raw, build, wanted)


def _measured(asked: Any, raw: bytes, build: Json, wanted: List[str]) -> int:
    """Build and measure one graph after another; return the exit code."""
    graphs: List[Json] = []
    result = {
        "build_sha256": hashlib.sha256(raw).hexdigest(),
        "bundle_sha256": build["bundle_sha256"],
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runtime": asked.runtime,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "warm_up_ns": int(asked.warm_up_ms * 1e6),
        "duration_ns": int(asked.duration_s * 1e9),
        "board": board(asked.root),
        "graphs": graphs,
    }
    try:
        for variant in wanted:
            graphs.append(_in_a_process(asked, variant))
            _write(asked.output, result)  # what is done is kept, whatever comes
    except KeyboardInterrupt:
        done = asked.output + " holds" if graphs else "there is"
        print(f"stopped; {done} {len(graphs)} of {len(wanted)} graphs", file=sys.stderr)
        return STOPPED
    except OSError as error:
        print(f"refused: {asked.output} cannot be written: {error.strerror}", file=sys.stderr)
        return NOT_RUN
    return _told(asked, result)


def _parsed(raw: bytes) -> Json:
    """Return build.json; what lies there may be cut off, or something else's."""
    try:
        build: Json = json.loads(raw.decode())
        if all(isinstance(entry["sha256"], str) for entry in build["files"].values()):
            return build
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # told below
    raise RefusedError("file", "build.json is damaged; copy it again")


def _in_the_way(output: str) -> str:
    """Return what would make hours of building useless: a clock never set, no place to write."""
    if time.time() < EARLIEST:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        return f"the clock says {now}; set it: sudo date -s '2026-01-31 12:00'"
    part = output + ".part"
    try:
        with open(part, "w"):
            pass
        os.unlink(part)
    except OSError as error:
        return f"{output} cannot be written: {error.strerror}; name another with -o"
    return ""


def _asked(arguments: List[str]) -> Any:
    parser = argparse.ArgumentParser(
        description="Build, prove and time this bundle's engines here."
    )
    add = parser.add_argument
    add(
        "--runtime", choices=["tensorrt", "tensorrt-rtx", "onnxruntime", "null"], default="tensorrt"
    )
    add("--variant", action="append", metavar="V", help="only this one; may be said again")
    add("-o", "--output", default="result.json", metavar="FILE")
    add("--warm-up-ms", type=float, default=200.0, metavar="MS", help="as trtexec: 200")
    add("--duration-s", type=float, default=3.0, metavar="S", help="as trtexec: 3")
    add("--check", action="store_true", help="only look whether every file is whole")
    add("--root", default="/", help=argparse.SUPPRESS)
    add("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if not 0 <= asked.warm_up_ms <= 60000 or not 0 < asked.duration_s <= 3600:
        parser.error("--warm-up-ms goes to 60000 and --duration-s to 3600")
    return asked


def _read(name: str) -> bytes:
    try:
        with open(os.path.join(HERE, name), "rb") as stream:
            return stream.read()
    except OSError as error:
        reason = f"{name} cannot be read: {error.strerror}; copy it again"
        raise RefusedError("file", reason) from None


def _check_files(build: Json) -> None:
    for name, stated in build["files"].items():
        raw = _read(name)
        if hashlib.sha256(raw).hexdigest() != stated["sha256"]:
            raise RefusedError("file", f"{name} is damaged or was changed; copy it again")


def _in_a_process(asked: Any, variant: str) -> Json:
    """Let one graph be built and measured where a crash stops nothing else."""
    print(f"{variant}: building, which may take minutes ...", file=sys.stderr)
    beside = os.path.dirname(os.path.abspath(asked.output))
    handle, answer = tempfile.mkstemp(prefix=".medge-", suffix=".json", dir=beside)
    os.close(handle)
    command = [sys.executable, os.path.abspath(__file__), "--one", variant, "-o", answer]
    command += ["--runtime", asked.runtime, "--warm-up-ms", str(asked.warm_up_ms)]
    command += ["--duration-s", str(asked.duration_s), "--root", asked.root]
    before = states(asked.root)
    child = subprocess.Popen(command)
    try:
        status = child.wait(timeout=LONGEST_S)
        with open(answer) as stream:
            text = stream.read()
    except subprocess.TimeoutExpired:
        status, text = -int(signal.SIGKILL), ""
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        os.unlink(answer)
    try:
        found: Json = json.loads(text)
    except ValueError:  # none, or cut off where the disk was full
        found = _crashed(variant, status)
    found["states"] = {"before": before, "after": states(asked.root)}
    return found


def _crashed(variant: str, status: int) -> Json:
    how = f"was stopped by signal {-status}" if status < 0 else f"ended with {status}"
    return {"variant": variant, "rule": "crash", "reason": "the process that ran it " + how}


def _one(asked: Any, build: Json) -> int:
    """Build and measure one graph, and write what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it ends it then
    graph = next(graph for graph in build["graphs"] if graph["variant"] == asked.one)
    found: Json = {"variant": asked.one}
    try:
        makers: Dict[str, Callable[[], Any]] = {"onnxruntime": OnnxRuntime, "null": Null}
        make = makers.get(asked.runtime, lambda: TensorRT(asked.runtime, build))
        runtime = make()
        found["version"] = runtime.version
        session = runtime.load(_read(graph["file"]), graph, found)
        found.update(_proven(session, graph, build))
        found.update(_timed(session.call, asked))
    except RefusedError as refused:
        found.update(rule=refused.rule, reason=refused.reason)
    with open(asked.output, "w") as stream:
        json.dump(found, stream)
    return 0


def _proven(session: Any, graph: Json, build: Json) -> Json:
    """Run every golden case; return the answers and how far off they are."""
    arrays = dict(np.load(os.path.join(HERE, "golden.npz")))
    names = [port["name"] for port in build["outputs"]]
    inputs = {port["name"]: arrays["input/" + port["name"]] for port in build["inputs"]}
    own = "variant/{}/".format(graph["variant"])
    folder = own if own + names[0] in arrays else "output/"
    rows: Dict[str, List[Any]] = {name: [] for name in names}
    max_abs = 0.0
    for case in range(len(arrays["output/" + names[0]])):
        full = {
            name: np.ascontiguousarray(np.repeat(array[case : case + 1], build["batch"], axis=0))
            for name, array in inputs.items()
        }
        outputs = session.run(full)
        if outputs is None:  # the null runtime has none
            return {}
        for name in names:
            apart = np.abs(outputs[name].astype("f8") - arrays[folder + name][case])
            if not np.isfinite(apart).all():
                raise RefusedError(
                    NOT_FINITE, f"golden case {case + 1} is answered with NaN or infinity"
                )
            max_abs = max(max_abs, float(apart.max()))
            rows[name].append([float(value) for value in outputs[name][0]])
    return {"max_abs": max_abs, "passed": max_abs <= graph["tolerance"], "outputs": rows}


def _timed(call: Call, asked: Any) -> Json:
    """Time calls one after another: 200 ms that do not count, then 3 s, and at least 10."""
    clock = time.perf_counter
    gc.disable()  # the cyclic collector takes milliseconds, at any allocation
    warm: List[int] = []
    series: Dict[str, List[int]] = {"host_ns": []}
    end = clock() + asked.warm_up_ms / 1e3
    while clock() < end and len(warm) < MOST_CALLS:
        start = clock()
        call()
        warm.append(max(1, int((clock() - start) * 1e9)))
    begun = clock()
    end = begun + asked.duration_s
    while (clock() < end or len(series["host_ns"]) < LEAST_CALLS) and (
        len(series["host_ns"]) < MOST_CALLS
    ):
        start = clock()
        times = call()
        series["host_ns"].append(max(1, int((clock() - start) * 1e9)))
        for name, taken in times.items():
            series.setdefault(name, []).append(taken)
    lasted_ns = int((clock() - begun) * 1e9)
    return {"warm_up_calls_ns": warm, "lasted_ns": lasted_ns, "series": series}


def _write(path: str, result: Json) -> None:
    """Write the answer whole or not at all, with the digest of what it says."""
    plain = json.dumps(result, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(plain.encode()).hexdigest()
    part = path + ".part"
    with open(part, "w") as stream:
        stream.write(f'{{"schema":"{SCHEMA}","sha256":"{digest}","result":{plain}}}\n')
    os.replace(part, path)


def _told(asked: Any, result: Json) -> int:
    """Print one line a graph; return the exit code."""
    code = 0
    for found in result["graphs"]:
        name = found["variant"]
        if "rule" in found:
            code = WRONG if found["rule"] == NOT_FINITE else code or NOT_RUN
            print(f"{name}: {found['rule']}: {found['reason']}")
            continue
        series = found["series"]
        middles = [f"{key[:-3]} {float(np.median(series[key])) / 1e6:.3f} ms" for key in series]
        proof = "nothing proven"
        if "max_abs" in found:
            proof = f"off by {found['max_abs']:.3g}"
            if not found["passed"]:
                proof, code = proof + ", WHICH IS TOO MUCH: do not use it", WRONG
        print(f"{name}: {len(series['host_ns'])} calls, median {', '.join(middles)}; {proof}")
    shown = os.path.basename(asked.output)
    print(f"written: {asked.output}; on the other machine: medge results import {shown}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
