"""Layer times: what each operation of the network takes, from calls that the runtime watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medge.bench.sections import Absent, Layers, LayerTime
from medge.engine.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.placement import TimedNode
    from medge.engine.select import Choice

WARM_RUNS = 3  # the first ones also pay for memory that is not there yet
RUNS = 11
SOURCES = {
    "onnxruntime": "ONNX Runtime's profiler",
    "openvino": "OpenVINO's performance counts",
}


class Watched(Protocol):
    """What is asked of a session that was loaded with ``watched``."""

    backend: str
    backend_version: str

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """Run one batch."""
        ...

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """Return what each operation took in every call."""
        ...


def layer_times(
    bundle: Bundle, choice: Choice, one: Mapping[str, Tensor], runs: int = RUNS
) -> Layers | Absent:
    """Load the network once more, watched, and return the time of each operation.

    Parameters
    ----------
    choice
        How it runs; of several streams one is watched, with its part of the threads.
    one
        A batch that the graph takes.

    Raises
    ------
    BackendError, BundleError
        The runtime cannot load it a second time.
    """
    alone = replace(choice, threads=choice.threads // choice.streams, streams=1)
    with Session(bundle, alone, watched=True) as session:
        return watch(session, one, runs)


def watch(session: Watched, one: Mapping[str, Tensor], runs: int = RUNS) -> Layers | Absent:
    """Make watched calls and merge what the runtime tells; a reason where it tells nothing."""
    for _ in range(WARM_RUNS + runs):
        session.infer(one)
    layers = merged(session.timed_nodes(), WARM_RUNS)
    if not layers:
        return Absent(reason=f"{session.backend} tells nothing of single operations")
    source = SOURCES.get(session.backend, session.backend)
    return Layers(runs=runs, layers=layers, source=f"{source}, {session.backend_version}")


def merged(nodes: Sequence[TimedNode], skipped: int) -> tuple[LayerTime, ...]:
    """Return the median time of each operation over its calls, in the order of execution.

    Parameters
    ----------
    skipped
        How many calls at the beginning do not count.
    """
    medians = [int(np.median(node.times_ns[skipped:] or (0,))) for node in nodes]
    total_ns = sum(medians)
    if not total_ns:
        return ()
    return tuple(
        LayerTime(
            name=node.name or node.kind,
            kind=node.kind,
            precision=node.precision,
            time_ns=time_ns,
            share_ratio=time_ns / total_ns,
        )
        for node, time_ns in zip(nodes, medians, strict=True)
    )
