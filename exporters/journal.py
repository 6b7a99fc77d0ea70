"""The journal of a search: what was found of a graph is looked up when the search is run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TypeVar

import msgspec

from medge.engine.state import read_state, state_folder, write_state

FORMAT = 1
JOURNAL = "journal.json"

T = TypeVar("T")


class Journal:
    """Answers by question and graph, on disk after each, so that a killed run loses one.

    A graph is named by its SHA-256, everything else that an answer depends on by ``key``: two
    journals of the same key are one. A damaged journal is begun anew.
    """

    def __init__(self, key: object) -> None:
        """Open the journal of a key, which is made of what JSON can say."""
        said = json.dumps([FORMAT, key], sort_keys=True)
        name = hashlib.sha256(said.encode()).hexdigest()
        self._path = state_folder() / "quantize" / name / JOURNAL
        self._answers = self._read()
        self.found = 0  # answers that were there already

    def ask(self, question: str, graph: bytes, answer: Callable[[], T], kind: type[T]) -> T:
        """Return what is known, else find it out and keep it.

        Raises
        ------
        StorageError
            Rule ``state-write`` or ``state-unreadable``.
        """
        name = f"{question} {hashlib.sha256(graph).hexdigest()}"
        if name in self._answers:
            try:
                known = msgspec.convert(self._answers[name], kind)
            except msgspec.ValidationError:
                del self._answers[name]
            else:
                self.found += 1
                return known
        found = answer()
        self._answers[name] = msgspec.to_builtins(found)
        write_state(self._path, msgspec.json.encode(self._answers))
        return found

    def _read(self) -> dict[str, object]:
        raw = read_state(self._path)
        if raw is None:
            return {}
        try:
            return msgspec.json.decode(raw, type=dict[str, object])
        except msgspec.DecodeError:
            return {}
