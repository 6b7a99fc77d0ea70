"""Several devices: what is left of their sum, in one process, whatever a device takes.

Run: ``python tests/benchmarks/spread.py [--call-ms 10] [--frames 400]``

No GPU: each device is the null backend, and a call lasts as long as a sleep. That shows what
reading, preparing and ordering leave of so many devices, and nothing about GPUs. The last rows have
one device that is four times slower, and one that dies after a third of its calls.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from dicom_files import make

from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.classify import Classifier
from medge.engine.frames.study import Asked
from medge.engine.select import choose
from medge.engine.session import Session
from medge.engine.spread import Spread, open_spread
from medge.errors import BackendError

CINE_FRAMES = 40


def main() -> None:
    """Print a row for each number of devices, and for the uneven ones."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--call-ms", type=float, default=10.0)
    asked.add_argument("--frames", type=int, default=400)
    options = asked.parse_args()
    call_s = options.call_ms / 1e3
    print(
        "| devices | a call | pictures/s | of what they could | share of each | in order | failed |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        cine = Path(folder) / "cine.dcm"
        pixels = np.random.default_rng(1).integers(0, 255, (CINE_FRAMES, 240, 320), dtype="u1")
        make(cine, frames=CINE_FRAMES, pixels=pixels)
        files = [cine] * -(-options.frames // CINE_FRAMES)
        for count in (1, 2, 4, 8):
            row(files, [call_s] * count)
        row(files, [call_s, call_s, call_s, 4 * call_s])
        row(files, [call_s] * 4, dies_after=len(files) * CINE_FRAMES // 12)


def row(files: list[Path], calls_s: list[float], dies_after: int | None = None) -> None:
    """Judge all files on as many devices as there are times of a call; print what came of it."""
    devices = "null:" + ",".join(map(str, range(len(calls_s))))
    bundle = open_bundle(find_bundle(None))
    choice = choose(bundle, device=devices, several=True)
    session, tested = open_spread(bundle, choice)
    sessions = session.sessions if isinstance(session, Spread) else (session,)
    for number, (each, call_s) in enumerate(zip(sessions, calls_s, strict=True)):
        slow_down(each, call_s, dies_after if number == 0 else None)
    with Classifier(bundle, choice, session, tested) as classifier:
        start = time.perf_counter()
        with closing(classifier.judge_all(files, Asked())) as results:
            found = list(results)
        seconds = time.perf_counter() - start
    judged = [result for result in found if result.fault is None]
    could = sum(1 / call_s for call_s in calls_s)
    shares = Counter(result.device for result in judged)
    ordered = [result.frame for result in found] == [*range(CINE_FRAMES)] * len(files)
    print(
        f"| {len(calls_s)} | {' '.join(f'{1e3 * each:g}' for each in calls_s)} ms | "
        f"{len(judged) / seconds:.0f} | {len(judged) / seconds / could:.0%} | "
        f"{' '.join(str(shares[each.device]) for each in sessions)} | "
        f"{'yes' if ordered else 'NO'} | {len(found) - len(judged)} |",
        flush=True,
    )


def slow_down(session: Session, call_s: float, dies_after: int | None) -> None:
    """Let every call of a session sleep, and from some call on fail at once."""
    infer, calls = session.infer, iter(range(1 << 40))

    def slow(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
        if dies_after is not None and next(calls) >= dies_after:
            raise BackendError("runtime-failed", "it died")
        time.sleep(call_s)
        return infer(inputs, stream)

    session.infer = slow  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    main()
