"""How long graphs take that are in no bundle yet, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from medge.bench.measure import measure_interleaved
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.engine.session import Session

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

    Raises
    ------
    BundleError, BackendError
        A graph cannot run as ``choice`` says.
    """
    golden = bundle.golden()
    feeds = {name: np.ascontiguousarray(array[:1]) for name, array in golden.inputs.items()}
    with ExitStack() as stack:
        calls: dict[str, Callable[[], object]] = {}
        for place, graph in enumerate(graphs):
            session = stack.enter_context(Session(bundle, choice, graph))
            session.infer(feeds)  # the first call of some runtimes reads back what runs
            calls[str(place)] = partial(session.infer, feeds)
        found = measure_interleaved(calls, ROUNDS)
    return [float(np.median(found[name].samples_ns)) for name in calls]
