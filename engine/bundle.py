"""Read bundles: every file is listed, plain, of the stated size and digest, before it is used."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path
from types import TracebackType

import msgspec

from medge import errors
from medge.engine.golden import Golden, unpack_golden
from medge.engine.graph_scan import check_graph
from medge.engine.manifest import GOLDEN, LAYERS, MANIFEST, MODEL, VARIANTS, Manifest, decode
from medge.errors import BundleError
from medge.profiles.layers import Layers, decode_layers

SUFFIX = ".medge"
DEFAULT = "breast-ultrasound"
BUILT_IN = Path(errors.__file__).parent / "bundles"  # beside medge.errors, in source and installed

MANIFEST_CAP_BYTES = 1 << 20
FILE_CAP_BYTES = (1 << 31) - 1  # the most that one ONNX message can hold

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not block


class Bundle:
    """An open bundle; its folder is held, so that what is read later is the same folder.

    ``manifest`` and ``digest`` are there at once; everything else waits until all is checked.
    """

    def __init__(self, path: Path, folder: int, raw: bytes, *, links_allowed: bool) -> None:
        self.path = path
        self.digest = hashlib.sha256(raw).hexdigest()
        self.manifest = _parse(path, raw)
        self._folder = folder
        self._links_allowed = links_allowed
        self._kept: dict[str, bytes] = {}
        self._fault: BaseException | None = None
        self._checker = threading.Thread(target=self._check, name="medge-bundle")
        self._checker.start()

    def wait(self) -> None:
        """Wait until every file is checked.

        Raises
        ------
        BundleError
            The folder, its names, a file's kind, size, digest or content breaks a rule.
        """
        self._checker.join()
        if self._fault is not None:
            raise self._fault

    def read(self, name: str) -> bytes:
        """Return one file's bytes, those whose digest was checked.

        Raises
        ------
        BundleError
            The file is not in the manifest, or the bundle is not what the manifest says.
        """
        self.wait()
        return self._read(name)

    def _read(self, name: str) -> bytes:
        kept = self._kept.pop(name, None)
        if kept is not None:
            return kept
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(
                "not-listed",
                f"{self.path.name}: a file was asked for that is not in the manifest. It lists "
                f"{', '.join(sorted(self.manifest.files))}.",
            )
        raw = _read(self._folder, self.path, name, entry.bytes, links_allowed=self._links_allowed)
        found = hashlib.sha256(raw).hexdigest()
        if found != entry.sha256:
            raise BundleError(
                "digest",
                f"{self.path.name}: {name} has SHA-256 {found[:12]}..., the manifest says "
                f"{entry.sha256[:12]}.... It is damaged or was changed; get the bundle again.",
            )
        return raw

    def golden(self) -> Golden:
        """Return the golden cases, checked against the manifest."""
        return unpack_golden(self.read(GOLDEN), self.manifest)

    def layers(self) -> Layers:
        """Return what every layer of the fp32 graph costs."""
        try:
            return decode_layers(self.read(LAYERS))
        except msgspec.DecodeError as error:
            raise BundleError(
                "layers", f"{self.path.name}: {LAYERS} {_told(error)}. Export the bundle again."
            ) from error

    def release(self) -> None:
        """Forget the bytes kept from opening; ``read`` then reads, and checks, anew."""
        self._kept.clear()

    def close(self) -> None:
        """Let go of the folder; nothing can be read afterwards."""
        self._checker.join()
        self.release()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self) -> None:
        """Check every file; what is needed first is kept in memory until it is read."""
        try:
            self._check_names()
            for name in sorted(self.manifest.files):
                raw = self._read(name)
                if name.endswith(".onnx"):
                    check_graph(f"{self.path.name}: {name}", raw)
                if name in (MODEL, GOLDEN):
                    self._kept[name] = raw
        except BaseException as error:  # raised where the bundle is used
            self._fault = error

    def _check_names(self) -> None:
        """Refuse whatever is in the folder and not in the manifest."""
        expected = {MANIFEST, *self.manifest.files}
        found = set(os.listdir(self._folder))
        if any(name.startswith(f"{VARIANTS}/") for name in expected):
            found |= {f"{VARIANTS}/{name}" for name in _list_variants(self._folder, self.path)}
            found.discard(VARIANTS)
        extra = sorted(found - expected)
        if extra:
            raise BundleError(
                "extra-file",
                f"{self.path.name}: {len(extra)} more than the manifest lists, the first is "
                f"{printable(extra[0])}. A bundle holds nothing else; remove it or get the bundle "
                "again.",
            )


def open_bundle(path: Path, *, wait: bool = True) -> Bundle:
    """Open a bundle and check every byte of it.

    Parameters
    ----------
    wait
        False returns when the manifest is read; the files are checked on another thread, and the
        first use of any of them waits for that. So a runtime can be imported meanwhile.

    Raises
    ------
    BundleError
        The folder, its names, a file's kind, size or digest, or the manifest is not what a bundle
        must have; the rule says which, the message names the first such file.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error) from error
    links_allowed = path.parent.resolve() == BUILT_IN.resolve()
    try:
        raw = _read(folder, path, MANIFEST, None, links_allowed=links_allowed)
        bundle = Bundle(path, folder, raw, links_allowed=links_allowed)
    except BaseException:  # Ctrl-C too must not leave the folder open
        os.close(folder)
        raise
    if wait:
        try:
            bundle.wait()
        except BaseException:  # Ctrl-C too
            bundle.close()
            raise
    return bundle


def find_bundle(asked: str | None) -> Path:
    """Return the folder that a name, a path, ``$MEDGE_BUNDLE`` or nothing at all means.

    A plain word is the name of a built-in bundle; anything with ``/`` or ``.medge`` is a path.

    Raises
    ------
    BundleError
        Rule ``not-found``: no built-in bundle has this name.
    """
    asked = asked or os.environ.get("MEDGE_BUNDLE") or DEFAULT
    if "/" in asked or asked.endswith(SUFFIX) or asked in {".", ".."}:
        return Path(asked)
    names = built_in_names()
    if asked in names:
        return BUILT_IN / f"{asked}{SUFFIX}"
    raise BundleError(
        "not-found",
        f"{printable(asked)} is no built-in bundle; these are: {', '.join(names) or 'none'}. "
        "A path needs a / or the ending .medge.",
    )


def built_in_names() -> tuple[str, ...]:
    """Return the names of the bundles that come with medge, sorted."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob(f"*{SUFFIX}")))


def printable(name: str) -> str:
    """Quote a file's name so that it cannot drive a terminal, and stays short."""
    return ascii(name if len(name) <= 60 else f"{name[:60]}...")


def _parse(path: Path, raw: bytes) -> Manifest:
    try:
        return decode(raw)
    except msgspec.DecodeError as error:
        raise BundleError(
            "manifest",
            f"{path.name}: {MANIFEST}: {_told(error)}. The bundle is damaged or made for another "
            "medge; export it again.",
        ) from error


def _told(error: msgspec.DecodeError) -> str:
    """Return msgspec's words, which may quote the bundle, so that they cannot drive a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:300]).rstrip(".")


def _list_variants(folder: int, path: Path) -> list[str]:
    try:
        variants = os.open(VARIANTS, _OPEN | os.O_DIRECTORY, dir_fd=folder)
    except OSError as error:
        raise _cannot_read(path, VARIANTS, error) from error
    try:
        return os.listdir(variants)
    finally:
        os.close(variants)


def _read(
    folder: int, path: Path, name: str, size_bytes: int | None, *, links_allowed: bool
) -> bytes:
    """Read one file whole; its kind, links and size are those of the very file that is read."""
    parent = folder
    try:
        if "/" in name:  # the manifest allows one level only
            directory, leaf = name.split("/")
            parent = os.open(directory, _OPEN | os.O_DIRECTORY, dir_fd=folder)
            file = os.open(leaf, _OPEN, dir_fd=parent)
        else:
            file = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        raise _cannot_read(path, name, error) from error
    finally:
        if parent != folder:
            os.close(parent)
    try:
        facts = os.fstat(file)
        _check_kind(path, name, facts, links_allowed=links_allowed)
        _check_size(path, name, facts.st_size, size_bytes)
        raw = _read_all(file, facts.st_size)
    except OSError as error:
        raise _cannot_read(path, name, error) from error
    finally:
        os.close(file)
    _check_size(path, name, len(raw), facts.st_size)
    return raw


def _read_all(file: int, size_bytes: int) -> bytes:
    """Read to the end, and one byte beyond ``size_bytes`` to see that it is the end."""
    raw = os.read(file, size_bytes + 1)
    parts = [raw]
    while raw and sum(map(len, parts)) <= size_bytes:
        raw = os.read(file, size_bytes + 1 - sum(map(len, parts)))
        parts.append(raw)
    return parts[0] if len(parts) <= 2 else b"".join(parts)


def _check_kind(path: Path, name: str, facts: os.stat_result, *, links_allowed: bool) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise BundleError(
            "not-regular",
            f"{path.name}: {name} is not a regular file. Copy the bundle as plain files.",
        )
    # Installers hard-link packages from their cache, so built-in bundles may have several names.
    if facts.st_nlink != 1 and not links_allowed:
        raise BundleError(
            "link",
            f"{path.name}: {name} has {facts.st_nlink} names (hard links), so that it can be "
            "changed from elsewhere. Copy the bundle as plain files.",
        )


def _check_size(path: Path, name: str, found_bytes: int, stated_bytes: int | None) -> None:
    cap = MANIFEST_CAP_BYTES if name == MANIFEST else FILE_CAP_BYTES
    if found_bytes > cap:
        raise BundleError(
            "size", f"{path.name}: {name} has {found_bytes} bytes; at most {cap} are read."
        )
    if stated_bytes is not None and found_bytes != stated_bytes:
        raise BundleError(
            "size",
            f"{path.name}: {name} has {found_bytes} bytes, stated are {stated_bytes}. "
            "It is damaged or was changed; get the bundle again.",
        )


def _cannot_open(path: Path, error: OSError) -> BundleError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not path.exists():
        return BundleError(
            "not-found", f"{path}: there is no such bundle. Name a folder or a built-in bundle."
        )
    if error.errno == errno.ENOTDIR:
        return BundleError("not-a-folder", f"{path}: a bundle is a folder, this is something else.")
    return BundleError("unreadable", f"{path}: cannot open: {error.strerror}. Check its rights.")


def _cannot_read(path: Path, name: str, error: OSError) -> BundleError:
    if error.errno == errno.ENOENT:
        return BundleError(
            "missing-file", f"{path.name}: {name} is not there. Get the bundle again."
        )
    if error.errno in (errno.ELOOP, errno.EMLINK):
        return BundleError(
            "link", f"{path.name}: {name} is a symbolic link. Copy the bundle as plain files."
        )
    if error.errno in (errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
        return BundleError(
            "not-regular",
            f"{path.name}: {name} is not a regular file. Copy the bundle as plain files.",
        )
    return BundleError(
        "unreadable",
        f"{path.name}: cannot read {name}: {error.strerror}. Check its rights and the disk.",
    )
