"""Bytes of a study: an open regular file that must not change while it is read, or memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from medge.errors import InputError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def kind_of(mode: int) -> str | None:
    """Say what is not a regular file; None for one."""
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS if test(mode)), "a special file")


class Source:
    """Positioned reads from a file.

    Files are read with pread and never mapped: a mapped file that another process cuts short
    kills the reader with SIGBUS, a read only comes back short.
    """

    def __init__(self, path: Path) -> None:
        try:
            # NONBLOCK: opening a pipe that nobody writes to must not wait.
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise _cannot_open(path, error) from None
        status = os.fstat(self.fd)
        kind = kind_of(status.st_mode)
        if kind is not None:
            os.close(self.fd)
            raise _not_a_file(kind)
        self.size = status.st_size
        self._mtime_ns = status.st_mtime_ns

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``; InputError when they are not there."""
        try:
            data = os.pread(self.fd, length, offset)
        except OSError as error:
            raise _cannot_read(error) from None
        if len(data) == length:
            return data
        whole = bytearray(length)  # a short read of a regular file: a signal, or the file shrank
        self.read_into(memoryview(whole), offset)
        return bytes(whole)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from ``offset``; InputError when the file is shorter than it was."""
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self.fd, [view[done:] if done else view], offset + done)
            except OSError as error:
                raise _cannot_read(error) from None
            if count == 0:
                raise _changed()
            done += count

    def pour(self, reader: Callable[[int, int], int], offset: int) -> None:
        """Let ``reader`` read from the file descriptor and an offset.

        It returns 0, an errno, or -1 when the file ended early; InputError for the last two.
        """
        status = reader(self.fd, offset)
        if status < 0:
            raise _changed()
        if status:
            raise _cannot_read(OSError(status, os.strerror(status)))

    def check_unchanged(self) -> None:
        """Raise InputError when size or modification time differ from when it was opened.

        A rewrite in place within one tick of the file system's clock that keeps the size is not
        seen; nothing short of a copy could see it.
        """
        status = os.fstat(self.fd)
        if status.st_size != self.size or status.st_mtime_ns != self._mtime_ns:
            raise _changed()

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class MemorySource:
    """The same reads from bytes that were inflated."""

    def __init__(self, data: bytes, file: Source) -> None:
        self.fd = -1
        self.size = len(data)
        self._data = data
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``."""
        return self._data[offset : offset + length]

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from ``offset``."""
        view[:] = memoryview(self._data)[offset : offset + len(view)]

    def check_unchanged(self) -> None:
        """Inflated bytes cannot change."""

    def close(self) -> None:
        """Close the file that the bytes came from."""
        self._file.close()


def _cannot_open(path: Path, error: OSError) -> InputError:
    try:
        kind = kind_of(os.stat(path).st_mode)
    except FileNotFoundError:
        return InputError("not-found", "there is no such file. Check the path.")
    except OSError:
        kind = None
    if kind is not None and error.errno not in (errno.EACCES, errno.EPERM):
        return _not_a_file(kind)
    reason = os.strerror(error.errno or 0)
    return InputError(
        "not-readable", f"the file cannot be opened: {reason}. Check its permissions."
    )


def _not_a_file(kind: str) -> InputError:
    return InputError("not-a-file", f"it is {kind}; only regular files are read.")


def _cannot_read(error: OSError) -> InputError:
    reason = os.strerror(error.errno or 0)
    return InputError("not-readable", f"reading failed: {reason}. Check the disk or the network.")


def _changed() -> InputError:
    return InputError(
        "changed",
        "the file changed while it was read. Wait until whoever writes it is done, then try again.",
    )
