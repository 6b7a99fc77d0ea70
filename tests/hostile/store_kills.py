"""Writers of the store killed at random moments: all they acknowledged is there, nothing is torn.

    python tests/hostile/store_kills.py [--kills 1000] [--seed 1]

Two writers share the file; each is killed with SIGKILL after some results and up to 8 ms, the first
ones while the file itself is being made. What the dead left behind is read after every tenth kill,
and a new store begins after forty.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads would not survive the fork
sys.path.insert(0, str(Path(__file__).parents[1]))

from stored_results import result

from medge.bench.store import Store

SAMPLES = 200
WRITERS = 2
KILLS = 40  # of one store


class Writer:
    """A process that adds results without end and says the id and seed of each."""

    def __init__(self, path: Path, first_seed: int) -> None:
        self._told, telling = os.pipe()
        self._said = b""
        self._process = os.fork()
        if not self._process:
            try:
                _write(path, first_seed, telling)
            finally:
                os._exit(1)
        os.close(telling)

    def read(self, results: int) -> None:
        """Wait until so many results were acknowledged."""
        while self._said.count(b"\n") < results:
            some = os.read(self._told, 4096)
            if not some:
                raise SystemExit("a writer ended by itself")
            self._said += some

    def kill(self) -> dict[int, int]:
        """Kill it; return the seed of each id that it had acknowledged."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        while some := os.read(self._told, 4096):
            self._said += some
        os.close(self._told)
        whole = self._said[: self._said.rfind(b"\n") + 1]
        return {int(number): int(seed) for number, seed in map(bytes.split, whole.splitlines())}


def _write(path: Path, seed: int, telling: int) -> None:
    with Store.open(path) as store:
        while True:
            os.write(telling, b"%d %d\n" % (store.add(result(seed, SAMPLES)), seed))
            seed += 1


def check(path: Path, acknowledged: dict[int, int], kills: int) -> str | None:
    """Return what is wrong, None where nothing is; no file at all is right before an answer."""
    if not path.exists() and not acknowledged:
        return None
    with Store.open(path) as store:
        found = dict(store.results())  # each is held to its digest
    for number, seed in acknowledged.items():
        if found.get(number) != result(seed, SAMPLES):
            return f"result {number} was acknowledged and is lost or another"
    if len(found) > len(acknowledged) + kills:
        return "more results than were added"
    return None


def one_store(kills: int, draw: random.Random) -> tuple[str | None, int]:
    """Kill the writers of one store; return what is wrong, and how many results were kept."""
    acknowledged: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        for killed in range(0, kills, WRITERS):
            writers = [Writer(path, 1_000_000 * (killed + place)) for place in range(WRITERS)]
            for writer in writers:
                writer.read(draw.randrange(6) if killed >= 10 else 0)
                until = time.perf_counter_ns() + draw.randrange(8_000_000)
                while time.perf_counter_ns() < until:
                    pass
                acknowledged |= writer.kill()
            if killed % 10 == 0 or killed + WRITERS >= kills:
                wrong = check(path, acknowledged, killed + WRITERS)
                if wrong:
                    return wrong, len(acknowledged)
    return None, len(acknowledged)


def main() -> int:
    """Return 0 when nothing was lost or torn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)  # noqa: S311 - moments of a test
    kept = 0
    for begun in range(0, asked.kills, KILLS):
        wrong, acknowledged = one_store(min(KILLS, asked.kills - begun), draw)
        kept += acknowledged
        if wrong:
            print(f"MISS within {begun + KILLS} kills: {wrong}")
            return 1
    print(f"met  {asked.kills} kills, {kept} acknowledged results: none lost, none torn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
