"""What a quantization asks of its graphs, each answer found once and kept in the journal."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from medge.engine.evidence import Drift
from medge.exporters.journal import Journal
from medge.exporters.network import Tensor

if TYPE_CHECKING:
    from medge.exporters.precision import Candidate
    from medge.exporters.screening import Screen

Judge: TypeAlias = Callable[[str, bytes], Sequence[Drift]]
"""Judges a graph under the name of its precision, on every backend that can run it here."""

Stopwatch: TypeAlias = Callable[[Sequence[bytes]], Sequence[float]]
"""Runs graphs in turn; returns how long each takes, in a unit of its own, infinity if refused."""

NEVER_RATIO = 1e9


class Memory:
    """Asks judge, screen and stopwatch only what the journal does not know."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def drifts(self, judge: Judge, candidate: Candidate) -> tuple[Drift, ...]:
        """Return the verdicts on a graph."""
        return self._journal.ask(
            f"drift {candidate.precision}",
            candidate.graph,
            lambda: tuple(judge(candidate.precision, candidate.graph)),
            tuple[Drift, ...],
        )

    def errors(self, screen: Screen, candidate: Candidate) -> Tensor:
        """Return the squared error on each screening picture."""
        known = self._journal.ask(
            "errors", candidate.graph, lambda: screen.errors(candidate.graph).tolist(), list[float]
        )
        return np.array(known)

    def ratio(self, stopwatch: Stopwatch, one: bytes, other: bytes) -> float:
        """Return how many times as long as the first the second takes.

        Refused by the runtime that is timed, the second takes NEVER_RATIO; if both are, 1.
        """

        def measured() -> float:
            first, second = stopwatch([one, other])
            if math.isinf(second):  # JSON, in which answers are kept, has no infinity
                return 1.0 if math.isinf(first) else NEVER_RATIO
            return second / first

        against = hashlib.sha256(one).hexdigest()
        return self._journal.ask(f"time against {against}", other, measured, float)
