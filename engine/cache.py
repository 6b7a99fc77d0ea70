"""Sealed cache: engines that were built here, kept so that opening is fast, checked at every open.

A runtime takes back whatever it is given: of 300 damaged OpenVINO engines 95 gave a wrong answer.
So no byte reaches a runtime before its SHA-256 was checked. That finds damage; it does not protect
from someone who may write into the user's own folder, who could also replace medge itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from medge.errors import StorageError

FORMAT = 3  # of the file, of what backends put into it and of how they load: raise it with these
DEFAULT_CAP_BYTES = 2 << 30
ENGINE_CAP_BYTES = (1 << 31) - (1 << 16)  # read with one call

# An engine is opened in about the time that its digest takes, twice over (docs/decisions/cache.md).
# Both are measured in the same minute, so that a busy machine does not change the verdict.
WORTH_CHECKS = 3
WORTH_NS = 50_000_000

STALE_PART_S = 3600.0
_NOWHERE = Path("/dev/null/no home folder; set MEDGE_HOME")  # can neither be opened nor made
_SUFFIX = ".engine"
_PART = ".part-"
_MAGIC = b"medge engine 1\n"
_HEAD_BYTES = 8192  # magic, digest and facts are shorter
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not block


class EngineFacts(Struct, frozen=True, kw_only=True):
    """All that an engine depends on; the SHA-256 of these facts is its key."""

    bundle_sha256: str
    variant: str
    graph_sha256: str
    backend: str
    backend_version: str
    machine: str  # identity of its CPU
    device: str  # as the backend names it
    precision: str  # the runtime's
    threads: int
    streams: int
    batch: int
    format: int = FORMAT

    @property
    def key(self) -> str:
        """Return the key, 64 hexadecimal digits."""
        return hashlib.sha256(_canonical(self)).hexdigest()


class EngineCache:
    """A folder of engines, one file for each key.

    Whatever is damaged, foreign or not private counts as absent and is told in ``notes``; with
    ``strict`` what cannot be kept is an error instead. Several processes may use one folder.

    Attributes
    ----------
    notes
        What was found damaged or could not be kept, for the person at the device.
    """

    def __init__(
        self, folder: Path | None = None, cap_bytes: int | None = None, *, strict: bool = False
    ) -> None:
        self.folder = cache_folder() if folder is None else folder
        self.cap_bytes = _cap_bytes() if cap_bytes is None else cap_bytes
        self.strict = strict
        self.notes: list[str] = []

    def find(self, facts: EngineFacts) -> bytes | None:
        """Return a kept engine, ``b""`` where building is as fast as opening, None if unknown."""
        name = facts.key + _SUFFIX
        try:
            with self._opened() as folder:
                return self._read(folder, name, facts)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.notes.append(f"cache: {self.folder} cannot be used: {_why(error)}")
            return None

    def keep(self, facts: EngineFacts, engine: bytes | None, build_ns: int) -> bool:
        """Keep what took ``build_ns`` to build; return whether it is kept.

        What opens no faster than it is built is remembered as such. None is an engine that the
        runtime could not hand over. The engines used longest ago leave when there is no room.

        Raises
        ------
        StorageError
            Rule ``cache-write``: it cannot be kept, and the cache is strict.
        """
        if engine is None:  # it could not be had, which may be otherwise another time
            return self._not_kept("the runtime could not hand it over")
        start = time.perf_counter_ns()
        head = _head(facts, engine)
        check_ns = time.perf_counter_ns() - start
        if engine and build_ns < WORTH_NS + WORTH_CHECKS * check_ns:
            engine, head = b"", _head(facts, b"")
        size_bytes = len(head) + len(engine)
        if size_bytes > min(self.cap_bytes, ENGINE_CAP_BYTES):
            return self._not_kept(f"it has {size_bytes} bytes, allowed are {self.cap_bytes}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                self._make_room(folder, size_bytes, keep=facts.key + _SUFFIX)
                _write(folder, facts.key + _SUFFIX, (head, engine))
        except OSError as error:
            return self._not_kept(_why(error))
        return bool(engine)

    def drop(self, facts: EngineFacts, reason: str) -> None:
        """Forget an engine, and tell why."""
        self.notes.append(f"cache: {reason}; built anew")
        with suppress(OSError), self._opened() as folder:
            os.unlink(facts.key + _SUFFIX, dir_fd=folder)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Hold the folder, if it is ours alone to write."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _check_owner(os.fstat(folder))
            yield folder
        finally:
            os.close(folder)

    def _read(self, folder: int, name: str, facts: EngineFacts) -> bytes | None:
        try:
            engine = _read_checked(folder, name, facts)
        except FileNotFoundError:
            return None
        except (OSError, _DamagedError) as error:
            found = "an engine is no plain file" if isinstance(error, OSError) else str(error)
            self.drop(facts, found)
            return None
        return engine

    def _make_room(self, folder: int, size_bytes: int, keep: str) -> None:
        """Remove what was used longest ago, and parts that a killed process left."""
        entries: list[tuple[float, int, str]] = []
        for name in os.listdir(folder):
            with suppress(OSError):  # another process removed it
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if name.startswith(_PART) and time.time() - facts.st_mtime > STALE_PART_S:
                    os.unlink(name, dir_fd=folder)
                elif name.endswith(_SUFFIX) and name != keep:
                    entries.append((facts.st_mtime, facts.st_size, name))
        room = self.cap_bytes - size_bytes - sum(size for _, size, _ in entries)
        for _, size, name in sorted(entries):
            if room >= 0:
                break
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            room += size

    def _not_kept(self, reason: str) -> bool:
        if self.strict:
            raise StorageError(
                "cache-write",
                f"{self.folder}: the engine cannot be kept: {reason}. Free space, or set "
                "MEDGE_HOME to a folder that only you can write.",
            )
        self.notes.append(f"cache: the engine is not kept: {reason}")
        return False


class _DamagedError(Exception):
    """What stands in the cache is not what was kept; the text says in what way."""


def cache_folder() -> Path:
    """Return where engines are kept: ``$MEDGE_HOME/cache``, else XDG's cache folder."""
    home = os.environ.get("MEDGE_HOME")
    try:
        if home:
            return Path(home).expanduser().absolute() / "cache"
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = asked if asked.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # pathlib's word for a user without a home, as in some containers
        return _NOWHERE
    return base / "medge"


def _cap_bytes() -> int:
    """Return ``$MEDGE_CACHE_BYTES``; what is no number leaves the default."""
    asked = os.environ.get("MEDGE_CACHE_BYTES", "")
    return int(asked) if asked.isdecimal() else DEFAULT_CAP_BYTES


def _canonical(facts: EngineFacts) -> bytes:
    return msgspec.json.encode(facts, order="sorted")


def _head(facts: EngineFacts, engine: bytes) -> bytes:
    """Return what stands before an engine: magic, digest of all that follows, facts."""
    line = _canonical(facts) + b"\n"
    digest = hashlib.sha256(line)
    digest.update(engine)
    return _MAGIC + digest.hexdigest().encode() + b"\n" + line


def _check_owner(facts: os.stat_result) -> None:
    """Refuse a folder that others may write."""
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others may write its folder (chmod 700 helps)")


def _read_checked(folder: int, name: str, facts: EngineFacts) -> bytes:
    """Return an engine whose every byte is as it was written, for exactly these facts."""
    file = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder)
    try:
        found = os.fstat(file)
        # No name at all: another process has put a newer one in its place; this one is whole too.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _DamagedError("an engine is no plain file")
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _DamagedError("an engine belongs to others, or they may write it")
        head = os.pread(file, _HEAD_BYTES, 0)
        start = _start_of_engine(head, facts)
        engine = os.pread(file, min(found.st_size - start, ENGINE_CAP_BYTES), start)
        digest = hashlib.sha256(_canonical(facts) + b"\n")
        digest.update(engine)
        if head[len(_MAGIC) :][:64] != digest.hexdigest().encode():
            raise _DamagedError("an engine is damaged")
        with suppress(OSError):  # a disk that cannot be written keeps no order of use
            os.utime(file)
    finally:
        os.close(file)
    return engine


def _start_of_engine(head: bytes, facts: EngineFacts) -> int:
    """Return where the engine begins, behind a head that names these facts and no others."""
    expected = _canonical(facts) + b"\n"
    line = len(_MAGIC) + 65
    if head[: len(_MAGIC)] != _MAGIC or head[line - 1 : line] != b"\n":
        raise _DamagedError("an engine is damaged")
    if head[line : line + len(expected)] != expected:
        raise _DamagedError("an engine is damaged, or stands in another's place")
    return line + len(expected)


def _write(folder: int, name: str, parts: tuple[bytes, ...]) -> None:
    """Put a file in place whole; a power cut leaves the old one, the new one or none."""
    part = f"{_PART}{os.getpid()}-{time.monotonic_ns()}"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=folder)
    try:
        with open(file, "wb") as stream:
            for each in parts:
                stream.write(each)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:  # Ctrl-C too must leave no part behind
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise
    os.fsync(folder)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
