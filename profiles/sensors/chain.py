"""Which sensors answer on this machine: for each quantity the first that does, else the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from medge.profiles.facts import Fact, Facts, Problem
from medge.profiles.jetson import soc
from medge.profiles.kernel_files import ROOT
from medge.profiles.nvidia import nvidia
from medge.profiles.nvml import NVML, pynvml
from medge.profiles.sensors.board import board
from medge.profiles.sensors.cpu import cpu
from medge.profiles.sensors.gpu import gpu
from medge.profiles.sensors.rapl import rapl
from medge.profiles.sensors.source import Found, Source
from medge.profiles.sensors.thermal import thermal
from medge.profiles.sensors.trace import Channel, Quantity, Values

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
MAX_READ_NS = 5_000_000  # of one channel: some firmware and some kernels sleep in a reading
TRIALS = 3

UNTOLD: dict[Quantity, str] = {
    "clock": "no sensor tells a clock",
    "temperature": "no sensor tells a temperature",
    "power": "no sensor tells power itself; where energy is counted, it is the rise of that",
    "energy": "nothing counts energy; where power is told, it is the sum of that over time",
    "throttle": "no sensor tells throttling",
    "load": "no GPU that tells its load",
}

Clock = Callable[[], int]


class Sensors:
    """The sensors of one machine, open until they are closed.

    ``missing`` says why a quantity is not there: by its name where no channel has it, by name and
    ``of cpu`` or ``of gpu`` where only the other one does. ``problems`` are those reasons that
    somebody at this machine can do something about.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        missing: Mapping[str, str],
        close: Callable[[], None] = lambda: None,
        problems: Iterable[Problem] = (),
    ) -> None:
        self.problems = tuple(problems)
        self._sources = tuple(sources)
        self._close = close
        self.missing = dict(missing)
        self.channels: tuple[Channel, ...] = tuple(source.channel for source in self._sources)

    def read(self) -> Values:
        """Return one value of each channel, in their order; None where a sensor did not answer."""
        return tuple([source.read() for source in self._sources])

    def close(self) -> None:
        """Let go of all files and libraries."""
        for source in self._sources:
            source.close()
        self._close()

    def __enter__(self) -> Sensors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_sensors(
    root: Path = ROOT,
    library: Callable[[], Any] | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Sensors:
    """Open every sensor that answers; a machine without any gives ``Sensors`` with no channel.

    Power of a Jetson is that of its rails, which feed CPU, GPU and memory; NVML is asked for what
    those do not tell. Elsewhere NVML tells of GPUs and RAPL of CPUs.

    Parameters
    ----------
    root
        This machine's file system, or a captured tree.
    library
        Returns the module pynvml; default: the installed one, if ``root`` is this machine.
    clock
        Nanoseconds; a channel whose reading takes longer than ``MAX_READ_NS`` is left out.
    """
    with ExitStack() as stack:
        on_gpu = _gpu(root, library, stack)
        on_cpu = _joined(cpu(root), thermal(root))
        if soc(root) is not None:
            sides = {"board": _first(board(root), on_gpu, on_cpu)}
        else:
            sides = {"cpu": _joined(on_cpu, rapl(root))}
            if on_gpu is not None:
                sides["gpu"] = on_gpu
        for side in sides.values():
            for source in side.sources:
                stack.callback(source.close)
        missing: dict[str, str] = {}
        kept = [source for side in sides.values() for source in _usable(side, clock, missing)]
        kept.sort(key=lambda source: QUANTITIES.index(source.channel.quantity))
        _explain(sides, {source.channel for source in kept}, missing)
        problems = [problem for side in sides.values() for problem in side.problems]
        return Sensors(kept, missing, stack.pop_all().close, problems)


def sensor_facts(sensors: Sensors) -> Facts:
    """Return which quantities can be read on this machine and which cannot."""
    parts = {
        quantity: sum(channel.quantity == quantity for channel in sensors.channels)
        for quantity in QUANTITIES
    }
    told = tuple(f"{quantity} ({count})" for quantity, count in parts.items() if count)
    silent = tuple(quantity for quantity, count in parts.items() if not count)
    source = "each opened and read; `medge profile` says why others are not"
    return {"answer": Fact(told, "", source), "do_not_answer": Fact(silent, "", source)}


def _gpu(root: Path, library: Callable[[], Any] | None, stack: ExitStack) -> Found | None:
    """Return what NVML tells, or why it tells nothing; None where there is no NVIDIA GPU."""
    told = nvidia(root, library)
    if told.state == "absent":
        return None
    if told.problem is not None:
        problem = told.problem
        return _nothing_of(
            " ".join(filter(None, (problem.found, problem.next_step, problem.command)))
        )
    if all(each.source != NVML for each in told.gpus):
        return _nothing_of("NVML tells nothing of the GPU of this board")
    found, close = gpu((library or pynvml)())
    stack.callback(close)
    return found


def _nothing_of(reason: str) -> Found:
    return Found(reasons=dict.fromkeys(QUANTITIES, reason))


def _joined(*parts: Found) -> Found:
    """Return the sources of all, and the reasons for what none of them has."""
    joined = Found()
    for part in parts:
        joined.sources.extend(part.sources)
        joined.problems.extend(part.problems)
        for quantity, reason in part.reasons.items():
            joined.reasons.setdefault(quantity, reason)
    return joined


def _first(rails: Found, on_gpu: Found | None, on_cpu: Found) -> Found:
    """Return what a board tells: power of its rails if they do, and of a GPU what NVML tells first.

    NVML's power and energy of an integrated GPU would count again what the rails have counted.
    """
    joined = _joined(rails, on_cpu)
    by_rails = any(source.channel.quantity == "power" for source in rails.sources)
    for source in () if on_gpu is None else on_gpu.sources:
        quantity = source.channel.quantity
        if quantity in ("power", "energy"):
            if not by_rails:
                joined.sources.append(source)
            continue
        joined.sources[:] = [
            other
            for other in joined.sources
            if (other.channel.quantity, other.channel.part) != (quantity, source.channel.part)
        ]
        joined.sources.append(source)
    return joined


def _usable(side: Found, clock: Clock, missing: dict[str, str]) -> Iterator[Source]:
    """Yield the sources that give a value in time; say of the others what keeps them out."""
    for source in side.sources:
        channel, fastest_ns, told = source.channel, None, False
        for _ in range(TRIALS):
            start_ns = clock()
            told = source.read() is not None or told
            taken_ns = clock() - start_ns
            fastest_ns = taken_ns if fastest_ns is None else min(fastest_ns, taken_ns)
        if told and fastest_ns is not None and fastest_ns <= MAX_READ_NS:
            yield source
            continue
        reason = f"{channel.source} gives no value"
        if told:
            reason = (
                f"{channel.source} takes {(fastest_ns or 0) / 1e6:.0f} ms for a reading, which "
                "would disturb what is measured"
            )
        missing[f"{channel.quantity} of {channel.part}"] = reason


def _explain(sides: Mapping[str, Found], kept: set[Channel], missing: dict[str, str]) -> None:
    """Say why each quantity is not there, or not on one side."""
    for quantity in QUANTITIES:
        lacking = {
            name: side.reasons.get(quantity)
            for name, side in sides.items()
            if not any(
                source.channel in kept and source.channel.quantity == quantity
                for source in side.sources
            )
        }
        reasons = {name: reason for name, reason in lacking.items() if reason is not None}
        if len(lacking) == len(sides):
            left_out = [why for key, why in missing.items() if key.startswith(f"{quantity} of ")]
            said = dict.fromkeys((*reasons.values(), *left_out)) or [UNTOLD[quantity]]
            missing[quantity] = "; ".join(said)
        else:
            missing.update({f"{quantity} of {name}": why for name, why in reasons.items()})
