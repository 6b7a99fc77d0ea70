"""What it costs that TensorRT runs in a process of its own: one call there and back.

Run: ``python tests/benchmarks/lane_cost.py`` (quiet machine; 10 seconds)

Network and driver are the stand-ins of the tests, which copy and multiply on the CPU; what they
take themselves is measured in the same run and told beside it. No GPU is in these figures.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from cuda_library import cuda_library

from medge.engine.backends import Options, Port
from medge.engine.backends.trt.backend import TensorRT

TESTS = Path(__file__).parents[1]
CALLS = 5000
X, Y = Port("x", "float32", (3, 2, 2)), Port("y", "float32", (3, 2, 2))


def main() -> None:
    """Time calls through a lane, and the same arithmetic without one."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = str(cuda_library(Path(folder)).parent)
        os.environ["PYTHONPATH"] = str(TESTS / "trt_standin")
        runtime = TensorRT()
        model = json.dumps({"batch": -1, "scale": 2.0}).encode()
        runtime.load(model, Options("nvidia:0", "fp32", 1, (X,), (Y,)))
        picture = np.ones((1, *X.shape), np.float32)
        told = [spent_ns(lambda: runtime.infer({"x": picture})) for _ in range(CALLS)]
        runtime.close()
    plain = [spent_ns(lambda: 2 * picture + 1) for _ in range(CALLS)]
    for name, times in (("a call through a lane", told), ("the same without", plain)):
        median, late = np.percentile(times[100:], [50, 99]) / 1000
        print(f"{name:22} median {median:7.1f} us, 99 % below {late:7.1f} us, n {len(times) - 100}")


def spent_ns(call: Callable[[], object]) -> int:
    """Return what one call takes."""
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start


if __name__ == "__main__":
    main()
