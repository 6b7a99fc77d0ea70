"""MLPerf LoadGen: one run of one scenario on a loaded candidate, as a worker is asked for it.

The numbers of every scenario are LoadGen's own: mlperf.conf is compiled into its package, and read
here for its image classification task. Networks, pictures and hardware are the user's, so that no
result is one of MLPerf's; MLCommons has verified none of them.
"""

from __future__ import annotations

import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from medge.bench.profile.loaded import Loaded
from medge.bench.scenario import loadgen_logs as logs
from medge.bench.scenario.audits import AUDIT_CONFIGS, audited
from medge.bench.scenario.samples import Samples, samples_of
from medge.bench.scenario.system import System
from medge.bench.sections import LoadgenRun
from medge.bench.stats import percentile
from medge.errors import BackendError, StorageError
from medge.profiles.terms import Positive, Text

PACKAGE = "mlcommons-loadgen"
TASK = "resnet50"  # mlperf.conf's image classification: 15 ms for Server, 1024 pictures
PICTURES = 1024
AGREEING_RATIO = 0.99  # of fp32's quality (inference_rules.adoc, edge image classification)
GAUGE_NS = 1_000_000_000
GAUGE_CALLS = 20

Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]
Mode = Literal["PerformanceOnly", "AccuracyOnly", "TEST01", "TEST04"]

# What mlperf.conf sets, and a shortened run may change; all else of TestSettings stays as it is.
_WATCHED = (
    "min_duration_ms",
    "min_query_count",
    "performance_sample_count_override",
    "server_target_latency_ns",
)


_PERFORMANCE = frozenset(_WATCHED) - {"performance_sample_count_override"}


class Pictures(Struct, frozen=True, kw_only=True):
    """What the query sample library holds: ``samples.samples_of``."""

    files: tuple[bytes, ...] = ()
    wanted: Positive = PICTURES


class Gauge(Struct, frozen=True, kw_only=True):
    """How long to time each kind of query, and on what."""

    pictures: Pictures
    time_ns: Positive = GAUGE_NS


class Gauged(Struct, frozen=True, kw_only=True):
    """What LoadGen wants to know before it makes its queries; nothing of it is a result.

    Median and 99th percentile of one picture, the median of a query of eight, in ns; and how many
    pictures a second all streams answer.
    """

    one_ns: Positive
    one_p99_ns: Positive
    eight_ns: Positive
    pictures_per_s: float


class Run(Struct, frozen=True, kw_only=True):
    """One run.

    Parameters
    ----------
    folder
        Where LoadGen's logs go, as the system's own bytes; it must not exist yet.
    expected_ns
        Expected latency of a query (SingleStream, MultiStream): only how many are made ready.
    qps
        Target queries a second (Server), expected pictures a second (Offline).
    min_duration_ms, min_queries, bound_ns
        Instead of mlperf.conf's; ``bound_ns`` is Server's latency bound.
    reference, answers
        What an audit compares with: the run in performance mode, and the folder of the one in
        accuracy mode.
    """

    scenario: Scenario
    mode: Mode
    folder: bytes
    pictures: Pictures
    expected_ns: Positive = 10_000_000
    qps: float = 1.0
    min_duration_ms: Positive | None = None
    min_queries: Positive | None = None
    bound_ns: Positive | None = None
    reference: LoadgenRun | None = None
    answers: bytes | None = None


def gauge(loaded: Loaded, asked: Gauge) -> Gauged:
    """Time some queries without LoadGen, so that it can be told what to expect."""
    samples = samples_of(loaded, asked.pictures.files, asked.pictures.wanted)
    system = System(loaded, samples, complete=_nothing, response=_nothing)
    one_ns = _times_ns(system, samples, 1, asked.time_ns)
    eight_ns = _times_ns(system, samples, 8, asked.time_ns)
    system.start()
    count = max(8, asked.time_ns // percentile(one_ns, 0.5))
    start = time.perf_counter_ns()
    system.enqueue(range(count), [picture % len(samples) for picture in range(count)])
    system.stop()
    taken_s = (time.perf_counter_ns() - start) / 1e9
    if system.fault is not None:
        raise system.fault
    return Gauged(
        one_ns=percentile(one_ns, 0.5),
        one_p99_ns=percentile(one_ns, 0.99),
        eight_ns=percentile(eight_ns, 0.5),
        pictures_per_s=count / taken_s,
    )


def run(loaded: Loaded, asked: Run) -> LoadgenRun:
    """Let LoadGen ask the candidate, and read from its logs what came of it.

    Raises
    ------
    BackendError
        Rule ``loadgen-absent``: LoadGen is not installed; ``loadgen-log``: it left no result.
    StorageError
        Rule ``loadgen-folder``: its logs cannot be kept.
    """
    library, version = load_library()
    folder = Path(os.fsdecode(asked.folder))
    _make(folder)
    samples = samples_of(loaded, asked.pictures.files, asked.pictures.wanted)
    settings, deviations = settings_of(library, asked, len(samples))
    system = System(loaded, samples, library.QuerySamplesComplete, library.QuerySampleResponse)
    _start(library, system, settings, asked)
    if asked.mode == "AccuracyOnly":
        found = _accuracy(loaded, asked, samples, folder, version)
    else:
        found = _performance(asked, samples, folder, version)
    found = msgspec.structs.replace(found, official=not deviations, deviations=deviations)
    if asked.mode in AUDIT_CONFIGS:
        found = audited(found, asked.reference, asked.answers, loaded.bundle.manifest)
    return found


def load_library() -> tuple[Any, str]:
    """Import LoadGen; return it and its version.

    Raises
    ------
    BackendError
        Rule ``loadgen-absent``.
    """
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise BackendError(
            "loadgen-absent",
            'MLPerf LoadGen is not installed. Run `pip install "medge[bench]"`; on aarch64, for '
            "which it has no wheel, `pip install mlcommons-loadgen` builds it with a C++ compiler.",
        ) from None
    import mlperf_loadgen  # noqa: PLC0415 - only who asks for it needs it

    return mlperf_loadgen, version


def settings_of(library: Any, asked: Run, pictures: int) -> tuple[Any, tuple[str, ...]]:
    """Return LoadGen's settings, and each number of mlperf.conf that is not kept.

    In accuracy mode every picture is asked about once, whatever the durations and counts say.
    """
    settings = library.TestSettings()
    # The empty path and 0 take mlperf.conf as it is compiled in, and nothing else.
    if settings.FromConfig("", TASK, asked.scenario, 0) != 0:
        raise BackendError(
            "loadgen-log", "LoadGen does not read its own mlperf.conf. Install it again."
        )
    official = {name: getattr(settings, name) for name in _WATCHED}
    settings.scenario = getattr(library.TestScenario, asked.scenario)
    accuracy = asked.mode == "AccuracyOnly"
    settings.mode = library.TestMode.AccuracyOnly if accuracy else library.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = asked.expected_ns
    settings.multi_stream_expected_latency_ns = asked.expected_ns
    settings.server_target_qps = settings.offline_expected_qps = asked.qps
    settings.performance_sample_count_override = min(
        settings.performance_sample_count_override, pictures
    )
    if asked.min_duration_ms is not None:
        settings.min_duration_ms = asked.min_duration_ms
    if asked.min_queries is not None:
        settings.min_query_count = asked.min_queries
    if asked.bound_ns is not None:
        settings.server_target_latency_ns = asked.bound_ns
    return settings, tuple(
        f"{name} {getattr(settings, name)}, mlperf.conf has {value}"
        for name, value in official.items()
        if getattr(settings, name) != value and not (accuracy and name in _PERFORMANCE)
    )


def _start(library: Any, system: System, settings: Any, asked: Run) -> None:
    """Run LoadGen to its end, and raise then what stopped the network."""
    folder = Path(os.fsdecode(asked.folder))
    audit = folder / "audit.config"
    if asked.mode in AUDIT_CONFIGS:
        audit.write_text(AUDIT_CONFIGS[asked.mode], "utf-8")
    output = library.LogOutputSettings()
    output.outdir, output.prefix = str(folder), logs.PREFIX
    output.copy_summary_to_stdout = False
    log = library.LogSettings()
    log.log_output, log.enable_trace = output, False
    direct = asked.scenario in ("SingleStream", "MultiStream") and system.streams == 1
    if not direct:
        system.start()
    sut = library.ConstructFastSUT(system.issue if direct else system.enqueue, _nothing)
    qsl = library.ConstructQSL(system.pictures, system.pictures, _nothing, _nothing)
    library.StartTestWithLogSettings(sut, qsl, settings, log, str(audit))
    system.stop()
    library.DestroyQSL(qsl)
    library.DestroyFastSUT(sut)
    if system.fault is not None:
        raise system.fault


def _performance(asked: Run, samples: Samples, folder: Path, version: Text) -> LoadgenRun:
    summary = logs.read_summary(folder, asked.scenario)
    return LoadgenRun(
        scenario=asked.scenario,
        mode=asked.mode,
        version=version,
        official=False,
        settings={**summary.settings, "pictures": samples.told},
        valid=summary.valid,
        in_time=summary.in_time,
        metric=summary.metric,
        value=summary.value,
        unit=summary.unit,
        told=summary.told,
        logs=logs.digests(folder),
        folder=str(folder),
    )


def _accuracy(
    loaded: Loaded, asked: Run, samples: Samples, folder: Path, version: Text
) -> LoadgenRun:
    """Compare the answers with what the bundle's golden cases decide in fp32."""
    manifest, golden = loaded.bundle.manifest, loaded.bundle.golden()
    answers = list(logs.read_answers(folder, manifest))
    once = sorted(picture for picture, _ in answers) == list(range(len(samples)))
    truth = [logs.decided(golden.outputs, row, manifest) for row in range(golden.cases)]
    agree = sum(truth[picture] == found for picture, found in answers if picture < golden.cases)
    ratio = agree / golden.cases
    return LoadgenRun(
        scenario=asked.scenario,
        mode=asked.mode,
        version=version,
        official=False,
        settings={"pictures": samples.told},
        valid=once and ratio >= AGREEING_RATIO,
        metric="golden cases decided as by fp32",
        value=ratio,
        unit="ratio",
        told=(
            f"{len(answers)} answers, {'one' if once else 'not one'} for each of {len(samples)} "
            "pictures",
        ),
        logs=logs.digests(folder),
        folder=str(folder),
    )


def _times_ns(system: System, samples: Samples, pictures: int, time_ns: int) -> list[int]:
    """Return the times of queries of so many pictures, after some that are not counted."""
    taken: list[int] = []
    begin = time.perf_counter_ns()
    while len(taken) < 2 * GAUGE_CALLS or time.perf_counter_ns() - begin < time_ns:
        first = len(taken)
        asked = [(first + each) % len(samples) for each in range(pictures)]
        start = time.perf_counter_ns()
        system.answer(range(pictures), asked, 0)
        taken.append(max(1, time.perf_counter_ns() - start))
    return taken[GAUGE_CALLS:]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StorageError(
            "loadgen-folder",
            f"{folder}: cannot be made: {error.strerror or type(error).__name__}. Name another "
            "place for LoadGen's logs, or free space.",
        ) from error


def _nothing(*_: object) -> None:
    """Take no notice: all pictures are in memory, and nothing is left to flush."""
