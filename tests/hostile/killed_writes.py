"""Writers of the store killed at random moments: all they acknowledged holds, nothing is torn.

    python tests/hostile/killed_writes.py [--kills 1000] [--seed 1]

Two writers share a file. They add results with sections, now and then remove one of their own and
shrink the file. Each is killed with SIGKILL after some steps and up to 30 ms, the first ones while
the file itself is being made. What the dead left behind is read after every tenth kill, and a new
store begins after forty.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads would not survive the fork
sys.path.insert(0, str(Path(__file__).parents[1]))

from profiled_results import profiled

from medge.bench.store import Store
from medge.errors import StorageError

SAMPLES = 60
WRITERS = 2
KILLS = 40  # of one store
REMOVES = 3  # of so many results a writer removes one; after twice as many it shrinks the file
LATEST_S = 0.03


@dataclass
class Account:
    """What writers said: seeds of results added, removals begun, removals done."""

    added: dict[int, int] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    shrunk: int = 0
    locked: int = 0

    def enter(self, said: bytes) -> None:
        """Enter the whole lines of one writer."""
        for line in said[: said.rfind(b"\n") + 1].splitlines():
            word, *numbers = line.split()
            first, *others = map(int, numbers)
            if word == b"added":
                self.added[first] = others[0]
            elif word == b"removing":
                self.begun.add(first)
            elif word == b"removed":
                self.removed.add(first)
            elif word == b"shrunk":
                self.shrunk += 1
            else:
                self.locked += 1


class Writer:
    """A process that adds and removes results without end, and says each step."""

    def __init__(self, path: Path, first_seed: int) -> None:
        self._told, telling = os.pipe()
        self._said = b""
        self._process = os.fork()
        if not self._process:
            try:
                _write(path, first_seed, telling)
            except BaseException:
                traceback.print_exc()  # nobody else would say why it ended
            finally:
                os._exit(1)
        os.close(telling)

    def read(self, steps: int) -> None:
        """Wait until so many steps were told."""
        while self._said.count(b"\n") < steps:
            some = os.read(self._told, 4096)
            if not some:
                raise SystemExit("a writer ended by itself")
            self._said += some

    def kill(self) -> bytes:
        """Kill it; return what it had told."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        while some := os.read(self._told, 4096):
            self._said += some
        os.close(self._told)
        return self._said


def _write(path: Path, seed: int, telling: int) -> None:
    with Store.open(path) as store:
        while True:
            try:
                _step(store, seed, telling)
            except StorageError as error:
                # On a slow disk the other writer may hold the lock nearly all the time.
                if error.rule != "results-locked":
                    raise
                os.write(telling, b"locked 0\n")
            seed += REMOVES


def _step(store: Store, seed: int, telling: int) -> None:
    """Add some results, remove one of them, and now and then shrink the file."""
    own = []
    for each in range(seed, seed + REMOVES):
        own.append(store.add(profiled(each, samples=SAMPLES)))
        os.write(telling, b"added %d %d\n" % (own[-1], each))
    os.write(telling, b"removing %d\n" % own[-2])
    store.remove([own[-2]])
    os.write(telling, b"removed %d\n" % own[-2])
    if seed % (2 * REMOVES) == 0:
        store.shrink()
        os.write(telling, b"shrunk 0\n")


def check(path: Path, account: Account, kills: int) -> str | None:
    """Return what is wrong, None where nothing is; no file at all is right before an answer."""
    if not path.exists() and not account.added:
        return None
    try:
        with Store.open(path) as store:
            found = dict(store.results())  # each is held to its digest
    except StorageError as torn:
        return str(torn)
    for number, seed in account.added.items():
        if number in account.removed:
            if number in found:
                return f"result {number} was removed and is there"
            continue
        may_be_gone = number in account.begun and number not in found
        if not may_be_gone and found.get(number) != profiled(seed, samples=SAMPLES):
            return f"result {number} was acknowledged and is lost or another"
    if len(found) > len(account.added) + kills:
        return "more results than were added"
    return None


def one_store(kills: int, draw: random.Random) -> tuple[str | None, Account]:
    """Kill the writers of one store; return what is wrong, and what they had told."""
    account = Account()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        for killed in range(0, kills, WRITERS):
            writers = [Writer(path, 1_000_000 * (killed + place)) for place in range(WRITERS)]
            for writer in writers:
                writer.read(draw.randrange(8) if killed >= 10 else 0)
                time.sleep(draw.random() * LATEST_S)
                account.enter(writer.kill())
            if killed % 10 == 0 or killed + WRITERS >= kills:
                wrong = check(path, account, killed + WRITERS)
                if wrong:
                    return wrong, account
    return None, account


def main() -> int:
    """Return 0 when nothing was lost or torn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)  # noqa: S311 - moments of a test
    added = removed = shrunk = locked = 0
    for begun in range(0, asked.kills, KILLS):
        wrong, account = one_store(min(KILLS, asked.kills - begun), draw)
        added, removed = added + len(account.added), removed + len(account.removed)
        shrunk, locked = shrunk + account.shrunk, locked + account.locked
        if wrong:
            print(f"MISS within {begun + KILLS} kills: {wrong}")
            return 1
    print(
        f"met  {asked.kills} kills, {added} acknowledged results with sections, {removed} "
        f"acknowledged removals, {shrunk} shrinks: none lost, none torn, none back"
        + (f" ({locked} times a writer waited in vain)" if locked else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
