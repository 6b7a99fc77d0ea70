"""Exchange: one result as a JSON document that anybody can check and that comes back the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from medge.bench.build_import import is_answer, results
from medge.bench.result import Result
from medge.bench.sound import faults
from medge.errors import InputError
from medge.profiles.terms import Sha256

SCHEMA = "medge.result/1"
KIND = "medge.result/"
MOST_BYTES = 64 << 20  # of one document; half an hour of ten sensors takes 5 MB
MOST_FILE_BYTES = 1 << 30


class Document(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """One result as a file.

    ``sha256`` is the digest of the member ``result``, written as JSON with sorted keys and without
    blanks, so that a document may be indented and is still the same.
    """

    schema_: Literal["medge.result/1"] = "medge.result/1"
    sha256: Sha256
    result: Result


@dataclass(frozen=True, slots=True)
class Found:
    """A document of a file: which one, and its result or why it is refused."""

    name: str
    result: Result | None = None
    refused: InputError | None = None


def encode(result: Result, *, indent: bool = False) -> bytes:
    """Return a result as a document; equal results have equal bytes."""
    document = Document(sha256=_digest(result), result=result)
    raw = msgspec.json.encode(document, order="sorted")
    return (msgspec.json.format(raw, indent=2) if indent else raw) + b"\n"


def decode(raw: bytes, name: str) -> Result:
    """Read a document strictly.

    Parameters
    ----------
    name
        Of the file, for messages.

    Raises
    ------
    InputError
        Rules ``document-large``, ``document-foreign`` (it is no result of medge),
        ``document-newer``, ``document-damaged`` (not what was written) and ``document-numbers``
        (what was written cannot have been measured).
    """
    return _decoded(_parsed(raw, name), name)


def _parsed(raw: bytes, name: str) -> Any:
    if len(raw) > MOST_BYTES:
        raise InputError(
            "document-large",
            f"{name}: has more than {MOST_BYTES >> 20} MiB, which no result of medge needs. Check "
            "what wrote it.",
        )
    return _plain(raw, name)


def _decoded(plain: Any, name: str) -> Result:
    kind = plain.get("schema") if isinstance(plain, dict) else None
    if not isinstance(kind, str) or not kind.startswith(KIND):
        raise InputError(
            "document-foreign",
            f"{name}: is JSON, but no result of medge: its schema is not {SCHEMA}. Name a file "
            "that `medge results export` wrote.",
        )
    if kind != SCHEMA:
        _newer(name)
    if plain.get("sha256") != _digest(plain.get("result")):
        raise _damaged(name, "its content does not match its digest")
    return _checked(plain, name)


def read_documents(path: Path) -> Iterator[Found]:
    """Yield every document of a file: one, an array of them, or JSON Lines.

    What the runner of a build bundle wrote on a Jetson yields a result for each graph.

    Raises
    ------
    InputError
        Rules ``not-found``, ``not-a-file``, ``not-readable``, ``document-large``: of the file.
    """
    for place, raw in enumerate(_documents(_read(path), path.name), 1):
        name = path.name if place == 1 else f"{path.name}, document {place}"
        try:
            yield from _found(_parsed(raw, name), name)
        except InputError as refused:
            yield Found(name, refused=refused)


def _found(plain: Any, name: str) -> Iterator[Found]:
    """Yield the one result of a document, or those of each graph that a Jetson measured."""
    if not is_answer(plain):
        yield Found(name, _decoded(plain, name))
        return
    for one in results(plain, name):
        if isinstance(one, InputError):
            yield Found(name, refused=one)
        else:
            yield Found(name, one)


def _digest(result: object) -> str:
    return hashlib.sha256(msgspec.json.encode(result, order="sorted")).hexdigest()


def _checked(plain: dict[str, Any], name: str) -> Result:
    try:
        result = msgspec.convert(plain, Document).result
    except msgspec.ValidationError as error:
        if "unknown field" in str(error):
            _newer(name, error)
        raise _numbers(name, "a fact is missing or outside what the schema allows") from error
    # Dataclasses take no notice of unknown fields.
    if not _holds(msgspec.to_builtins(result, order="sorted"), plain["result"]):
        _newer(name)
    for fault in faults(result):
        raise _numbers(name, fault)
    return result


def _holds(known: object, found: object) -> bool:
    """Whether every key of what was found is known."""
    if isinstance(found, dict):
        return isinstance(known, dict) and all(
            key in known and _holds(known[key], value) for key, value in found.items()
        )
    if isinstance(found, list):
        pairs = zip(known, found, strict=True) if isinstance(known, (list, tuple)) else ()
        return all(_holds(one, other) for one, other in pairs if isinstance(other, (dict, list)))
    return True


def _plain(raw: bytes, name: str) -> Any:
    try:
        return json.loads(raw, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except RecursionError as error:
        raise _damaged(name, "it is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError is one as well
        raise _damaged(name, "it is no whole JSON text") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # parsers disagree on which of the two wins
        raise ValueError("a key twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _read(path: Path) -> bytes:
    if not path.exists():
        raise InputError("not-found", f"{path}: there is no such file. Check the path.")
    if not path.is_file():
        raise InputError("not-a-file", f"{path}: is no regular file. Name a file of results.")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("not-readable", f"{path}: cannot be read: {reason}.") from error
    if len(raw) > MOST_FILE_BYTES:
        raise InputError(
            "document-large", f"{path}: has more than 1 GiB. Split it: JSON Lines, one a line."
        )
    return raw


def _documents(raw: bytes, name: str) -> Iterator[bytes]:
    text = raw.strip()
    if text.startswith(b"["):
        try:
            yield from map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw]))
        except msgspec.DecodeError as error:
            raise _damaged(name, "it is no whole JSON text") from error
        return
    first = text.partition(b"\n")[0]
    # An indented document's first line is its bracket alone.
    if first.startswith(b"{") and first.rstrip().endswith(b"}"):
        yield from (line for line in text.splitlines() if line.strip())
        return
    yield text


def _damaged(name: str, what: str) -> InputError:
    return InputError(
        "document-damaged", f"{name}: is damaged: {what}. Export it again, or copy it again."
    )


def _numbers(name: str, fault: str) -> InputError:
    return InputError(
        "document-numbers",
        f"{name}: cannot have been measured: {fault}. Export it again with the medge that measured "
        "it.",
    )


def _newer(name: str, cause: Exception | None = None) -> NoReturn:
    raise InputError(
        "document-newer",
        f"{name}: was written by another version of medge, with facts that this one does not know. "
        "Install the newest of both.",
    ) from cause
