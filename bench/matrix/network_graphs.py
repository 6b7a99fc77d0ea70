"""Graphs of published networks: made once, kept in the state folder, checked when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from medge.engine.state import read_state, state_folder, write_state
from medge.profiles.network import Network
from medge.profiles.terms import Positive, Sha256, Text, read_json

MakeGraph = Callable[[Network], bytes]


class Graph(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network's ONNX file and the seal that it was put away with.

    ``builder`` is what made it: another builder makes another graph of the same name.
    """

    network: Text
    builder: Text
    sha256: Sha256
    size_bytes: Positive

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return _folder() / f"{self.network}.onnx"


def kept_graph(network: Network) -> Graph | None:
    """Return the graph that is kept of a network, None where none is, or another size of file.

    Whoever reads the file still has to hold its bytes against ``sha256``.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``.
    """
    raw = read_state(_seal(network))
    if raw is None:
        return None
    try:
        graph = read_json(raw, Graph)
    except msgspec.DecodeError:
        return None
    whole = graph.path.is_file() and graph.path.stat().st_size == graph.size_bytes
    return graph if whole and (graph.network, graph.builder) == _key(network) else None


def keep_graph(network: Network, make: MakeGraph) -> Graph:
    """Make a network's graph and keep it, in place of one that was kept before.

    Raises
    ------
    MedgeError
        Whatever ``make`` raises; StorageError, rule ``state-write``: it cannot be kept.
    """
    raw = make(network)
    graph = Graph(
        network=network.id,
        builder=network.builder,
        sha256=hashlib.sha256(raw).hexdigest(),
        size_bytes=len(raw),
    )
    write_state(graph.path, raw)
    write_state(_seal(network), msgspec.json.encode(graph) + b"\n")  # last: it vouches for the file
    return graph


def _key(network: Network) -> tuple[str, str]:
    return network.id, network.builder


def _seal(network: Network) -> Path:
    return _folder() / f"{network.id}.json"


def _folder() -> Path:
    return state_folder() / "networks"
