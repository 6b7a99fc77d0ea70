"""The store: whole results or none, through kills, full disks, damage, rivals, newer versions."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from stored_results import DEVICE, result

from medge.bench import store_file
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.result import Result
from medge.bench.store import Store
from medge.bench.store_file import LADDER, connect
from medge.errors import StorageError, UsageError

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stored_results import result
from medge.bench.store import Store
{before}
with Store.open(Path(sys.argv[1])) as store:
    for seed in range(int(sys.argv[3]), int(sys.argv[4])):
        print(store.add(result(seed)), seed, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


def write(path: Path, first: int, last: int, before: str = "") -> subprocess.Popen[str]:
    """A process that adds the results of some seeds and says the id and seed of each."""
    return subprocess.Popen(
        [
            sys.executable, "-I", "-c", WRITER.format(before=before),
            str(path), str(Path(__file__).parent), str(first), str(last),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def held(path: Path) -> dict[int, Result]:
    with Store.open(path) as store:
        return dict(store.results())


def test_what_was_added_comes_back(store: Store) -> None:
    number = store.add(result(1))
    assert store.get(number) == result(1)


def test_results_come_in_their_order_all_or_of_one_bundle(store: Store) -> None:
    numbers = [store.add(result(seed)) for seed in range(6)]
    assert list(store.results()) == list(zip(numbers, map(result, range(6)), strict=True))
    assert [number for number, _ in store.results(f"{1:064x}")] == [numbers[1], numbers[4]]
    assert list(store.results("f" * 64)) == []


def test_an_extreme_result_comes_back(store: Store) -> None:
    bare = Result(bundle_sha256="0" * 64, device=DEVICE, device_identity="x")
    extreme = Measurement("infer", (0, 2**63 - 1), Procedure())
    numbers = [store.add(bare), store.add(msgspec.structs.replace(bare, measurements=(extreme,)))]
    assert store.get(numbers[0]) == bare
    assert store.get(numbers[1]).measurements == (extreme,)


def test_the_store_lies_in_the_state_folder_for_its_user_alone() -> None:
    with Store.open() as store:
        store.add(result(0))
        assert store.path == Path(os.environ["MEDGE_HOME"]) / "results.sqlite"
        for name in ("", "-wal", "-shm"):
            assert store.path.with_name(store.path.name + name).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in store.path.parent.iterdir()] == ["results.sqlite"]


def test_an_id_that_nobody_has_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="holds no result 7") as refused:
        store.get(7)
    assert refused.value.rule == "result-unknown"


def test_a_result_that_cannot_be_stored_leaves_nothing(store: Store) -> None:
    store.add(result(0))
    broken = Measurement("infer", (1, 2**63), Procedure())  # beyond what 64 bits hold
    with pytest.raises(OverflowError):
        store.add(msgspec.structs.replace(result(1), measurements=(broken,)))
    assert [one for _, one in store.results()] == [result(0)]


def test_writers_killed_at_any_moment_leave_whole_results_and_all_they_acknowledged() -> None:
    """A shorter run of what ``make hostile`` does a thousand times."""
    script = Path(__file__).parent / "hostile" / "killed_writes.py"
    done = subprocess.run(
        [sys.executable, "-I", str(script), "--kills", "40"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("met  40 kills"), done.stdout + done.stderr


def test_two_writers_at_once_take_turns(path: Path) -> None:
    writers = [write(path, first, first + 40) for first in (0, 100)]
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, "")
    seeds = [*range(40), *range(100, 140)]
    key = lambda one: one.measurements[0].samples_ns
    assert sorted(held(path).values(), key=key) == sorted(map(result, seeds), key=key)


def test_a_full_disk_loses_nothing_that_was_acknowledged(path: Path) -> None:
    """No file may grow beyond 1 MB: the disk's write fails in the middle of a result."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    writer = write(path, 0, 1000, before=limit)
    output, errors = writer.communicate()
    assert "StorageError: E6 results-disk" in errors
    acknowledged = {int(a): result(int(b)) for a, b in map(str.split, output.splitlines())}
    assert len(acknowledged) > 5
    assert held(path) == acknowledged


def test_a_full_database_refuses_and_goes_on_when_there_is_room(store: Store) -> None:
    store.add(result(0))
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="nothing was added") as refused:
        store.add(result(1, samples=3000))
    assert refused.value.rule == "results-disk"
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.add(result(2))
    assert [one for _, one in store.results()] == [result(0), result(2)]


def test_a_disk_too_small_for_the_file_itself_leaves_none(path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))"
    _, errors = write(path, 0, 1, before=limit).communicate()
    assert "StorageError: E6 results-disk" in errors
    assert list(path.parent.iterdir()) == []


def test_a_writer_that_never_ends_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "WAIT_S", 0.05)
    with Store.open(path) as first, Store.open(path) as second:
        first._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process") as refused:
            second.add(result(0))
        assert refused.value.rule == "results-locked"
        first._connection.execute("ROLLBACK")
        assert second.add(result(0)) == 1


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pristine") / "results.sqlite"
    with Store.open(path) as store:
        for seed in range(5):
            store.add(result(seed, samples=100))
    return path


@pytest.mark.parametrize("seed", range(150))
def test_damage_is_told_or_harmless_never_another_result(
    pristine: Path, path: Path, seed: int
) -> None:
    """A flipped bit, zeroed or swapped stretches, a cut end: what is read is what was written."""
    draw = random.Random(seed)  # noqa: S311 - damage of a test
    raw = bytearray(pristine.read_bytes())
    at = draw.randrange(len(raw) if seed % 2 else 4096)
    match seed % 5:
        case 0 | 1:
            raw[at] ^= 1 << draw.randrange(8)
        case 2:
            raw[at : at + 512] = bytes(len(raw[at : at + 512]))
        case 3:
            del raw[at:]
        case _:
            one, other = (4096 * draw.randrange(len(raw) // 4096) for _ in range(2))
            raw[one : one + 4096], raw[other : other + 4096] = (
                raw[other : other + 4096], raw[one : one + 4096],
            )  # fmt: skip
    path.write_bytes(raw)
    try:
        found: object = list(held(path).values())
    except StorageError as refused:
        found = refused.rule
    assert found in (
        [result(seed, samples=100) for seed in range(5)],
        "results-damaged",
        "results-foreign",
        "results-newer",
    )


@pytest.mark.parametrize("header", [{18: 5, 19: 5}, {47: 9}, {60: 0, 61: 0, 62: 0, 63: 0}])
def test_a_header_that_says_something_else_is_damage(
    pristine: Path, path: Path, header: dict[int, int]
) -> None:
    """Format versions, schema format, our own version (database file format of SQLite, 1.3)."""
    raw = bytearray(pristine.read_bytes())
    for at, byte in header.items():
        raw[at] = byte
    path.write_bytes(raw)
    with pytest.raises(StorageError) as refused:
        Store.open(path)
    assert refused.value.rule == "results-damaged"


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    texts = {"empty": b"", "text": b"not a database, but a longer text than its header" * 9}
    for name, raw in texts.items():
        path = tmp_path / name
        path.write_bytes(raw)
        with pytest.raises(StorageError, match="Put a copy back") as refused:
            Store.open(path)
        assert (refused.value.rule, path.read_bytes()) == ("results-damaged", raw)
    with pytest.raises(StorageError) as refused:
        Store.open(tmp_path)
    assert refused.value.rule == "results-unreadable"
    other = tmp_path / "other"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (title)")
    with pytest.raises(StorageError, match="another program") as refused:
        Store.open(other)
    assert refused.value.rule == "results-foreign"


def test_newest_results_without_their_file_are_not_lost_silently(path: Path) -> None:
    with Store.open(path) as store:
        store.add(result(0))
        log = path.with_name("results.sqlite-wal").read_bytes()
    path.unlink()
    path.with_name("results.sqlite-wal").write_bytes(log)
    with pytest.raises(StorageError, match=r"results\.sqlite-wal") as refused:
        Store.open(path)
    assert refused.value.rule == "results-damaged"
    assert not path.exists()


def test_a_newer_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    step = ("ALTER TABLE result ADD COLUMN price REAL",)
    connect(path, ladder=(*LADDER, step)).close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match=rf"schema {len(LADDER) + 1}") as refused:
        Store.open(path)
    assert (refused.value.rule, path.read_bytes()) == ("results-newer", before)


def test_an_older_schema_is_brought_up_to_date_with_its_results(path: Path) -> None:
    with Store.open(path) as store:
        number = store.add(result(3))
    step = ("CREATE TABLE energy (joules REAL)", "INSERT INTO energy VALUES (1.5)")
    with closing(connect(path, ladder=(*LADDER, step))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(LADDER) + 1,)
        assert connection.execute("SELECT joules FROM energy").fetchall() == [(1.5,)]
        assert Store(path, connection).get(number) == result(3)


def test_a_step_that_fails_changes_nothing(path: Path) -> None:
    Store.open(path).close()
    step = ("CREATE TABLE energy (joules REAL)", "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(StorageError):
        connect(path, ladder=(*LADDER, step))
    with closing(connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert "energy" not in tables
    assert "result" in tables


def test_the_first_step_never_changes() -> None:
    """A store that version 0.2 of medge wrote has exactly these tables."""
    statements = " ".join(" ".join(LADDER[0]).split())
    assert len(LADDER) == 1 or statements
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in LADDER[0]:
            connection.execute(statement)
        columns = {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            for name in ("device", "procedure", "result", "measurement", "drift")
        }
    assert columns == {
        "device": ["id", "document"],
        "procedure": ["id", "document"],
        "result": ["id", "sha256", "bundle_sha256", "taken", "device", "document"],
        "measurement": [
            "result", "place", "stage", "procedure", "settled", "warm_up_ns", "samples_ns",
        ],
        "drift": ["result", "place", "document"],
    }  # fmt: skip


def test_every_commit_waits_for_the_disk(store: Store) -> None:
    ask = lambda name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert (ask("journal_mode"), ask("synchronous"), ask("foreign_keys")) == ("wal", 2, 1)


def test_reading_needs_a_store_and_makes_none(path: Path) -> None:
    with pytest.raises(StorageError) as refused:
        Store.open(path, writable=False)
    assert refused.value.rule == "results-none"
    assert not path.exists()


def test_who_opened_to_read_cannot_write(path: Path) -> None:
    with Store.open(path) as store:
        store.add(result(0))
    with Store.open(path, writable=False) as store:
        assert [one for _, one in store.results()] == [result(0)]
        with pytest.raises(StorageError, match="cannot be written") as refused:
            store.add(result(1))
        assert refused.value.rule == "results-read-only"


READER = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import test_store
from medge.bench.store import Store
from medge.errors import StorageError
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)  # rights bind everyone but root
path = Path(sys.argv[1])
try:
    Store.open(path)
except StorageError as error:
    print(error.rule)
with Store.open(path, writable=False) as store:
    print(sum(1 for _ in store.results()))
"""


@pytest.fixture
def medium() -> Iterator[Path]:
    """A folder whose parents everybody may enter, unlike those of ``tmp_path``."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


def read(path: Path) -> list[str]:
    """What READER says of a store that its user can read."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [*done.stdout.split(), *done.stderr.splitlines()[-1:]]


def test_a_file_without_rights_to_write_can_be_read(medium: Path) -> None:
    path = medium / "results.sqlite"
    with Store.open(path) as store:
        store.add(result(0))
    path.chmod(0o444)
    medium.chmod(0o555)
    assert read(path) == ["results-read-only", "1"]


def test_a_file_without_rights_to_read_is_refused(medium: Path) -> None:
    path = medium / "results.sqlite"
    Store.open(path).close()
    path.chmod(0o000)
    medium.chmod(0o555)
    refused, last_line = read(path)
    assert refused == "results-unreadable"
    assert "results-unreadable" in last_line


def test_a_copy_of_the_file_is_the_whole_store(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        store.add(result(0))
    copy = Path(shutil.copy(path, tmp_path / "copy.sqlite"))
    assert list(held(copy).values()) == [result(0)]
