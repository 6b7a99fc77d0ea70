"""Seeded mutations of small files: each must be read or refused by rule, quickly.

    python tests/hostile/mutate.py [--cases 20000] [--seed 1]

Cases run in a process of their own, so that a crash is counted and the rest still runs.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.outcome import Outcome, outcome_of
from hostile.seeds import all_seeds

Random = np.random.Generator
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def flip_bits(data: bytearray, random: Random) -> bytes:
    """Flip 1 to 8 bits anywhere."""
    for _ in range(random.integers(1, 9)):
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    return bytes(data)


def set_bytes(data: bytearray, random: Random) -> bytes:
    """Overwrite 1 to 16 bytes in a row with random ones."""
    at = int(random.integers(len(data)))
    count = int(random.integers(1, 17))
    data[at : at + count] = random.bytes(count)
    return bytes(data)


def truncate(data: bytearray, random: Random) -> bytes:
    """Cut anywhere."""
    return bytes(data[: random.integers(len(data))])


def delete(data: bytearray, random: Random) -> bytes:
    """Take 1 to 64 bytes out."""
    at = int(random.integers(len(data)))
    del data[at : at + int(random.integers(1, 65))]
    return bytes(data)


def insert(data: bytearray, random: Random) -> bytes:
    """Put 1 to 64 random bytes in."""
    at = int(random.integers(len(data)))
    data[at:at] = random.bytes(int(random.integers(1, 65)))
    return bytes(data)


def repeat(data: bytearray, random: Random) -> bytes:
    """Copy a piece of the file to another place in it."""
    at, to = (int(random.integers(len(data))) for _ in range(2))
    data[to:to] = data[at : at + int(random.integers(1, 257))]
    return bytes(data)


def lie_in_header(data: bytearray, random: Random) -> bytes:
    """Put a telling number where an element's length or value may be."""
    end = min(len(data) - 4, 2500)
    if end <= 132:
        return flip_bits(data, random)
    at = int(random.integers(132, end)) & ~1
    number = int(random.choice(_NUMBERS))
    code = "<I" if random.integers(2) else "<H"
    size = struct.calcsize(code)
    data[at : at + size] = struct.pack(code, number & (0xFFFF if size == 2 else 0xFFFFFFFF))
    return bytes(data)


MUTATORS: tuple[Callable[[bytearray, Random], bytes], ...] = (
    flip_bits,
    set_bytes,
    truncate,
    delete,
    insert,
    repeat,
    lie_in_header,
)


def case(number: int, seed: int, seeds: dict[str, bytes]) -> tuple[str, str, bytes]:
    """Return mutator, seed file and damaged bytes of one case; the same for the same numbers."""
    random = np.random.default_rng((seed, number))
    name = sorted(seeds)[number % len(seeds)]
    mutator = MUTATORS[(number // len(seeds)) % len(MUTATORS)]
    return mutator.__name__, name, mutator(bytearray(seeds[name]), random)


def run_cases(numbers: range, seed: int, folder: Path) -> Iterator[tuple[int, str, str, Outcome]]:
    """Run cases in this process."""
    seeds = dict(all_seeds())
    for number in numbers:
        mutator, name, data = case(number, seed, seeds)
        yield number, mutator, name, outcome_of(data, folder / f"case-{number}")


def _work(first: int, last: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, mutator, name, found in run_cases(range(first, last), seed, Path(folder)):
            print(json.dumps([number, mutator, name, found.kind, found.seconds]), flush=True)


def _supervise(cases: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str], float]:
    """Run all cases in children; a child that dies costs one case and is replaced."""
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[str] = []
    slowest, first = 0.0, 0
    while first < cases:
        command = [sys.executable, __file__, "--work", str(first), str(cases), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                number, mutator, name, kind, seconds = json.loads(line)
                first = number + 1
                slowest = max(slowest, seconds)
                verdict = "read" if kind == "read" else "refused by rule"
                if kind.startswith(("untyped", "leak", "slow")):
                    verdict = kind.split()[0]
                    broken.append(f"case {number}: {mutator} of {name}: {kind}")
                counts[mutator, verdict] += 1
        if child.returncode:
            broken.append(f"case {first}: the process died with {child.returncode}")
            counts["(any)", "crash"] += 1
            first += 1
    return counts, broken, slowest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(*options.work)
        return 0
    begin = time.monotonic()
    counts, broken, slowest = _supervise(options.cases, options.seed)
    verdicts = ["read", "refused by rule", "untyped", "leak", "slow", "crash"]
    print("| mutation | " + " | ".join(verdicts) + " |")
    print("|---" * (len(verdicts) + 1) + "|")
    for mutator in sorted({mutator for mutator, _ in counts}):
        row = [str(counts[mutator, verdict]) for verdict in verdicts]
        print(f"| {mutator} | " + " | ".join(row) + " |")
    print(
        f"\n{options.cases} cases, seed {options.seed}, {time.monotonic() - begin:.0f} s, ", end=""
    )
    print(f"slowest case {slowest:.2f} s")
    print("\n".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
