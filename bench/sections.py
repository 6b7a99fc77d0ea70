"""Sections: what a profile holds beside latencies, as it is stored, compared and shown."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medge.bench.doubts import Doubt
from medge.bench.measure import Measurement
from medge.profiles.sensors.trace import Trace
from medge.profiles.terms import Count, Positive, Probability, Sha256, Text


class Absent(Struct, frozen=True, kw_only=True, tag="absent", forbid_unknown_fields=True):
    """Why something could not be measured here; what is not known is never 0."""

    reason: Text


class ColdStart(Struct, frozen=True, kw_only=True, tag="cold-start", forbid_unknown_fields=True):
    """New processes, from their start to the first decision.

    ``total_ns`` has one entry for each process; ``steps_ns`` the median of each step, in order:
    ``python``, ``import``, ``open``, ``load``, ``self-test``, ``first``. Files lay in the page
    cache.
    """

    total_ns: tuple[Count, ...]
    steps_ns: dict[str, Count]


class Memory(Struct, frozen=True, kw_only=True, tag="memory", forbid_unknown_fields=True):
    """Memory of the one process that ran one candidate, in bytes.

    ``base`` with Python, medge and the runtime but before the network was loaded, ``loaded`` after
    its self-test, ``peak`` the highest since the process began. ``pss`` shares pages that several
    processes map, None where the kernel does not tell. ``growth_bytes`` is per 1,000 calls, with a
    95 % interval, over ``calls`` calls. ``device_bytes`` is what the process holds on an
    accelerator, ``helpers_peak`` the highest of any one process that it started: one that compiled
    and has ended, or one that runs the network in its place. 0: there was none, or nobody looked.
    """

    base_rss_bytes: Count
    loaded_rss_bytes: Count
    peak_rss_bytes: Count
    base_pss_bytes: Count | None
    loaded_pss_bytes: Count | None
    growth_bytes: float
    growth_low_bytes: float
    growth_high_bytes: float
    calls: Positive
    source: Text
    device_bytes: Count | Absent
    helpers_peak_rss_bytes: Count = 0


class Energy(Struct, frozen=True, kw_only=True, tag="energy", forbid_unknown_fields=True):
    """Energy of what the named rails feed, in mJ per picture with a 95 % interval.

    ``net`` is less what the device took while idle, ``raw`` is not.
    """

    source: Text
    rails: tuple[Text, ...]
    pictures: Positive
    seconds: float
    idle_w: float
    busy_w: float
    raw_mj: float
    raw_low_mj: float
    raw_high_mj: float
    net_mj: float
    net_low_mj: float
    net_high_mj: float


class LoadPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One point of the batch and stream sweep; ``reason`` where it could not be measured."""

    batch: Positive
    streams: Positive
    threads: Positive
    measurement: Measurement | None
    pictures_per_s: float | None
    reason: Text | None = None


class IdleGap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calls after a pause: ``calls_ns[r][k]`` is the k-th call after the r-th pause."""

    gap_ns: Count
    calls_ns: tuple[tuple[Count, ...], ...]


class LayerTime(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation as its runtime tells it; times are the median over the watched runs."""

    name: Text
    kind: Text
    precision: Text
    time_ns: Count
    share_ratio: Probability


class Layers(Struct, frozen=True, kw_only=True, tag="layers", forbid_unknown_fields=True):
    """Time of every operation, from runs that were watched and so are slower than others."""

    runs: Positive
    layers: tuple[LayerTime, ...]
    source: Text


class Overhead(Struct, frozen=True, kw_only=True, tag="overhead", forbid_unknown_fields=True):
    """What the profiler itself costs.

    ``null_ns`` is the median of the same calls on a backend that answers at once. ``ratio`` is p50
    with the sensors on, over p50 with them off, in the same rounds, within ``low`` and ``high``;
    all three are None where no sensor can be read, so that there is nothing to switch on.
    """

    null_ns: Count
    ratio: float | None
    low: float | None
    high: float | None
    limit_ratio: float


class Golden(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bundle's own cases showed on this device, and what the network was seen to run in.

    ``shares`` is the part of the convolutions and matrix products by precision.
    """

    cases: Count
    max_abs: float
    tolerance: float
    shares: dict[str, float]
    elsewhere: Count = 0  # operations that are not on the device that was asked for


class Deadline(Struct, frozen=True, kw_only=True, tag="deadline", forbid_unknown_fields=True):
    """A cine replayed at its frame rate: every frame is on time, late or dropped.

    ``latency_ns`` counts from a frame's arrival to its decision, in order of arrival, None for a
    frame that was dropped because newer ones had come: ``queue`` frames may wait. ``cine`` says
    which pictures were replayed. ``longest_late_run`` counts frames in a row that were late or
    dropped. ``miss_high_ratio`` is the one-sided 99 % bound of the part that was late or dropped.
    ``certified`` when that is at most ``limit_ratio``; else ``missing_frames`` says how many more
    on-time frames would be needed, 0 when misses forbid it. ``first_ns`` is, for each pause of
    ``freeze_ns``, the time from the first frame after it to the first decision.
    """

    fps: float
    deadline_ns: Count
    cine: Text
    queue: Positive
    latency_ns: tuple[int | None, ...]
    on_time: Count
    late: Count
    dropped: Count
    longest_late_run: Count
    miss_ratio: Probability
    miss_high_ratio: Probability
    limit_ratio: Probability
    certified: bool
    missing_frames: Count
    freeze_ns: Count
    first_ns: tuple[Count, ...]


class LoadgenRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of MLPerf LoadGen, as its own summary tells it.

    ``official`` says that its settings were those of mlperf.conf, unshortened; ``deviations`` are
    those that were not, one sentence each. ``valid`` is LoadGen's own word, in accuracy mode and in
    audits with MLPerf's further conditions; ``in_time`` says whether Server kept its latency bound.
    ``logs`` are the digests of its log files, which lie in ``folder``.
    """

    scenario: Literal["SingleStream", "MultiStream", "Server", "Offline"]
    mode: Literal["PerformanceOnly", "AccuracyOnly", "TEST01", "TEST04"]
    version: Text
    official: bool
    settings: dict[str, str]
    valid: bool
    in_time: bool = True
    metric: Text
    value: float
    unit: Text
    told: tuple[Text, ...] = ()  # its checks, recommendations and early-stopping lines
    deviations: tuple[Text, ...] = ()
    logs: dict[str, Sha256] = {}
    folder: Text | None = None


class SoakMinute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One minute of a soak: pictures answered and the median latency while on duty.

    ``minute`` counts from 1; minutes that were all rest have no row. ``clock_mhz`` is the median of
    the highest clock at work, ``temperature_c`` the highest at work.
    """

    minute: Positive
    pictures: Count
    p50_ns: Count
    p99_ns: Count | None
    clock_mhz: float | None
    temperature_c: float | None
    throttled: bool | None


class Soak(Struct, frozen=True, kw_only=True, tag="soak", forbid_unknown_fields=True):
    """A long run at a duty cycle: what is sustained, and when the device began to throttle.

    ``sustained_per_s`` are the pictures in a second of work over the last quarter of the minutes.
    ``throttle_s`` is None when it never did while the sensors could tell, and ``Absent`` when none
    could. ``ratio`` is the last minute's p50 over the first's, within ``low`` and ``high`` with at
    least 95 %; those are None where the calls of a minute cannot bound its median, or there is but
    one minute. ``interrupted`` says that it ended before ``asked_ns``; ``lasted_ns`` is until its
    last call.
    """

    duty_ns: Count
    rest_ns: Count
    asked_ns: Count | None = None
    lasted_ns: Count | None = None
    interrupted: bool = False
    minutes: tuple[SoakMinute, ...]
    sustained_per_s: float
    throttle_s: float | Absent | None
    ratio: float
    low: float | None
    high: float | None


class Cell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cell of a matrix of `medge bench`, measured or refused.

    Parameters
    ----------
    matrix
        Digest of the keys of all cells that were asked for together.
    key
        Digest of all that the cell depends on: bundle, candidate, CPUs, runtime, machine,
        procedure, and what worked at the same time.
    together
        The devices that worked at the same time, this one among them; empty when it worked alone.
    pictures_per_s
        Over the time of all its turns; None where it was not measured.
    alone_per_s
        What the same process did without the others, in spans between; None for a cell alone.
    peak_rss_bytes, device_bytes
        The most memory that its process held since it began, and what it held of an accelerator's
        at its end; None on the CPU, which has no memory of its own.
    rule, reason
        What kept it from being measured.
    """

    matrix: Sha256
    key: Sha256
    together: tuple[Text, ...] = ()
    pictures_per_s: float | None = None
    alone_per_s: float | None = None
    peak_rss_bytes: Count | None = None
    device_bytes: Count | Absent | None = None
    rule: Text | None = None
    reason: Text | None = None


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a result rests on, so that somebody else can repeat it.

    ``versions`` of every package and tool that took part; ``deviations`` from the default
    procedure, one sentence each.
    """

    bundle: Text  # name and version
    model_sha256: Sha256
    data_sha256: Sha256 | None
    versions: dict[str, str]
    seeds: dict[str, int]
    command: tuple[str, ...]
    deviations: tuple[Text, ...] = ()


class Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a profile that is no plain latency; None was not asked for.

    ``rounds`` names the rounds that several results were measured in together: sample i of all that
    name the same was taken in the same round, and a comparison may pair them.
    """

    evidence: Evidence
    rounds: Text | None = None
    golden: Golden | None = None
    cold_start: ColdStart | Absent | None = None
    memory: Memory | Absent | None = None
    trace: Trace | Absent | None = None
    energy: Energy | Absent | None = None
    overhead: Overhead | Absent | None = None
    doubts: dict[str, tuple[Doubt, ...]] = {}  # by stage
    sweep: tuple[LoadPoint, ...] = ()
    idle_gaps: tuple[IdleGap, ...] = ()
    layers: Layers | Absent | None = None
    deadline: Deadline | Absent | None = None
    loadgen: tuple[LoadgenRun, ...] = ()
    soak: Soak | Absent | None = None
    cell: Cell | None = None
