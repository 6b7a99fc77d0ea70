"""The 80 studies beside this machine: their networks measured here, their hardware estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from medge.bench.matrix.network_graphs import MakeGraph, keep_graph, kept_graph
from medge.bench.matrix.network_times import RUNTIMES, NetworkTime, kept_time, time_network
from medge.engine.backends.presence import absence
from medge.errors import MedgeError, StorageError
from medge.profiles.estimate.plan import Plan, plan
from medge.profiles.network import Network, architectures, networks
from medge.profiles.study import Study
from medge.profiles.target import targets

REMAKE_RULE = "digest"  # the file on the disk is not the one that was sealed


@dataclass(frozen=True, slots=True)
class Part:
    """One word of a study's architectures: a published network, or why none can be told.

    ``assumption`` is what was taken for granted where the study leaves something open.
    """

    architecture: str
    network: Network | None
    assumption: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study: its parts, and the devices of the catalog that it names."""

    study: Study
    parts: tuple[Part, ...]
    devices: tuple[str, ...]

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those that can be measured."""
        return tuple(part.network for part in self.parts if part.network is not None)

    @property
    def whole(self) -> bool:
        """Whether every part is a published network."""
        return len(self.networks) == len(self.parts)

    @property
    def sized(self) -> bool:
        """Whether it names a network whose layers are certain."""
        return any(part.network is not None and part.assumption is None for part in self.parts)


@dataclass(frozen=True, slots=True)
class Summary:
    """How much of the review has a figure, counted in studies.

    ``sized`` name a network whose layers are certain, ``measured`` of them have a time on every
    runtime here; ``on_gpu`` of the sized name a GPU, ``told`` of those have an estimate or the
    estimator's reason for none.
    """

    sized: int
    measured: int
    on_gpu: int
    told: int


@dataclass(frozen=True, slots=True)
class Review:
    """Every study, what its networks took here, and what is estimated for its hardware.

    Attributes
    ----------
    times
        By network and runtime.
    missing
        By network and runtime: why it could not be timed here at all.
    estimates
        By network and device of the catalog.
    """

    rows: tuple[StudyRow, ...]
    times: Mapping[tuple[str, str], NetworkTime] = field(default_factory=dict)
    missing: Mapping[tuple[str, str], str] = field(default_factory=dict)
    estimates: Mapping[tuple[str, str], Plan] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """Count what has a figure."""
        sized = [row for row in self.rows if row.sized]
        on_gpu = [row for row in sized if row.study.gpus]
        return Summary(
            sized=len(sized),
            measured=sum(all(map(self._is_timed, row.networks)) for row in sized),
            on_gpu=len(on_gpu),
            told=sum(all(map(self._is_told, product(row.networks, row.devices))) for row in on_gpu),
        )

    def _is_timed(self, network: Network) -> bool:
        found = [self.times.get((network.id, runtime)) for runtime in RUNTIMES]
        return all(time is not None and time.measurement is not None for time in found)

    def _is_told(self, pair: tuple[Network, str]) -> bool:
        each = self.estimates.get((pair[0].id, pair[1]))
        return each is not None and (each.latency is not None or bool(each.reason))


Progress = Callable[[str, float], None]
"""Told what begins, and which part (0 to 1) of the arithmetic of all is done."""


def study_row(study: Study) -> StudyRow:
    """Return what is known of a study's networks and hardware."""
    parts = []
    for word in study.architectures:
        meant = architectures()[word]
        network = None if meant.network is None else networks()[meant.network]
        parts.append(Part(word, network, meant.assumption, meant.reason))
    devices = dict.fromkeys((*study.gpus, *((study.cpu,) if study.cpu else ())))
    return StudyRow(study, tuple(parts), tuple(devices))


def review(
    studies: Sequence[Study],
    make: MakeGraph,
    *,
    resume: bool = False,
    limit_s: float = 300.0,
    progress: Progress = lambda _what, _done: None,
) -> Review:
    """Time every network that the studies name, once each, and estimate for their hardware.

    Parameters
    ----------
    make
        Makes the graph of a network that is not kept yet; may raise an error of medge, whose
        message then stands in the place of the time.
    resume
        Take times that were found before with the same graph, runtime, machine and procedure.
    limit_s
        Longest time that one network may take on one runtime.

    Raises
    ------
    StorageError
        A graph or a time cannot be kept.
    """
    rows = tuple(study_row(study) for study in studies)
    wanted = {network.id: network for row in rows for network in row.networks}
    times: dict[tuple[str, str], NetworkTime] = {}
    missing: dict[tuple[str, str], str] = {}
    for network, runtime, done in _in_order(wanted):
        progress(f"{network.name} on {runtime}", done)
        try:
            found = _timed(network, runtime, make, resume=resume, limit_s=limit_s)
        except StorageError:  # what cannot be kept is lost: stop, rather than go on
            raise
        except MedgeError as error:
            missing[network.id, runtime] = error.message
        else:
            times[network.id, runtime] = found
    progress("estimating", 1.0)
    return Review(rows, times, missing, _estimates(rows))


def _in_order(wanted: Mapping[str, Network]) -> Iterator[tuple[Network, str, float]]:
    """Yield the cheapest first, and before each the part of all arithmetic that is behind."""
    ordered = sorted(wanted.values(), key=lambda network: (network.flops, network.id))
    # Loading, warming up and the shortest measurement cost even a small network some seconds.
    costs = {network.id: network.flops + 2e10 for network in ordered}
    whole, done = sum(costs.values()), 0.0
    for network in ordered:
        for place, runtime in enumerate(RUNTIMES):
            yield network, runtime, (done + costs[network.id] * place / len(RUNTIMES)) / whole
        done += costs[network.id]


def _timed(
    network: Network, runtime: str, make: MakeGraph, *, resume: bool, limit_s: float
) -> NetworkTime:
    absent = absence(runtime)
    if absent is not None:
        raise absent
    graph = kept_graph(network)
    if graph is not None and resume:
        before = kept_time(network, graph, runtime)
        if before is not None:
            return before
    graph = graph or keep_graph(network, make)
    found = time_network(network, graph, runtime, limit_s)
    if found.rule == REMAKE_RULE:
        found = time_network(network, keep_graph(network, make), runtime, limit_s)
    return found


def _estimates(rows: Sequence[StudyRow]) -> dict[tuple[str, str], Plan]:
    """Estimate each network on every device of the studies that use it, once."""
    wanted: dict[str, dict[str, None]] = {}
    for row in rows:
        for network in row.networks:
            wanted.setdefault(network.id, {}).update(dict.fromkeys(row.devices))
    found = {}
    for name, devices in wanted.items():
        if not devices:
            continue
        known = [targets()[device] for device in devices]
        network = networks()[name]
        for each in plan(network.name, network.layers(), known):
            found[name, each.target.id] = each
    return found
