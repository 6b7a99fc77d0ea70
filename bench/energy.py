"""Energy of a picture: what sensors told while a candidate worked, and while the device idled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
import numpy.typing as npt

from medge.bench.sections import Absent, Energy
from medge.bench.student import t_quantile
from medge.engine.sealed import Candidate
from medge.profiles.cuda_gpus import gpu_of
from medge.profiles.device_names import ordinal
from medge.profiles.jetson import soc
from medge.profiles.nvml import index_of
from medge.profiles.sensors.trace import Channel, Trace, Values, risen

CONFIDENCE = 0.95
MIN_UPDATES = 20  # a span's ends are known to one new value each, so 20 leave at most 10 %
MIN_BLOCKS = 5  # below, Student's t is so wide that the interval says nothing
BLOCK_UPDATES = 2
MAX_GAP_PERIODS = 5  # of a power sensor: between two readings nobody knows what it was

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """A time by the trace's clock, and how many pictures were answered within; 0 for idling."""

    start_ns: int
    end_ns: int
    pictures: int = 0


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over blocks divided by another, with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float


@dataclass(frozen=True, slots=True)
class _Rail:
    channel: Channel
    at_ns: Floats
    joules: Floats  # since the first reading


class _NotMeasurable(Exception):  # noqa: N818 - says why, and never leaves this module
    """Why there is no energy to tell."""


def energy(
    trace: Trace, idle: Sequence[Span], busy: Sequence[Span], gpu: str | None = None
) -> Energy | Absent:
    """Return the energy of a picture, raw and without what the device takes while idle.

    Counters are differenced over their wraps; power is summed by the trapezoid rule. Both are known
    between two readings by linear interpolation. The intervals are those of a ratio of sums over
    blocks (Cochran, Sampling Techniques, 3rd edition 1977, section 6.3, with Student's t); idle
    power has its own error, which enters as Welch (Biometrika 34, 1947) adds variances.

    Parameters
    ----------
    idle, busy
        By the clock of the trace, not overlapping. ``busy`` in pieces, at least five, each with
        its pictures; short ones are joined.
    gpu
        The part that ran the candidate, such as ``gpu0``; GPUs that did not run it are left out.

    Returns
    -------
    Energy or Absent
        Absent says why: no sensor, too short for it, or not covered by it.
    """
    try:
        return _energy(trace, idle, busy, gpu)
    except _NotMeasurable as reason:
        return Absent(reason=str(reason))


def nvml_part(candidate: Candidate) -> str | None:
    """Return the part that NVML calls the GPU of a candidate, None for all that is no NVIDIA GPU.

    CUDA and NVML count GPUs in other orders, so that the bus that a GPU sits on tells which it is;
    one that NVML does not name keeps its own name, which no sensor has. The GPU of an Intel CPU
    lies within the package that RAPL counts.
    """
    if ordinal(candidate.device) is None:
        return None
    gpu = gpu_of(candidate.device)
    if gpu is None or gpu.pci_bus_id is None:  # a Jetson's sits on no bus, and is the only one
        return "gpu0" if soc() is not None else candidate.device
    index = index_of(gpu.pci_bus_id)
    return candidate.device if index is None else f"gpu{index}"


def shortest_ns(trace: Trace, gpu: str | None = None) -> int | None:
    """Return how long to idle and to work at least, in ns; None where no sensor tells energy."""
    chosen = list(_chosen(trace.channels, gpu))
    return MIN_UPDATES * _resolution_ns(trace, chosen) if chosen else None


def t_interval(ratio: Ratio, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the bounds of a ratio."""
    half = t_quantile(confidence, ratio.freedom) * ratio.error
    return ratio.value - half, ratio.value + half


def _energy(trace: Trace, idle: Sequence[Span], busy: Sequence[Span], gpu: str | None) -> Energy:
    chosen = list(_chosen(trace.channels, gpu))
    if not chosen or not _has_gpu(chosen, gpu):
        raise _NotMeasurable(_why_none(trace, "cpu" if gpu is None else "gpu"))
    resolution_ns = _resolution_ns(trace, chosen)
    for said, spans in (("idle", idle), ("busy", busy)):
        _check_length(said, spans, resolution_ns)
    rails = [_rail(trace, channel) for channel in chosen]
    idle_blocks = _blocks(tuple(_pieces(idle, resolution_ns)), resolution_ns)
    busy_blocks = _blocks(busy, resolution_ns)
    if min(len(idle_blocks), len(busy_blocks)) < MIN_BLOCKS:
        raise _NotMeasurable(
            f"{len(idle_blocks)} idle and {len(busy_blocks)} busy blocks of at least "
            f"{BLOCK_UPDATES * resolution_ns / 1e9:g} s; an interval needs {MIN_BLOCKS} of each"
        )
    limit_ns = _gap_limit_ns(trace)
    idle_j, busy_j = (
        np.array([sum(_joules(rails, span, limit_ns) for span in block) for block in blocks])
        for blocks in (idle_blocks, busy_blocks)
    )
    idle_s, busy_s = _seconds(idle_blocks), _seconds(busy_blocks)
    pictures = np.array([sum(span.pictures for span in block) for block in busy_blocks], float)
    if not pictures.sum():
        raise _NotMeasurable("no picture was answered while energy was measured")
    resting = ratio_of_sums(idle_j, idle_s)
    raw = ratio_of_sums(busy_j, pictures)
    above_idle = ratio_of_sums(busy_j - resting.value * busy_s, pictures)
    net = _with_error(above_idle, resting, float(busy_s.sum() / pictures.sum()))
    (raw_low, raw_high), (net_low, net_high) = t_interval(raw), t_interval(net)
    return Energy(
        source="; ".join(dict.fromkeys(channel.source for channel in chosen)),
        rails=tuple(channel.part for channel in chosen),
        pictures=int(pictures.sum()),
        seconds=float(busy_s.sum()),
        idle_w=resting.value,
        busy_w=float(busy_j.sum() / busy_s.sum()),
        raw_mj=raw.value * 1e3,
        raw_low_mj=raw_low * 1e3,
        raw_high_mj=raw_high * 1e3,
        net_mj=net.value * 1e3,
        net_low_mj=net_low * 1e3,
        net_high_mj=net_high * 1e3,
    )


def ratio_of_sums(over: Floats, under: Floats) -> Ratio:
    """Return the sum of ``over`` divided by that of ``under``, with the error of that ratio."""
    count, total = len(over), float(under.sum())
    value = float(over.sum()) / total
    residual = over - value * under
    error = sqrt(count * float(residual @ residual) / (count - 1)) / total
    return Ratio(value, error, count - 1.0)


def _with_error(net: Ratio, idle_w: Ratio, seconds: float) -> Ratio:
    """Add the error of idle power, over the seconds that a picture takes, to that of ``net``."""
    own, other = net.error**2, (idle_w.error * seconds) ** 2
    if not own + other:
        return net
    freedom = (own + other) ** 2 / (own**2 / net.freedom + other**2 / idle_w.freedom)
    return Ratio(net.value, sqrt(own + other), freedom)


def _chosen(channels: Sequence[Channel], gpu: str | None) -> Iterator[Channel]:
    """Yield what to add up: of each part its counter or else its power, nothing twice."""
    counted = {each.part for each in channels if each.quantity == "energy"}
    for channel in channels:
        if channel.within is not None or (
            channel.quantity != "energy"
            and (channel.quantity != "power" or channel.part in counted)
        ):
            continue
        if channel.source.startswith("NVML") and channel.part != gpu:
            continue
        yield channel


def _has_gpu(chosen: Sequence[Channel], gpu: str | None) -> bool:
    """Whether what is added up holds the GPU: its own counter, or rails that feed a whole board.

    RAPL counts the CPU alone, which would pass for the energy of a picture that a GPU judged.
    """
    rails = any("RAPL" not in each.source and each.part != gpu for each in chosen)
    return gpu is None or rails or any(each.part == gpu for each in chosen)


def _why_none(trace: Trace, side: str) -> str:
    names = ("energy", f"energy of {side}", "power", f"power of {side}")
    return next(
        (trace.missing[name] for name in names if name in trace.missing),
        "no sensor tells energy or power of what ran it",
    )


def _resolution_ns(trace: Trace, chosen: Sequence[Channel]) -> int:
    """Return how far apart two new values of the slowest rail lie, as they were read."""
    return max((trace.period_ns or 1, *(channel.update_ns or 1 for channel in chosen)))


def _check_length(said: str, spans: Sequence[Span], resolution_ns: int) -> None:
    lasted_ns = sum(span.end_ns - span.start_ns for span in spans)
    needed_ns = MIN_UPDATES * resolution_ns
    if lasted_ns < needed_ns:
        raise _NotMeasurable(
            f"{said} for {lasted_ns / 1e9:.3g} s, but the sensor has a new value every "
            f"{resolution_ns / 1e9:g} s, so that at least {needed_ns / 1e9:g} s are needed"
        )


def _rail(trace: Trace, channel: Channel) -> _Rail:
    """Return the energy that a rail gave since the first reading, at each of them."""
    values: Values = trace.values[trace.channels.index(channel)]
    told = [(at, value) for at, value in zip(trace.at_ns, values, strict=True) if value is not None]
    if len(told) < 2:
        raise _NotMeasurable(f"{channel.part} told {len(told)} values; two are the fewest")
    at_ns = np.array([at for at, _ in told], float)
    read = [value for _, value in told]
    if channel.quantity == "energy":
        try:
            return _Rail(channel, at_ns, np.array(risen(read, channel.wraps_at)))
        except ValueError as error:
            raise _NotMeasurable(f"{channel.part}: {error}") from None
    watts = np.array(read)
    steps = (watts[1:] + watts[:-1]) / 2.0 * np.diff(at_ns) / 1e9
    return _Rail(channel, at_ns, np.concatenate([[0.0], np.cumsum(steps)]))


def _joules(rails: Sequence[_Rail], span: Span, limit_ns: float) -> float:
    """Return what all rails gave within a span."""
    total = 0.0
    for rail in rails:
        first, last = rail.at_ns[0], rail.at_ns[-1]
        if span.start_ns < first or span.end_ns > last:
            raise _NotMeasurable(f"{rail.channel.part} was not read over the whole span")
        begin = int(np.searchsorted(rail.at_ns, span.start_ns, "right")) - 1
        end = int(np.searchsorted(rail.at_ns, span.end_ns, "left")) + 1
        apart_ns = max((b - a for a, b in pairwise(rail.at_ns[begin:end])), default=0.0)
        if rail.channel.quantity == "power" and apart_ns > limit_ns:
            raise _NotMeasurable(
                f"{rail.channel.part} told no power for {apart_ns / 1e9:.3g} s of a span"
            )
        low, high = np.interp([span.start_ns, span.end_ns], rail.at_ns, rail.joules)
        total += float(high - low)
    return total


def _gap_limit_ns(trace: Trace) -> float:
    apart = np.diff(np.array(trace.at_ns, float))
    usual = trace.period_ns or (float(np.median(apart)) if len(apart) else 0.0)
    return MAX_GAP_PERIODS * usual


def _pieces(spans: Sequence[Span], resolution_ns: int) -> Iterator[Span]:
    """Cut idle spans, which hold no pictures, into equal pieces that a block may consist of."""
    for span in spans:
        lasted_ns = span.end_ns - span.start_ns
        count = max(1, lasted_ns // (BLOCK_UPDATES * resolution_ns))
        edges = [span.start_ns + lasted_ns * place // count for place in range(count + 1)]
        yield from (Span(start, end) for start, end in pairwise(edges))


def _blocks(spans: Sequence[Span], resolution_ns: int) -> list[list[Span]]:
    """Join spans until each block is long enough for the sensor; what is left joins the last."""
    blocks: list[list[Span]] = [[]]
    for span in spans:
        if _lasted_ns(blocks[-1]) >= BLOCK_UPDATES * resolution_ns:
            blocks.append([])
        blocks[-1].append(span)
    if len(blocks) > 1 and _lasted_ns(blocks[-1]) < BLOCK_UPDATES * resolution_ns:
        blocks[-2].extend(blocks.pop())
    return blocks


def _lasted_ns(block: Sequence[Span]) -> int:
    return sum(span.end_ns - span.start_ns for span in block)


def _seconds(blocks: Sequence[Sequence[Span]]) -> Floats:
    return np.array([_lasted_ns(block) / 1e9 for block in blocks])
