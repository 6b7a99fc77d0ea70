"""Times of published networks here: each network and runtime once, kept for the next asking."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import msgspec
from msgspec import Struct

from medge.bench.fresh_process import answer_of
from medge.bench.matrix.ended import end_text
from medge.bench.matrix.network_graphs import Graph
from medge.bench.matrix.network_worker import Task, Told
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.engine.backends.presence import installed_version
from medge.engine.state import read_state, state_folder, write_state
from medge.profiles.device import Device, allowed_cores, describe, identity
from medge.profiles.network import Network
from medge.profiles.terms import Count, Sha256, Text, read_json

RUNTIMES = ("onnxruntime", "openvino")
INPUT, OUTPUT = "image", "scores"  # what the exported graphs call their tensors


class NetworkTime(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network, untrained, timed at fp32 and batch 1 on one machine, or why it was not.

    Parameters
    ----------
    reason
        Why there is no measurement; the process crashed, was refused or took too long.
    placement
        Share of the compute layers by the precision that they were seen to run in.
    peak_rss_bytes
        Most memory that its process held.
    """

    network: Text
    graph_sha256: Sha256
    runtime: Text
    runtime_version: Text
    device: Device
    device_identity: Text
    measurement: Measurement | None = None
    reason: Text | None = None
    rule: str = ""
    placement: dict[str, float] = {}
    peak_rss_bytes: Count | None = None
    taken: Text


def procedure() -> Procedure:
    """Return how networks are timed: from a MobileNet's 3 ms to seconds, within seconds each."""
    return Procedure(
        span="infer",
        threads=allowed_cores(),
        warm_up=WarmUp(window=5, max_calls=60, max_ns=2_000_000_000),
        # 8 samples bound the median at 95 % (stats.interval_cases says 6, for independent ones).
        sampling=Sampling(min_samples=8, max_samples=200, max_ns=4_000_000_000),
    )


def kept_time(network: Network, graph: Graph, runtime: str) -> NetworkTime | None:
    """Return what was found before, if graph, runtime, machine and procedure are still the same.

    Raises
    ------
    StorageError
        Rule ``state-unreadable``.
    """
    raw = read_state(_path(network, runtime))
    if raw is None:
        return None
    try:
        found = read_json(raw, NetworkTime)
    except msgspec.DecodeError:
        return None
    here = (graph.sha256, runtime, installed_version(runtime), identity())
    same = here == (
        found.graph_sha256,
        found.runtime,
        found.runtime_version,
        found.device_identity,
    )
    measured = found.measurement
    return found if same and (measured is None or measured.procedure == procedure()) else None


def time_network(network: Network, graph: Graph, runtime: str, limit_s: float) -> NetworkTime:
    """Time a network in a process of its own, keep what was found, and return it.

    Parameters
    ----------
    limit_s
        After so many seconds the process is ended, and the result says so.

    Raises
    ------
    StorageError
        Rule ``state-write``: it was timed, and cannot be kept.
    """
    last = network.layers().layers[-1].output_shapes[0]
    task = Task(
        path=str(graph.path),
        sha256=graph.sha256,
        runtime=runtime,
        input_name=INPUT,
        input_shape=(network.channels, network.height, network.width),
        output_name=OUTPUT,
        output_shape=last[1:],
        procedure=procedure(),
    )
    told = _told(task, limit_s)
    found = NetworkTime(
        network=network.id,
        graph_sha256=graph.sha256,
        runtime=runtime,
        runtime_version=installed_version(runtime) or "not installed",
        device=describe(),
        device_identity=identity(),
        measurement=told.measurement,
        reason=told.message or None,
        rule=told.rule,
        placement=told.placement,
        peak_rss_bytes=told.peak_rss_bytes,
        taken=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    write_state(_path(network, runtime), msgspec.json.encode(found) + b"\n")
    return found


def _told(task: Task, limit_s: float) -> Told:
    """Run the worker; whatever happens to it becomes an answer."""
    try:
        said, code = answer_of(
            "medge.bench.matrix.network_worker", msgspec.json.encode(task), limit_s
        )
    except TimeoutError:
        return Told(
            rule="time-limit",
            message=f"It was not done after {limit_s:g} s. Allow it more: --time-limit.",
        )
    lines = said.splitlines()
    if code == 0 and lines:
        try:
            return msgspec.json.decode(lines[-1], type=Told)
        except msgspec.DecodeError:
            pass
    return Told(rule="crash", message=end_text(code))


def _path(network: Network, runtime: str) -> Path:
    return state_folder() / "networks" / f"{network.id}.{runtime}.json"
