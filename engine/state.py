"""The state directory: what medge learned on this machine, in small files that are never torn."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from medge.errors import StorageError


def state_folder() -> Path:
    """Return where medge keeps what it measured here: ``$MEDGE_HOME``, else XDG's state folder.

    The XDG Base Directory Specification asks that a relative ``$XDG_STATE_HOME`` be ignored.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``: the user has no home folder, as in some containers.
    """
    home = os.environ.get("MEDGE_HOME")
    try:
        if home:
            return Path(home).expanduser().absolute()
        asked = Path(os.environ.get("XDG_STATE_HOME", ""))
        base = asked if asked.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:  # pathlib's word for a user without a home
        raise StorageError(
            "state-unreadable",
            "This user has no home folder. Set MEDGE_HOME to a folder that can be written.",
        ) from None
    return base / "medge"


def read_state(path: Path) -> bytes | None:
    """Return a file's bytes, None where there is none.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``: it exists and cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(
            "state-unreadable",
            f"{path}: cannot be read: {error.strerror or type(error).__name__}. Check its rights, "
            "or set MEDGE_HOME to a folder that can be read.",
        ) from error


def write_state(path: Path, raw: bytes) -> None:
    """Put a file in place whole, for this user alone; a power cut leaves the old one or the new.

    Raises
    ------
    StorageError
        Rule ``state-write``: the disk is full, or the folder is not ours to write.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
            Path(part).replace(path)
        except BaseException:  # Ctrl-C too must leave no part behind
            with suppress(OSError):
                Path(part).unlink()
            raise
        _sync(path.parent)
    except OSError as error:
        raise StorageError(
            "state-write",
            f"{path}: cannot be written: {error.strerror or type(error).__name__}. Free space, or "
            "set MEDGE_HOME to a folder that can be written.",
        ) from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
