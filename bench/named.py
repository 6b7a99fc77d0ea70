"""Results by the names that people type: a number, an exported file, a bundle, a baseline."""

from __future__ import annotations

import re
from pathlib import Path

from medge.bench.exchange import encode, read_documents
from medge.bench.result import Result
from medge.bench.store import Store
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.state import state_folder, write_state
from medge.errors import UsageError

_BASELINE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Named = tuple[str, Result]  # how it is called on a page, and the result


def find_result(name: str) -> Named:
    """Return the result that a name means: a number of the store, a file, the newest of a bundle.

    Raises
    ------
    UsageError
        Rules ``result-unknown``, ``result-of-bundle`` (the bundle has none), ``result-of-file``
        (the file holds not exactly one).
    MedgeError
        As ``Store.open``, ``exchange.read_documents`` and ``open_bundle``.
    """
    if name.isdecimal():
        with Store.open(writable=False) as store:
            return f"result {int(name)}", store.get(int(name))
    if Path(name).is_file():
        return read_result(Path(name))
    with open_bundle(find_bundle(name)) as bundle:
        digest = bundle.digest
    with Store.open(writable=False) as store:
        numbers = store.numbers(digest)
        if not numbers:
            raise UsageError(
                "result-of-bundle",
                f"There is no result of {name[:80]} yet. Measure it: medge profile {name[:80]}.",
            )
        return f"result {numbers[-1]}", store.get(numbers[-1])


def read_result(path: Path) -> Named:
    """Return the one result that a file holds.

    Raises
    ------
    UsageError
        Rule ``result-of-file``: it holds several.
    InputError
        As ``exchange.read_documents``.
    """
    found = list(read_documents(path))
    if len(found) != 1:
        raise UsageError(
            "result-of-file",
            f"{path}: holds {len(found)} results, and one is needed. Import it, and name one by "
            "its number.",
        )
    if found[0].result is None:
        assert found[0].refused is not None  # noqa: S101 - one of the two is there
        raise found[0].refused
    return path.name, found[0].result


def find_baseline(name: str) -> Named:
    """Return a saved baseline by its name, or that of a file.

    Raises
    ------
    UsageError
        Rules ``baseline`` (there is none of this name), ``result-of-file``.
    InputError
        As ``exchange.read_documents``.
    """
    path = baseline_path(name)
    if not path.exists():
        saved = sorted(one.stem for one in _folder().glob("*.json"))
        raise UsageError(
            "baseline",
            f"There is no baseline {name[:80]!r}; saved are: {', '.join(saved) or 'none'}. Save "
            "one with `medge compare RESULT --save-baseline NAME`.",
        )
    _, result = read_result(path)
    return f"baseline {name}", result


def save_baseline(name: str, result: Result) -> Path:
    """Keep a result as a baseline of a name, in place of the one before; return where it lies.

    Raises
    ------
    StorageError
        Rule ``state-write``.
    """
    path = baseline_path(name)
    write_state(path, encode(result, indent=True))
    return path


def is_file_name(name: str) -> bool:
    """Whether a baseline's name is that of a file: it has a folder or ends in .json."""
    return "/" in name or name.endswith(".json")


def baseline_path(name: str) -> Path:
    """Return where a baseline lies.

    Raises
    ------
    UsageError
        Rule ``baseline``: neither a name nor that of a file.
    """
    if is_file_name(name):
        return Path(name)
    if not _BASELINE.fullmatch(name):
        raise UsageError(
            "baseline",
            f"{name[:80]!r} is no name of a baseline: small letters, digits, '.', '_' and '-'. Or "
            "name a file: ./baseline.json.",
        )
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return state_folder() / "baselines"
