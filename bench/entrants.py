"""Entrants: a candidate as a loaded, self-tested session that can be run again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from medge.engine.select import Choice
from medge.engine.selftest import SelfTest, open_proven

if TYPE_CHECKING:
    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.sealed import Candidate
    from medge.engine.session import Session

Call = Callable[[], object]
R = TypeVar("R")


class Built:
    """A session with inputs to run it on: the bundle's own golden cases, in turn."""

    def __init__(self, bundle: Bundle, session: Session, tested: SelfTest) -> None:
        self.session = session
        self.tested = tested
        choice = session.choice
        self.pictures = choice.batch * choice.streams
        self._feeds = [_feed(bundle, choice.batch, stream) for stream in range(choice.streams)]
        self._pool = ThreadPoolExecutor(choice.streams) if choice.streams > 1 else None

    @property
    def fixed_batch(self) -> int | None:
        """The only batch that the graph takes, None for any."""
        return self.session.batch

    def run(self, calls: int) -> None:
        """Make so many calls after each other in every stream; return when all have answered."""

        def work(call: Call) -> None:
            for _ in range(calls):
                call()

        self.in_streams(work)

    def in_streams(self, work: Callable[[Call], R]) -> list[R]:
        """Work in every stream at the same time, each given what makes one call there."""
        infer = self.session.infer
        calls = [partial(infer, feed, stream) for stream, feed in enumerate(self._feeds)]
        if self._pool is None:
            return [work(calls[0])]
        waiting = [self._pool.submit(work, call) for call in calls]
        return [each.result() for each in waiting]

    def close(self) -> None:
        """Release the runtime and the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        self.session.close()


def build(bundle: Bundle, candidate: Candidate) -> Built:
    """Load a candidate and let it prove itself on the golden cases.

    Raises
    ------
    BackendError, BundleError, GateError
        The runtime cannot run it, or it answers otherwise than it must.
    """
    return Built(bundle, *open_proven(bundle, choice_of(candidate)))


def choice_of(candidate: Candidate, reasons: tuple[str, ...] = ()) -> Choice:
    """Return a candidate as what a session takes."""
    return Choice(
        backend=candidate.backend,
        device=candidate.device,
        variant=candidate.variant,
        precision=candidate.precision,
        threads=candidate.threads,
        streams=candidate.streams,
        batch=candidate.batch,
        reasons=reasons,
    )


def _feed(bundle: Bundle, batch: int, first: int) -> Mapping[str, Tensor]:
    golden = bundle.golden()
    rows = np.arange(first, first + batch) % golden.cases
    return {name: np.ascontiguousarray(array[rows]) for name, array in golden.inputs.items()}
