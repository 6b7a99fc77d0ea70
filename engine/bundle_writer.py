"""Write bundles: whole or not at all, and only such as the reader accepts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from medge.engine.bundle import SUFFIX
from medge.engine.golden import unpack_golden
from medge.engine.graph_scan import check_graph
from medge.engine.manifest import (
    GOLDEN,
    LAYERS,
    MANIFEST,
    VARIANTS,
    FileEntry,
    Manifest,
    decode,
    encode,
)
from medge.errors import BundleError, StorageError, UsageError
from medge.profiles.layers import decode_layers


def write_bundle(
    path: Path, manifest: Manifest, files: Mapping[str, bytes], *, overwrite: bool = False
) -> str:
    """Write a bundle folder and return its digest, the SHA-256 of its manifest.

    Parameters
    ----------
    path
        The folder to make, ending in ``.medge``; its parent must exist.
    manifest
        A draft: ``files`` and ``seal`` are filled in here.
    files
        ``model.onnx``, ``golden.npz``, ``layers.json`` and one ``variants/NAME.onnx`` for every
        other variant.
    overwrite
        Replace a bundle of this name. Anything that is not a bundle is never replaced.

    Raises
    ------
    BundleError
        The content breaks a rule that the reader would refuse; nothing is written.
    StorageError
        The folder exists, or cannot be written. Nothing half-written is left: what stands there
        is the old bundle, or the new one, or none.
    """
    check_place(path, overwrite=overwrite)
    raw = _sealed(manifest, files)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        check_place(path, overwrite=overwrite)  # again: what was checked above may take a second
        _write_folder(part, {**files, MANIFEST: raw})
        _put_in_place(part, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            "bundle-output", f"{path}: cannot write: {reason}. Free space or choose another place."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return hashlib.sha256(raw).hexdigest()


def _sealed(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest's bytes after all that the reader checks was checked."""
    entries = {
        name: FileEntry(sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw))
        for name, raw in files.items()
    }
    try:
        # The constructors of msgspec do not check the numbers and patterns; reading back does.
        raw = encode(msgspec.structs.replace(manifest, files=entries))
        checked = decode(raw)
        decode_layers(files[LAYERS])
    except (msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
        raise BundleError("manifest", f"The bundle cannot be written: {error}.") from error
    for variant in checked.variants:
        check_graph(variant.file, files[variant.file])
    unpack_golden(files[GOLDEN], checked)
    return raw


def check_place(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a name that ends wrongly, or stands for something that must not be replaced.

    Callers with much work before ``write_bundle`` ask this first; ``write_bundle`` asks again.
    """
    if path.suffix != SUFFIX:
        raise UsageError("bundle-name", f"{path}: the name of a bundle ends in {SUFFIX}.")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise StorageError("exists", f"{path} exists. Choose another name or allow overwriting.")
    if path.is_symlink() or not (path / MANIFEST).is_file():
        raise StorageError("exists", f"{path} is not a bundle and is not replaced.")


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    folders = [folder]
    if any(name.startswith(f"{VARIANTS}/") for name in files):
        folders.append(folder / VARIANTS)
        folders[-1].mkdir()
    for name, raw in files.items():
        with (folder / name).open("xb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
    _sync(reversed(folders))


def _put_in_place(part: Path, path: Path) -> None:
    """Rename into place; an old bundle steps aside first and comes back when that fails."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    replaced = path.exists()
    if replaced:
        path.rename(aside)
    try:
        part.rename(path)
    except OSError:
        if replaced:
            with suppress(OSError):
                aside.rename(path)
        raise
    try:
        _sync([path.parent])
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sync(folders: Iterable[Path]) -> None:
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
