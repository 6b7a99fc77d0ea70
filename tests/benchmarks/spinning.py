"""How long ONNX Runtime's threads should wait in a loop: speed against CPU time burnt afterwards.

Run: ``python tests/benchmarks/spinning.py BUNDLE...``

Each setting is met in waves of calls without a pause, and in frames 33 ms apart; then the CPU time
is read that the threads take while nobody calls.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import find_bundle, open_bundle

ROUNDS = 31
WAVE_NS = 20_000_000
REST_S = 0.08
FRAME_S = 1 / 30


def bounded(duration_us: int, most_pauses: int) -> dict[str, str]:
    """Return the entries for a loop of so many microseconds, with pauses that grow so far."""
    return {
        "session.intra_op.spin_duration_us": str(duration_us),
        "session.intra_op.spin_backoff_max": str(most_pauses),
    }


SETTINGS: dict[str, dict[str, str]] = {
    "left alone": {},
    "stopped at once": {"session.force_spinning_stop": "1"},
    "0.2 ms, growing pauses": bounded(200, 8),
    "0.5 ms, growing pauses": bounded(500, 8),
    "1 ms, growing pauses": bounded(1000, 8),
    "1 ms, even pauses": bounded(1000, 1),
    "2 ms, growing pauses": bounded(2000, 8),
    "5 ms, growing pauses": bounded(5000, 8),
}


class Timed:
    """One session and what was taken of it, in ns."""

    def __init__(self, model: bytes, entries: dict[str, str], feed: dict[str, Any]) -> None:
        onnxruntime = silent_onnxruntime()
        options = onnxruntime.SessionOptions()
        for entry, value in entries.items():
            options.add_session_config_entry(entry, value)
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._feed = feed
        self.wave_ns: list[float] = []
        self.frame_ns: list[int] = []
        self.burnt_ns: list[int] = []

    def call(self) -> int:
        """Return what one call took."""
        start = time.perf_counter_ns()
        self._session.run(None, self._feed)
        return time.perf_counter_ns() - start

    def wave(self) -> None:
        """Make calls for 20 ms after one that is not timed, then rest."""
        time.sleep(REST_S)
        self.call()
        count, start = 0, time.perf_counter_ns()
        while count == 0 or time.perf_counter_ns() - start < WAVE_NS:
            self.call()
            count += 1
        self.wave_ns.append((time.perf_counter_ns() - start) / count)
        before = time.process_time_ns()
        time.sleep(REST_S)
        self.burnt_ns.append(time.process_time_ns() - before)

    def frames(self) -> None:
        """Make three calls 33 ms apart."""
        for _ in range(3):
            time.sleep(FRAME_S)
            self.frame_ns.append(self.call())


def main() -> None:
    """Compare the settings for every bundle."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("bundles", nargs="+")
    for name in asked.parse_args().bundles:
        with open_bundle(find_bundle(name)) as bundle:
            inputs = bundle.golden().inputs
            feed = {key: np.ascontiguousarray(array[:1]) for key, array in inputs.items()}
            model = bundle.read("model.onnx")
        timed = {name: Timed(model, entries, feed) for name, entries in SETTINGS.items()}
        names = list(timed)
        for round_ in range(ROUNDS):
            turn = round_ % len(names)
            for one in names[turn:] + names[:turn]:
                timed[one].wave()
            for one in names[turn:] + names[:turn]:
                timed[one].frames()
        print(f"{name}: ms in waves, ms at 30 frames a second, ms of CPU time burnt after a wave")
        for setting, one in timed.items():
            medians = (np.median(one.wave_ns), np.median(one.frame_ns), np.median(one.burnt_ns))
            print(f"  {setting:<26}" + "".join(f"{value / 1e6:9.2f}" for value in medians))


if __name__ == "__main__":
    main()
