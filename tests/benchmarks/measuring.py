"""What measuring itself costs, and how often its intervals and verdicts are wrong.

Run: ``python tests/benchmarks/measuring.py``. The first part prints the time that a call which does
nothing is said to take; the second part simulates series whose truth is known. About a minute.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pairs import verdict

from medge.bench.measure import Measurement, measure, measure_interleaved
from medge.bench.procedure import Procedure, Sampling
from medge.bench.result import Result
from medge.bench.stats import compare, percentile, percentile_interval, spent
from medge.bench.store import Store
from medge.profiles.device import describe, identity

Series = npt.NDArray[np.float64]
SIMULATIONS = 500
SHIFT = 1.05
LIVE = 20
LENGTHS = (20, 60, 200)


def nothing() -> None:
    """Return at once."""


def overhead() -> None:
    """Print what the clock and the loop add to one call."""
    sampling = Sampling(min_samples=20_000, max_samples=20_000)
    alone = measure(nothing, Procedure(sampling=sampling)).samples_ns
    print(f"  a call that does nothing, alone{percentile(alone, 0.5):21} ns at p50")
    found = percentile(alone, 0.5)
    verdict("time added to one call, p50 in ns", found, "< 1000", found < 1000)
    calls = {name: nothing for name in "abcd"}
    for name, one in measure_interleaved(calls, Procedure(sampling=sampling)).items():
        print(
            f"  the same, {name} of four interleaved{percentile(one.samples_ns, 0.5):17} ns at p50"
        )


def storing() -> None:
    """Print what one result costs to keep and to read."""
    samples = tuple(range(1_000_000, 1_001_000))
    result = Result(
        bundle_sha256="0" * 64,
        device=describe(),
        device_identity=identity(),
        measurements=(Measurement("infer", samples, Procedure()),) * 5,
    )
    with tempfile.TemporaryDirectory() as folder:
        with Store.open(Path(folder) / "results.sqlite") as store:
            start = time.perf_counter_ns()
            numbers = [store.add(result) for _ in range(200)]
            middle = time.perf_counter_ns()
            for number in numbers:
                store.get(number)
            end = time.perf_counter_ns()
        size = (Path(folder) / "results.sqlite").stat().st_size
        opened = time.perf_counter_ns()
        Store.open(Path(folder) / "results.sqlite").close()
        opened = time.perf_counter_ns() - opened
    print(f"  keep one result of 5 x 1,000 samples{(middle - start) / 200 / 1e6:16.2f} ms")
    print(f"  read it{(end - middle) / 200 / 1e6:45.2f} ms")
    print(f"  its size{size / 200 / 1024:44.1f} KiB")
    print(f"  open and check 200 of them{opened / 1e6:26.1f} ms")


def live() -> None:
    """Print how often this machine, as busy as it is, makes a call differ from itself."""
    matrix = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    def multiply(times: int) -> Callable[[], None]:
        def call() -> None:
            for _ in range(times):
                np.matmul(matrix, matrix)

        return call

    calls = {"a": multiply(40), "the same": multiply(40), "5 % more": multiply(42)}
    told, found = 0, 0
    for seed in range(LIVE):
        sampling = Sampling(min_samples=200, max_samples=200)
        taken = measure_interleaved(calls, Procedure(sampling=sampling, lead_in=1, seed=seed))
        a = taken["a"].samples_ns
        told += compare(taken["the same"].samples_ns, a).verdict != "cannot-tell"
        found += compare(taken["5 % more"].samples_ns, a).verdict == "slower"
    verdict(f"live pairs of {LIVE} that differ from themselves", told, "at most 1", told <= 1)
    verdict(f"live pairs of {LIVE} whose 5 % were found", found, "at least 17", found >= 17)


def waves(draw: np.random.Generator, count: int, r: float) -> Series:
    """Return an autoregressive series of order one."""
    steps = draw.normal(0, 0.02, count)
    steps[0] /= np.sqrt(1 - r * r)
    for index in range(1, count):
        steps[index] += r * steps[index - 1]
    return steps


NOISES: dict[str, Callable[[np.random.Generator, int], tuple[Series, Series]]] = {
    "independent": lambda draw, n: (draw.normal(0, 0.02, n), draw.normal(0, 0.02, n)),
    "heavy tails (t, 1.5 degrees)": lambda draw, n: (
        np.clip(0.02 * draw.standard_t(1.5, n), -5, 5),
        np.clip(0.02 * draw.standard_t(1.5, n), -5, 5),
    ),
    "one in 20 calls 2.7 x late": lambda draw, n: (
        draw.exponential(0.05, n) + (draw.random(n) < 0.05),
        draw.exponential(0.05, n) + (draw.random(n) < 0.05),
    ),
    "own waves, r = 0.5": lambda draw, n: (waves(draw, n, 0.5), waves(draw, n, 0.5)),
    "own waves, r = 0.9": lambda draw, n: (waves(draw, n, 0.9), waves(draw, n, 0.9)),
}


def simulate() -> None:
    """Print how often verdicts and intervals are wrong, for each kind of noise and length.

    A random walk that both share is added to every pair.
    """
    print(
        "  A against A told apart at 99 %; the same after 10 looks; 5 % found; p50 missed at 95 %"
    )
    draw = np.random.default_rng(0)
    for name, noise in NOISES.items():
        middle = float(np.median(noise(draw, 200_000)[0])) if "waves" not in name else 0.0
        for count in LENGTHS:
            wrong = np.zeros(4)
            for _ in range(SIMULATIONS):
                a, b = noise(draw, count)
                shared = np.cumsum(draw.normal(0, 0.01, count)) + 16
                one, other, slow, alone = (
                    np.asarray(np.exp(logs), np.int64)
                    for logs in (shared + a, shared + b, shared + a + np.log(SHIFT), a + 16)
                )
                bounds = percentile_interval(alone, 0.5)
                looks = range(count // 10, count + 1, count // 10)
                wrong += (
                    compare(one, other).verdict != "cannot-tell",
                    any(
                        compare(one[:n], other[:n], spent(0.99, 10)).verdict != "cannot-tell"
                        for n in looks
                    ),
                    compare(slow, other).verdict == "slower",
                    bounds is None or not bounds.low <= np.exp(middle + 16) <= bounds.high,
                )
            shares = "".join(f"{share:9.1%}" for share in wrong / SIMULATIONS)
            print(f"  {name:<32}{count:5} {shares}", flush=True)


def main() -> None:
    """Print all figures."""
    overhead()
    storing()
    live()
    simulate()


if __name__ == "__main__":
    main()
