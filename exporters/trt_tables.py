"""What each release of TensorRT's ONNX parser takes, as its own documents list it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec.toml
from msgspec import Meta, Struct

from medge.profiles.rows import read_rows

FOLDER = Path(__file__).parent / "data"
RTX = "rtx-1.7"

Kind = Literal[
    "absent", "alike", "below", "constant", "false", "inputs", "lacks", "one-of", "ones", "outputs",
    "rank", "sides", "static", "wide",
]  # fmt: skip


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One release of the parser.

    Parameters
    ----------
    name
        ``8.5``, or ``rtx-1.7`` for TensorRT-RTX.
    jetpack
        The JetPack whose TensorRT it is; empty for those of no Jetson.
    opsets
        The oldest and the newest that it takes.
    types
        Element types, as ONNX names them; ``ports`` are those that only inputs and outputs have.
    source
        Document and day.
    """

    name: str
    jetpack: str = ""
    opsets: tuple[int, int]
    types: frozenset[str]
    ports: frozenset[str] = frozenset()
    source: Annotated[str, Meta(min_length=1)]

    @property
    def shown(self) -> str:
        """What a person calls it: ``TensorRT 8.5 (JetPack 5)``."""
        if self.name == RTX:
            return f"TensorRT-RTX {self.name.removeprefix('rtx-')}"
        return f"TensorRT {self.name}" + (f" (JetPack {self.jetpack})" if self.jetpack else "")


class Condition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Under which condition a release takes an operator.

    ``what`` is an attribute or the number of an input, ``values`` what it may be; ``kind`` says how
    they are held against a node (``trt_conditions``).
    """

    operators: tuple[str, ...]
    releases: frozenset[str]
    kind: Kind
    what: str = ""
    values: tuple[str, ...] = ()


class _Operator(Struct, frozen=True, forbid_unknown_fields=True):
    operator: str
    releases: frozenset[str] = frozenset()


class _Releases(Struct, frozen=True, forbid_unknown_fields=True):
    release: tuple[Release, ...]


@cache
def releases() -> Mapping[str, Release]:
    """Return every release that the tables hold, the oldest first, TensorRT-RTX last.

    Raises
    ------
    ValueError
        A table is damaged: the installation is. Names the file.
    """
    path = FOLDER / "tensorrt_releases.toml"
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_Releases)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return MappingProxyType({one.name: one for one in found.release})


@cache
def operators() -> Mapping[str, frozenset[str]]:
    """Return the releases that take each operator; what is not listed is taken by none."""
    rows = read_rows(FOLDER / "tensorrt_operators.csv", _Operator, ("releases",))
    return MappingProxyType({row.operator: row.releases for _, row in rows})


@cache
def conditions(release: str) -> Mapping[str, tuple[Condition, ...]]:
    """Return the conditions of one release by operator."""
    lists = ("operators", "releases", "values")
    found: dict[str, tuple[Condition, ...]] = {}
    for _, row in read_rows(FOLDER / "tensorrt_conditions.csv", Condition, lists):
        for operator in row.operators if release in row.releases else ():
            found[operator] = (*found.get(operator, ()), row)
    return MappingProxyType(found)


def release_of(version: str) -> Release:
    """Return the newest release of the tables that is no newer than a version such as ``8.5.2``.

    A version between two of them is held to the older one's rules. One that is older than all is
    held to those of the oldest.
    """
    asked = _key(version)
    known = [one for one in releases().values() if one.name != RTX]
    older = [one for one in known if _key(one.name) <= asked[: len(_key(one.name))]]
    return older[-1] if older else known[0]


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
