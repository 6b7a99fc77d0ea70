"""Results leave the store: all or none, their space comes back, and equal ones are recognised."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from profiled_results import profiled
from stored_results import result

from medge.bench.sections import Golden
from medge.bench.store import Store
from medge.errors import StorageError, UsageError

SHRINKER = """
import resource, sys
from pathlib import Path
from medge.bench.store import Store
with Store.open(Path(sys.argv[1])) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
    print(store.shrink().reason)
"""


GREEDY = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stored_results import result
from medge.bench.store import Store
with Store.open(Path(sys.argv[1])) as store:
    one = result(9)
    store.add(one)
    print("begun", flush=True)
    while True:
        store.add(one)
"""


def _timed(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_has_no_word_for_is_not_stored(store: Store, number: float) -> None:
    """It would be written as null, and nobody could read the result again."""
    one = profiled()
    assert one.sections is not None
    golden = Golden(cases=1, max_abs=number, tolerance=1.0, shares={})
    sections = msgspec.structs.replace(one.sections, golden=golden)
    with pytest.raises(ValueError, match="nobody could read"):
        store.add(msgspec.structs.replace(one, sections=sections))
    assert list(store.results()) == []


def test_sections_come_back(store: Store) -> None:
    assert store.get(store.add(profiled(3))) == profiled(3)


def test_an_equal_result_is_found_whoever_stored_it(store: Store) -> None:
    numbers = [store.add(result(seed)) for seed in range(4)]
    assert [store.find(result(seed)) for seed in range(4)] == numbers
    assert store.find(result(9)) is None
    assert store.find(msgspec.structs.replace(result(1), backend_version="9")) is None


def test_removed_results_are_gone_and_their_ids_are_not_given_again(store: Store) -> None:
    numbers = [store.add(result(seed)) for seed in range(4)]
    store.remove(numbers[2:])
    assert list(store.results()) == [(numbers[0], result(0)), (numbers[1], result(1))]
    assert store.add(result(7)) > numbers[-1]
    with pytest.raises(UsageError, match=f"no result {numbers[3]}"):
        store.remove([numbers[0], numbers[3]])
    assert store.get(numbers[0]) == result(0)  # all or none


def test_nothing_is_left_of_removed_results_but_what_others_share(store: Store) -> None:
    first, second = store.add(result(1)), store.add(result(2))
    ask = store._connection.execute
    count = lambda name: ask(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 - a name of ours
    tables = ("result", "measurement", "drift", "device", "procedure")
    store.remove([first])
    assert [count(name) for name in tables] == [1, 2, 0, 1, 2]
    store.remove([second])
    assert [count(name) for name in tables] == [0, 0, 0, 0, 0]


def test_the_file_shrinks_by_what_was_removed(store: Store) -> None:
    numbers = [store.add(result(seed, samples=3000)) for seed in range(8)]
    store.remove(numbers[1:])
    shrunk = store.shrink()
    assert (shrunk.reason, shrunk.after_bytes) == ("", store.path.stat().st_size)
    assert shrunk.after_bytes < 150_000 < 8 * 2 * 3000 * 8 < shrunk.before_bytes
    assert list(store.results()) == [(numbers[0], result(0, samples=3000))]


def test_a_reader_in_the_way_is_named_and_nothing_is_lost(path: Path) -> None:
    with Store.open(path) as store, Store.open(path, writable=False) as reader:
        numbers = [store.add(result(seed, samples=3000)) for seed in range(3)]
        reader._connection.execute("BEGIN")
        assert reader._connection.execute("SELECT count(*) FROM result").fetchone() == (3,)
        store.remove(numbers[1:])
        store._connection.execute("PRAGMA busy_timeout = 50")
        assert store.shrink().reason.startswith("another process has it open")
        reader._connection.execute("ROLLBACK")
        assert reader.get(numbers[0]) == result(0, samples=3000)
        assert store.shrink().reason == ""


def test_two_writers_without_rest_both_get_on(path: Path) -> None:
    """SQLite's own waiting let one starve for 14 s while the other went on."""
    with Store.open(path) as store:
        store.add(result(0))
    command = [sys.executable, "-I", "-c", GREEDY, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as greedy:
        assert greedy.stdout is not None
        assert greedy.stdout.readline() == "begun\n"
        try:
            with Store.open(path) as store:
                took = [_timed(lambda seed=seed: store.add(result(seed))) for seed in range(1, 6)]
        finally:
            greedy.kill()
    assert max(took) < 10.0


def test_a_disk_too_full_to_shrink_loses_nothing(path: Path) -> None:
    """No file may grow beyond 64 KiB: the copy that takes the file's place does not fit."""
    with Store.open(path) as store:
        numbers = [store.add(result(seed, samples=3000)) for seed in range(4)]
        store.remove(numbers[:1])
    done = subprocess.run(
        [sys.executable, "-I", "-c", SHRINKER, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("the disk has no room"), done.stderr
    with Store.open(path) as store:
        assert [one for _, one in store.results()] == [result(s, samples=3000) for s in (1, 2, 3)]


def test_who_opened_to_read_cannot_remove(path: Path) -> None:
    with Store.open(path) as store:
        number = store.add(result(0))
    with Store.open(path, writable=False) as store:
        with pytest.raises(StorageError, match="cannot be written"):
            store.remove([number])
        assert store.get(number) == result(0)
