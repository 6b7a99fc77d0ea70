"""The devices of the catalog that are nearest to a machine, as rows and as one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from medge.profiles.match import Card, Cpu, Match

MATCH_COLUMNS = ("nearest", "part", "studies", "why")
SHOWN_REFS = 12

Part = tuple[str, Cpu | Card, Sequence[Match]]


def match_object(parts: Sequence[Part]) -> dict[str, Any]:
    """Return each part of the machine with its nearest devices; plain JSON types."""
    return {
        "schema": "medge.match/1",
        "parts": [
            {
                "part": part,
                "found": msgspec.to_builtins(facts),
                "matches": [_match_object(match) for match in matches],
            }
            for part, facts, matches in parts
        ],
    }


def match_rows(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    """Yield each part of the machine, then its nearest devices, the nearest first."""
    for part, facts, matches in parts:
        yield ("this machine", part, "", _found(facts))
        for match in matches:
            verdict = "this device" if match.exact else f"same {'; '.join(match.same)}"
            differs = f"; other {'; '.join(match.differs)}" if match.differs else ""
            yield (match.target.id, part, _refs(match), f"{verdict}{differs}")
        if not matches:
            yield ("none", part, "", "nothing in common with any device of the catalog")
    if not any(isinstance(facts, Card) for _, facts, _ in parts):
        yield ("none", "gpu", "", "no NVIDIA GPU that can be read; `medge doctor` says why")


def _match_object(match: Match) -> dict[str, Any]:
    return {
        "id": match.target.id,
        "name": match.target.name,
        "exact": match.exact,
        "same": list(match.same),
        "differs": list(match.differs),
        "studies": list(match.refs),
        "studies_of_architecture_only": match.refs_of_architecture,
    }


def _found(facts: Cpu | Card) -> str:
    if isinstance(facts, Cpu):
        cores = f"{facts.cores} cores" if facts.cores else None
        words = [facts.name, facts.microarchitecture, cores, facts.tier]
    else:
        memory = f"{facts.memory_bytes / 2**30:.3g} GB" if facts.memory_bytes else None
        capability = facts.compute_capability
        capable = f"compute capability {capability}" if capability else None
        words = [facts.name, capable, memory, facts.power_mode]
    return ", ".join(filter(None, words))


def _refs(match: Match) -> str:
    """Name the studies; those that used its architecture only stand in brackets."""
    if not match.refs:
        return "none"
    shown = ", ".join(map(str, match.refs[:SHOWN_REFS]))
    more = len(match.refs) - SHOWN_REFS
    text = f"{shown} and {more} more" if more > 0 else shown
    return f"({text})" if match.refs_of_architecture else text
