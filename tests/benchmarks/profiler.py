"""Whether `medge profile` and `medge compare` keep their word on this machine, as it is now.

Run: ``python tests/benchmarks/profiler.py coverage|same|slow-downs|flips|effect|all
[--bundle B]``. Each part prints what it found beside what it must be. On two cores: coverage 6
minutes, same 5, slow-downs 22, flips 2, effect 3. ``--few`` makes a tenth of it, to see that all
goes well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pairs import verdict
from planted import WANTED, busy, flipping, pictures, resampled

from medge.bench.compare import LatencyComparison, compare_measurements
from medge.bench.drift import Judge
from medge.bench.earlier import beside_earlier
from medge.bench.entrants import build
from medge.bench.measure import Call, Measurement, Rounds, Stopwatch, measure
from medge.bench.profile.loaded import load_of
from medge.bench.profile.overhead import overhead
from medge.bench.profile.process import Worker
from medge.bench.profile.request import BUDGET_NS, ProfileRequest
from medge.bench.profile.run import profile
from medge.bench.profile.stages import SPELLS, procedure_of
from medge.bench.result import Result
from medge.bench.stats import Interval, percentile, percentile_interval
from medge.bench.store import Store
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.engine.select import choose
from medge.profiles.device import allowed_cores
from medge.profiles.sensors import Sampler, Sensors, open_sensors

STAGES = ("infer", "file-to-decision")
SHIFT_RATIO = 0.05
FLIP_RATIO = 0.02
LIMIT_S = 120.0
FRAMES = 2000  # a planted 2 % is above the margin of 1 % on these in 97 of 100 draws
S = 1_000_000_000


def profiled(
    bundle: Bundle, seconds: float, seed: int, *, twice: bool = False
) -> tuple[Result, ...]:
    """Profile as the command does, without what has nothing to do with latency."""
    choice = choose(bundle)
    request = ProfileRequest(
        choices=(choice, choice) if twice else (choice,),
        budget_ns=round(seconds * S),
        cold_starts=0,
        overhead=False,
        energy=False,
        seed=seed,
    )
    return profile(bundle, request).results


def stage(result: Result, name: str) -> Measurement:
    """Return one stage's measurement."""
    return next(taken for taken in result.measurements if taken.stage == name)


def coverage(bundle: Bundle, few: bool) -> None:
    """Profile again and again: does the interval of p50 hold the p50 of all together?

    Each profile is kept in a store that was empty before, as `medge profile` keeps it.
    """
    count, seconds = (3, 4.0) if few else (10, BUDGET_NS / S)
    results = []
    with TemporaryDirectory(prefix="medge-store-") as folder:
        path = Path(folder) / "results.sqlite"
        for seed in range(count):
            found = profiled(bundle, seconds, seed)[0]
            with Store.open(path) as store:
                results.append(beside_earlier(found, store))
                store.add(results[-1])
    needed = round(0.9 * count)
    wanted = f"at least {needed} of {count}"
    for name in STAGES:
        taken = [stage(result, name) for result in results]
        pooled = percentile(np.concatenate([each.samples_ns for each in taken]), 0.5)
        held = alone = 0
        for each in taken:
            bounds, own = each.interval(0.5), percentile_interval(each.samples_ns, 0.5)
            held += _within(pooled, bounds)
            alone += _within(pooled, own)
            print(
                f"  {name}: p50 {percentile(each.samples_ns, 0.5) / 1e6:.4f} ms, "
                f"{_ends(bounds)}, by its own calls {_ends(own)}; of all {pooled / 1e6:.4f}"
            )
        print(f"  intervals of p50 of {name} by the profile's own calls that hold it: {alone}")
        verdict(f"intervals of p50 of {name} that hold it", held, wanted, held >= needed)


def _within(value: int, bounds: Interval | None) -> bool:
    return bounds is not None and bounds.low <= value <= bounds.high


def _ends(bounds: Interval | None) -> str:
    return "none" if bounds is None else f"{bounds.low / 1e6:.4f} to {bounds.high / 1e6:.4f}"


def same(bundle: Bundle, few: bool) -> None:
    """Compare a candidate with itself: in the same rounds, in other profiles, and resampled."""
    count, seconds = (2, 3.0) if few else (20, 10.0)
    together: list[tuple[Measurement, Measurement]] = []
    apart: list[tuple[Measurement, Measurement]] = []
    before: Result | None = None
    with TemporaryDirectory(prefix="medge-store-") as folder:
        path = Path(folder) / "results.sqlite"
        for seed in range(count):
            found = profiled(bundle, seconds, seed, twice=True)
            with Store.open(path) as store:  # as `medge profile` keeps them
                one, other = (beside_earlier(result, store) for result in found)
                store.add(one)
            together.append((stage(one, "infer"), stage(other, "infer")))
            if before is not None:  # a profile and the one before it: other rounds and processes
                apart.append((stage(before, "infer"), stage(one, "infer")))
            before = one
    for pairs, paired, how in ((together, True, "same rounds"), (apart, False, "other rounds")):
        told = 0
        for a, b in pairs:
            found = compare_measurements(a, b, paired=paired)
            told += found.verdict != "cannot-tell"
            print(f"  {how}: {_told(found)}")
        good, needed = len(pairs) - told, len(pairs) - 1
        wanted = f"at least {needed} of {len(pairs)}"
        verdict(f"live pairs, {how}, that cannot be told", good, wanted, good >= needed)
    for paired in (True, False):
        draw = np.random.default_rng(0)
        told = 0
        for index in range(100):
            pair = resampled(*together[index % len(together)], draw, paired=paired)
            told += compare_measurements(*pair, paired=paired).verdict != "cannot-tell"
        how = "paired" if paired else "unpaired"
        good = 100 - told
        verdict(f"resampled series, {how}, that cannot be told", good, "at least 95", good >= 95)


def slow_downs(bundle: Bundle, few: bool) -> None:
    """Compare a network with itself and a busy wait of 5 % of its call: is it found, how soon?

    Both in the same rounds, and each alone; these take turns as the stages of a profile do.
    """
    count, seconds = (2, 2.0) if few else (20, 60.0)
    candidate = _fp32()
    found, longest_s = {"same rounds": 0, "other rounds": 0}, 0.0
    for seed in range(count):
        start = time.perf_counter()
        plain, slowed = (build(bundle, candidate) for _ in range(2))
        usual = measure(partial(plain.run, 1), procedure_of("infer", S))
        extra_ns = round(SHIFT_RATIO * percentile(usual.samples_ns, 0.5))
        calls = {
            "plain": partial(plain.run, 1),
            "slowed": busy(partial(slowed.run, 1), extra_ns),
        }
        taken = _in_turns(calls, round(seconds * S), seed)
        for how, (one, other) in taken.items():
            told = compare_measurements(one, other, paired=how == "same rounds")
            found[how] += told.verdict == "slower"
            print(f"  {how}: {_told(told)}", flush=True)
        for each in (plain, slowed):
            each.close()
        longest_s = max(longest_s, time.perf_counter() - start)
    for how, number in found.items():
        _found(f"slow-downs of {SHIFT_RATIO:.0%}, {how},", number, count, longest_s)


def _in_turns(
    calls: dict[str, Call], budget_ns: int, seed: int
) -> dict[str, tuple[Measurement, Measurement]]:
    """Time two calls in the same rounds, and each alone, in spells of all three."""
    some = [calls, *({name: call} for name, call in calls.items())]
    parts = (2, 1, 1)  # of the time: a round of both has two turns
    rounds = []
    for asked, part in zip(some, parts, strict=True):
        procedure = procedure_of("infer", budget_ns * part // sum(parts), seed, SPELLS)
        timers = {name: Stopwatch(call, procedure) for name, call in asked.items()}
        rounds.append(Rounds(timers, procedure))
    for each in rounds:
        each.warm_up()
    for _ in range(SPELLS):
        for each in rounds:
            each.spell()
    both, plain, slowed = rounds
    return {
        "same rounds": (both.measurement("plain"), both.measurement("slowed")),
        "other rounds": (plain.measurement("plain"), slowed.measurement("slowed")),
    }


def flips(bundle: Bundle, few: bool) -> None:
    """Judge a graph whose decisions flip on 2 % of all pictures, on other pictures each time."""
    count, frames = (2, 300) if few else (20, FRAMES)
    choice = choose(bundle, "onnxruntime", precision="fp32")
    with TemporaryDirectory(prefix="medge-planted-") as folder:
        model = flipping(bundle, pictures(Path(folder) / "to-plant", 0, 10 * frames), FLIP_RATIO)
        found, longest_s = 0, 0.0
        for seed in range(1, count + 1):
            data = pictures(Path(folder) / str(seed), seed, frames)
            start = time.perf_counter()
            drift = Judge(bundle, data).judge(choice, model).drift
            longest_s = max(longest_s, time.perf_counter() - start)
            found += drift.verdict == "fail"
            print(f"  {drift.flips} of {drift.cases} flipped: {drift.verdict}")
    _found(f"flip rates of {FLIP_RATIO:.0%}", found, count, longest_s)


def effect(bundle: Bundle, few: bool) -> None:
    """Switch the sensors on and off around the same calls: what do they cost p50?"""
    seconds = 5.0 if few else 120.0
    with Worker() as worker, _sensors() as sensors, Sampler(sensors) as sampler:
        worker.load(load_of(bundle, _fp32(), sealed=False))
        found = overhead(worker, sampler, 0, round(seconds * S))
        cost = sampler.cost
    if found.ratio is None or cost is None:
        raise SystemExit("no sensor was read, so that there is no effect to measure")
    print(f"  {len(sensors.channels)} channels, read in {cost.wall_ns / 1e6:.3f} ms every 100 ms")
    bounds = "too few pairs to bound it"
    if found.low is not None and found.high is not None:
        bounds = f"{found.low - 1:+.2%} to {found.high - 1:+.2%} with 99 %"
    print(f"  p50 with sensors on: {found.ratio - 1:+.2%}, {bounds}")
    verdict("effect of the sensors on p50", found.ratio - 1, "<= 0.01", found.ratio <= 1.01)
    high = float("inf") if found.high is None else found.high
    verdict("its upper bound at 99 %", high - 1, "<= 0.01", high <= 1.01)


@contextmanager
def _sensors() -> Iterator[Sensors]:
    """Open this machine's sensors; where it has none, those of a recorded one, as files."""
    with open_sensors() as sensors:
        if sensors.channels:
            yield sensors
            return
    print("  this machine has no sensor; files recorded on a laptop are read in their place")
    from recorded import recorded_sensors

    with recorded_sensors() as sensors:
        yield sensors


def _told(found: LatencyComparison) -> str:
    effect = found.effects[0]
    bounds = "no bounds"
    if effect.low is not None and effect.high is not None:
        bounds = f"{effect.low:+.2%} to {effect.high:+.2%}"
    return f"p50 {effect.change:+.2%}, {bounds}: {found.verdict}"


def _fp32() -> Candidate:
    return Candidate(backend="onnxruntime", device="cpu", variant="fp32", threads=allowed_cores())


def _found(what: str, found: int, count: int, longest_s: float) -> None:
    needed = round(WANTED * count)
    verdict(f"{what} that were found", found, f"at least {needed} of {count}", found >= needed)
    verdict(f"{what} longest time, s", longest_s, f"<= {LIMIT_S:g}", longest_s <= LIMIT_S)


PARTS: dict[str, Callable[[Bundle, bool], None]] = {
    "coverage": coverage,
    "same": same,
    "slow-downs": slow_downs,
    "flips": flips,
    "effect": effect,
}


def main(words: Sequence[str] | None = None) -> None:
    """Print the figures of the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--bundle", default="breast-ultrasound")
    parser.add_argument("--few", action="store_true")
    asked = parser.parse_args(words)
    with open_bundle(find_bundle(asked.bundle)) as bundle:
        for name, part in PARTS.items():
            if asked.part in (name, "all"):
                print(f"{name} of {asked.bundle}", flush=True)
                part(bundle, asked.few)


if __name__ == "__main__":
    main()
