"""Whether a network's speed changes with the time or with the process that runs it.

Run: ``python tests/benchmarks/speeds.py [--minutes 7] [--bundle B]``, quiet machine. Four processes
of the same candidate take turns; each minute the oldest but two is replaced by a new one. A row a
process, a column for each 20 s, medians in ms: columns that differ are the machine, rows are the
processes. The last line says how long the machine stayed on one side of its median.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import count

import numpy as np

from medge.bench.profile.loaded import load_of
from medge.bench.profile.process import Worker
from medge.bench.profile.stages import procedure_of
from medge.bench.profile.turns import INFER, Turns
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.engine.select import choose
from medge.profiles.device import allowed_cores

WORKERS = 4
STAY = 2  # of them stay to the end
BURST = 100  # calls of one process before the next one's turn
LIFE_S = 60.0
COLUMN_S = 20.0


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--minutes", type=float, default=7.0)
    asked.add_argument("--bundle", default="breast-ultrasound")
    options = asked.parse_args()
    with open_bundle(find_bundle(options.bundle)) as bundle, ExitStack() as stack:
        taken = bursts(bundle, options.minutes * 60.0, stack)
    show(taken)


def bursts(bundle: Bundle, seconds: float, stack: ExitStack) -> list[tuple[float, int, float]]:
    """Return for each burst when it began in s, which process it was of, and its median in ms."""
    numbers = count()
    timers: dict[int, tuple[Worker, Turns]] = {}

    def begin() -> None:
        worker = Worker()
        stack.callback(worker.close)
        choice = choose(bundle, "onnxruntime", precision="fp32")
        candidate = Candidate(
            backend=choice.backend, device="cpu", variant="fp32", threads=allowed_cores()
        )
        worker.load(load_of(bundle, candidate, sealed=False))
        timers[next(numbers)] = (worker, Turns(worker, procedure_of(INFER, 0)))

    for _ in range(WORKERS):
        begin()
    order = random.Random(0)  # noqa: S311 - an order, not a secret
    taken = []
    start = replaced = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        if now - replaced > LIFE_S:
            replaced = now
            oldest = min(number for number in timers if number >= STAY)
            timers.pop(oldest)[0].close()
            begin()
        for number in order.sample(sorted(timers), len(timers)):
            at_s = time.perf_counter() - start
            times = [timers[number][1].turn(place) for place in range(BURST)]
            known = [time_ns for time_ns in times if time_ns is not None]
            taken.append((at_s, number, float(np.median(known)) / 1e6))
    return taken


def show(taken: list[tuple[float, int, float]]) -> None:
    """Print a row for each process, and how the machine's two sides took turns."""
    columns = range(int(taken[-1][0] // COLUMN_S) + 1)
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for at_s, number, middle in taken:
        cells[number, int(at_s // COLUMN_S)].append(middle)
    for number in sorted({number for _, number, _ in taken}):
        row = (cells.get((number, column)) for column in columns)
        told = " ".join("    -" if some is None else f"{np.median(some):5.2f}" for some in row)
        print(f"{number:3} {told}")
    middles = np.array([middle for _, _, middle in taken])
    slow = middles > np.median(middles)
    turns = np.flatnonzero(np.diff(slow))
    stays = np.diff([taken[place][0] for place in turns])
    low, high = np.percentile(middles, (10, 90))
    print(f"bursts of {BURST} calls: {low:.3f} ms at the 10th percentile, {high:.3f} at the 90th")
    if len(stays):
        print(f"{len(turns)} changes, {np.median(stays):.1f} s apart, at most {max(stays):.0f}")


if __name__ == "__main__":
    main()
