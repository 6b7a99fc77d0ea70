"""Plans as files in a folder, for programs other than medge, and a list of what they are."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from medge.errors import StorageError, UsageError

if TYPE_CHECKING:
    from medge.exporters.ahead_of_time import AheadOfTime

LIST = "plans.json"
SUFFIX = ".plan"


def write_plans(found: AheadOfTime, folder: Path) -> Path:
    """Write ``NAME-TARGET/VARIANT.plan`` and ``plans.json`` into a folder; return the new one.

    Plans for more than one picture in a call get ``-batchN`` behind the target. The folder appears
    whole or not at all. One that is there already is replaced, if it holds such a list and nothing
    but plans.

    Raises
    ------
    UsageError
        Rule ``build-folder``: the folder is not there.
    StorageError
        Rule ``exists``: something else has that name. Rule ``plan-output``: it cannot be written.
    """
    check_folder(folder)
    path = folder / f"{found.bundle}-{found.target}{batch_name(found.batch)}"
    _check_place(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        for variant, plan in found.plans.items():
            _write(part / f"{variant}{SUFFIX}", plan.plan)
        listed = msgspec.json.format(msgspec.json.encode(plans_object(found)), indent=2) + b"\n"
        _write(part / LIST, listed)
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    except OSError as error:
        raise StorageError(
            "plan-output",
            f"{path}: cannot be written: {error.strerror or type(error).__name__}. Free space, or "
            "name another folder with -o.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there, before any work is done.

    Raises
    ------
    UsageError
        Rule ``build-folder``.
    """
    if not folder.is_dir():
        raise UsageError(
            "build-folder", f"{folder}: is no folder. Make it first, or name another with -o."
        )


def batch_name(batch: int) -> str:
    """Return what the name of something that is built for N pictures in a call ends in."""
    return "" if batch == 1 else f"-batch{batch}"


def plans_object(found: AheadOfTime) -> dict[str, Any]:
    """Return everything but the plans themselves in plain JSON types."""
    rows = msgspec.to_builtins(found.rows)
    for row in rows:
        row["file"] = f"{row['variant']}{SUFFIX}" if row["outcome"] == "built" else None
    return {
        "schema": "medge.plans/1",
        "medge": metadata.version("medge"),
        "bundle": found.bundle,
        "bundle_sha256": found.bundle_sha256,
        "target": found.target,
        "gpu": found.gpu,
        "compute_capability": found.compute_capability,
        "batch": found.batch,
        "package": found.package,
        "version": found.version,
        "run_on_a_gpu": False,
        "notes": list(found.notes),
        "plans": rows,
    }


def _check_place(path: Path) -> None:
    if not os.path.lexists(path):
        return
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    ours = LIST in names and all(name == LIST or name.endswith(SUFFIX) for name in names)
    if path.is_symlink() or not ours:
        raise StorageError(
            "exists", f"{path} is no folder of plans and is not replaced. Name another with -o."
        )


def _write(path: Path, raw: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
