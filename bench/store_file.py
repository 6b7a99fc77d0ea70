"""The file of the store: made whole, opened with care, brought up to date step by step."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from medge.errors import StorageError

APPLICATION = 0x4D454447  # "MEDG", where SQLite keeps whose file it is
WAIT_S = 20.0  # for other processes that write
POLL_S = (0.001, 0.01)  # between two looks whether they still do

_DAMAGED = (  # how SQLite's texts begin; it names its errors to Python from 3.11 on only
    "file is not a database",
    "database disk image is malformed",
    "malformed database schema",
    "no such",
    "Could not decode to UTF-8",
    "unsupported file format",
)

Step = tuple[str, ...]
LADDER: tuple[Step, ...] = (  # step n leads from version n to n + 1; a step never changes
    (
        """CREATE TABLE device (
            id INTEGER PRIMARY KEY, document BLOB NOT NULL UNIQUE) STRICT""",
        """CREATE TABLE procedure (
            id INTEGER PRIMARY KEY, document BLOB NOT NULL UNIQUE) STRICT""",
        """CREATE TABLE result (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            sha256 TEXT NOT NULL,
            bundle_sha256 TEXT NOT NULL,
            taken TEXT NOT NULL,
            device INTEGER NOT NULL REFERENCES device,
            document BLOB NOT NULL) STRICT""",
        "CREATE INDEX result_bundle ON result (bundle_sha256)",
        """CREATE TABLE measurement (
            result INTEGER NOT NULL REFERENCES result ON DELETE CASCADE,
            place INTEGER NOT NULL,
            stage TEXT NOT NULL,
            procedure INTEGER NOT NULL REFERENCES procedure,
            settled INTEGER,
            warm_up_ns BLOB NOT NULL,
            samples_ns BLOB NOT NULL,
            PRIMARY KEY (result, place)) STRICT""",
        """CREATE TABLE drift (
            result INTEGER NOT NULL REFERENCES result ON DELETE CASCADE,
            place INTEGER NOT NULL,
            document BLOB NOT NULL,
            PRIMARY KEY (result, place)) STRICT""",
    ),
)


def connect(
    path: Path, *, writable: bool = True, ladder: Sequence[Step] = LADDER
) -> sqlite3.Connection:
    """Open the file, after making it or bringing it up to date if need be.

    Raises
    ------
    StorageError
        See ``Store.open``.
    """
    with told(path):
        _exist(path, ladder, make=writable)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{_mode(path, writable)}",
            uri=True,
            timeout=WAIT_S,
            isolation_level=None,  # transactions begin and end where this package says so
        )
        try:
            _check(path, connection, len(ladder))
            if writable:
                _prepare(path, connection, ladder)
        except BaseException:  # Ctrl-C too must not leave the file open
            connection.close()
            raise
    return connection


def migrate(connection: sqlite3.Connection, ladder: Sequence[Step]) -> None:
    """Take every step that is missing, all or none."""
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in ladder[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(ladder))}")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Hold a transaction; whatever ends it early undoes it."""
    if begin == "BEGIN IMMEDIATE":
        _take_turn(connection)
    else:
        connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # Ctrl-C too must leave all or nothing
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise


def _take_turn(connection: sqlite3.Connection) -> None:
    """Begin to write as soon as nobody else does.

    SQLite itself asks ever more rarely: beside a writer that rests only for moments it was seen to
    wait for 14 s.
    """
    until = time.monotonic() + WAIT_S
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(*POLL_S))  # noqa: S311 - so that two do not keep step
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(WAIT_S * 1000)}")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say of the file into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        known = _known(path, str(error))
        if known is None:
            raise
        raise known from error
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        raise damaged(path, "SQLite cannot read it") from error
    except OSError as error:
        if error.errno == errno.EACCES:
            raise _unreadable(path) from error
        raise _disk(path, error.strerror or type(error).__name__) from error


def damaged(path: Path, what: str) -> StorageError:
    """Return the error of a file that is not what was written."""
    return StorageError(
        "results-damaged",
        f"{path}: is damaged: {what}. Put a copy back in its place, or move it away together with "
        "the files of its name that end in -wal and -shm, and begin anew.",
    )


def _exist(path: Path, ladder: Sequence[Step], *, make: bool) -> None:
    """Make the file if there is none: it appears whole, so that an empty one is a damaged one."""
    log = path.with_name(path.name + "-wal")
    orphan = log.exists()  # asked first: another process may be making both
    if path.exists():
        if path.is_file() and not path.stat().st_size:
            raise damaged(path, "it is empty")
        return
    if not make:
        raise StorageError(
            "results-none",
            f"{path}: there are no results yet. Take some, or set MEDGE_HOME to where they are.",
        )
    if orphan:
        raise damaged(path, f"it is gone, but its newest results are still in {log.name}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        _make(part, ladder)
        with suppress(FileExistsError):  # another process was faster, with the same
            os.link(part, path)
    _sync(path.parent)


def _make(part: Path, ladder: Sequence[Step]) -> None:
    part.touch(mode=0o600)  # SQLite gives the log the same rights
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        migrate(connection, ladder)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise OSError(0, "the file system cannot share memory, which a write-ahead log needs")


def _mode(path: Path, writable: bool) -> str:
    if writable:
        return "mode=rw"
    # Without a log nobody writes, and where no log can be made nobody will.
    quiet = not path.with_name(path.name + "-wal").exists()
    return "mode=ro&immutable=1" if quiet and not os.access(path.parent, os.W_OK) else "mode=ro"


def _check(path: Path, connection: sqlite3.Connection, newest: int) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != APPLICATION:
        raise StorageError(
            "results-foreign",
            f"{path}: is a database of another program. Move it away, or set MEDGE_HOME to "
            "another folder.",
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise StorageError(
            "results-newer",
            f"{path}: was written by a newer medge (schema {version}, this one knows {newest}). "
            "Install that version again, or set MEDGE_HOME to another folder.",
        )
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, "its pages contradict each other")


def _prepare(path: Path, connection: sqlite3.Connection, ladder: Sequence[Step]) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # on the disk before it is acknowledged
    migrate(connection, ladder)  # also asks whether the file can be written at all


def _known(path: Path, said: str) -> StorageError | None:
    """Return medge's error for SQLite's text, None for one that only a bug can bring about."""
    # Python 3.10 says nothing where SQLite quotes bytes that are no text. What exists already is a
    # step that was taken before, so that the version is not what was written.
    if not said or said.startswith(_DAMAGED) or said.endswith("already exists"):
        return damaged(path, "SQLite cannot read it")
    if said.startswith(("database or disk is full", "disk I/O error")):
        return _disk(path, "the disk is full or failed")
    if said.startswith(("database is locked", "database table is locked")):
        return StorageError(
            "results-locked",
            f"{path}: another process has been writing for {WAIT_S:g} s. Wait for it, or end it.",
        )
    if said.startswith("attempt to write a readonly database"):
        return StorageError(
            "results-read-only",
            f"{path}: cannot be written. Change its rights, or set MEDGE_HOME to another folder.",
        )
    if said.startswith("unable to open database file"):
        return _unreadable(path)
    return None


def _unreadable(path: Path) -> StorageError:
    return StorageError(
        "results-unreadable",
        f"{path}: cannot be opened. Check that it is a file, and its rights and its folder's.",
    )


def _disk(path: Path, what: str) -> StorageError:
    return StorageError(
        "results-disk",
        f"{path}: {what}; nothing was added. Free space, or set MEDGE_HOME to another disk.",
    )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
