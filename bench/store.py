"""Store: every result in one SQLite file that survives crashes, full disks and newer versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from medge.bench.result import Result
from medge.bench.store_file import connect, damaged, told, transaction
from medge.bench.store_rows import DamageError, delete, insert, select
from medge.engine.state import state_folder
from medge.errors import StorageError, UsageError

_IN_THE_WAY = {
    "results-locked": "another process has it open; the next prune will finish",
    "results-disk": "the disk has no room for the copy that takes its place; free some, and prune",
}


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Sizes of the file with its log before and after; ``reason`` why it may not be smaller."""

    before_bytes: int
    after_bytes: int
    reason: str = ""


class Store:
    """Results, each added whole or not at all.

    Any number of processes may read and write at once; writers take turns. What ``add`` returned
    an id for is on the disk (write-ahead log, ``synchronous=FULL``). Each result carries the digest
    of its parts, checked whenever it is read. Use it from the thread that opened it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path | None = None, *, writable: bool = True) -> Store:
        """Open the results of this machine; the first to write makes the file.

        Parameters
        ----------
        path
            None for ``results.sqlite`` in the state folder.
        writable
            False only reads, also from a medium that cannot be written.

        Raises
        ------
        StorageError
            Rules ``results-none`` (only to read, and there is no file), ``results-damaged``,
            ``results-foreign``, ``results-newer``, ``results-read-only``, ``results-unreadable``,
            ``results-disk``, ``results-locked``. The file is left as it is.
        """
        path = path or state_folder() / "results.sqlite"
        return cls(path, connect(path, writable=writable))

    def add(self, result: Result) -> int:
        """Keep a result; return its id, which no other result will ever have.

        Raises
        ------
        ValueError
            It holds a number that JSON has no word for (NaN, infinity) and could not be read back.
        StorageError
            Rules ``results-disk``, ``results-locked``, ``results-read-only``; nothing was added.
        """
        with told(self.path), transaction(self._connection):
            return insert(self._connection, result)

    def get(self, number: int) -> Result:
        """Return one result.

        Raises
        ------
        UsageError
            Rule ``result-unknown``: there is none of this id.
        StorageError
            Rule ``results-damaged``: it is not what was written; ``results-newer``: another
            version of medge wrote it.
        """
        try:
            with told(self.path), transaction(self._connection, "BEGIN"):
                found = select(self._connection, number)
        except DamageError as error:
            raise damaged(self.path, str(error)) from error
        except msgspec.DecodeError as error:
            raise StorageError(
                "results-newer",
                f"{self.path}: result {number} was written by another version of medge, with facts "
                "that this one does not know. Install the newest of both.",
            ) from error
        if found is None:
            raise _unknown(self.path, number)
        return found

    def results(self, bundle_sha256: str | None = None) -> Iterator[tuple[int, Result]]:
        """Yield (id, result) in the order added, all or those of one bundle.

        Those there when the first is asked for; one at a time in memory.
        """
        for number in self.numbers(bundle_sha256):
            yield number, self.get(number)

    def numbers(self, bundle_sha256: str | None = None) -> tuple[int, ...]:
        """Return the ids of all results in the order added, or of those of one bundle."""
        with told(self.path):
            rows = self._connection.execute(
                "SELECT id FROM result WHERE ?1 IS NULL OR bundle_sha256 = ?1 ORDER BY id",
                (bundle_sha256,),
            ).fetchall()
        return tuple(number for (number,) in rows)

    def find(self, result: Result) -> int | None:
        """Return the id of an equal result, None where there is none."""
        with told(self.path):
            rows = self._connection.execute(
                "SELECT id FROM result WHERE bundle_sha256 = ? AND taken = ? ORDER BY id",
                (result.bundle_sha256, result.taken),
            ).fetchall()
        return next((number for (number,) in rows if self.get(number) == result), None)

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove results, all or none; their ids are not given again.

        Raises
        ------
        UsageError
            Rule ``result-unknown``: there is none of one of these ids.
        StorageError
            As ``add``.
        """
        with told(self.path), transaction(self._connection):
            for number in numbers:
                if not delete(self._connection, number):
                    raise _unknown(self.path, number)

    def shrink(self) -> Shrunk:
        """Give the space of removed results back to the disk, or say what is in the way.

        Raises
        ------
        StorageError
            Rule ``results-read-only``. Whatever happens, the results are as they were.
        """
        before, busy = self._bytes(), 0
        try:
            with told(self.path):
                self._connection.execute("VACUUM")
                (busy, _, _) = self._connection.execute(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                ).fetchone()
        except StorageError as error:
            if error.rule not in _IN_THE_WAY:
                raise
            return Shrunk(before, self._bytes(), _IN_THE_WAY[error.rule])
        return Shrunk(before, self._bytes(), _IN_THE_WAY["results-locked"] if busy else "")

    def _bytes(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unknown(path: Path, number: int) -> UsageError:
    return UsageError(
        "result-unknown",
        f"{path}: holds no result {number}. List those that it holds: medge results list.",
    )
