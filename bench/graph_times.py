"""How long graphs take that are in no bundle yet, timed in the same rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from medge.bench.measure import measure_interleaved
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.engine.session import Session
from medge.errors import BundleError

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.select import Choice

ROUNDS = Procedure(
    order="interleaved",
    # A stopwatch that ranks candidates; what is published is measured by `medge compile`.
    warm_up=WarmUp(max_calls=5),
    sampling=Sampling(min_samples=11, max_samples=61, max_ns=3_000_000_000),
    lead_in=1,
)


def graph_times(bundle: Bundle, choice: Choice, graphs: Sequence[bytes]) -> list[float]:
    """Return the median time of each graph, in nanoseconds; they run in turn, in shuffled rounds.

    A graph that the runtime refuses takes ``math.inf``.

    Raises
    ------
    BackendError
        The runtime cannot run here as ``choice`` says.
    """
    golden = bundle.golden()
    feeds = {name: np.ascontiguousarray(array[:1]) for name, array in golden.inputs.items()}
    with ExitStack() as stack:
        calls: dict[str, Callable[[], object]] = {}
        for place, graph in enumerate(graphs):
            try:
                session = stack.enter_context(Session(bundle, choice, graph))
            except BundleError:
                continue
            session.infer(feeds)  # the first call of some runtimes reads back what runs
            calls[str(place)] = partial(session.infer, feeds)
        found = measure_interleaved(calls, ROUNDS) if calls else {}
    return [
        float(np.median(found[name].samples_ns)) if (name := str(place)) in found else math.inf
        for place in range(len(graphs))
    ]
