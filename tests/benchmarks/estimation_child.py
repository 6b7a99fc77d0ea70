"""One network under one runtime in a process of its own: what it takes of memory, and its time.

Run by estimation.py: ``python estimation_child.py RUNTIME GRAPH SIDE BATCH RUNS``; prints JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

from medge.engine.backends import Options, Port, backend_class
from medge.profiles.device import allowed_cores

CLASSES = 1000


def main() -> None:
    """Load as `medge run` does, run, and say what the process took at each step."""
    runtime, graph, side, batch, runs = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    backend = backend_class(runtime)()
    found = {"base_kb": status("VmRSS"), "version": backend.version}
    image = np.random.default_rng(0).random((batch, 3, side, side), "f4")
    options = Options(
        device="cpu",
        precision="fp32",
        threads=allowed_cores(),
        inputs=(Port("image", "float32", (3, side, side)),),
        outputs=(Port("scores", "float32", (CLASSES,)),),
    )
    forget_the_peak()
    backend.load(graph.read_bytes(), options)
    found |= {"load_peak_kb": status("VmHWM"), "loaded_kb": status("VmRSS")}
    forget_the_peak()
    taken = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        backend.infer({"image": image})
        taken.append(time.perf_counter_ns() - start)
    found |= {"run_peak_kb": status("VmHWM"), "after_kb": status("VmRSS"), "taken_ns": taken}
    print(json.dumps(found))


def status(field: str) -> int:
    """Return one figure of this process in KiB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(found[1])


def forget_the_peak() -> None:
    """Let the peak begin at what the process holds now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    main()
