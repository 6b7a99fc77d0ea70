"""Results as `medge profile` stores them, with every section, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from medge.bench.doubts import Doubt
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, Sampling
from medge.bench.result import Result
from medge.bench.sections import (
    Absent,
    ColdStart,
    Deadline,
    Evidence,
    Golden,
    IdleGap,
    Layers,
    LayerTime,
    LoadgenRun,
    LoadPoint,
    Memory,
    Overhead,
    Sections,
    Soak,
    SoakMinute,
)
from medge.engine.evidence import Check, Drift, Margins
from medge.engine.sealed import Candidate
from medge.profiles.device import Device
from medge.profiles.sensors.trace import Channel, Trace

DEVICE = Device("INTEL(R) XEON(R) PLATINUM 8580", 2, 2, "amx", {"name": "/proc/cpuinfo"})
IDENTITY = "GenuineIntel-6-207-2 amx 0123456789ab INTEL(R) XEON(R) PLATINUM 8580"
MB = 1_000_000


def candidate(
    backend: str = "onnxruntime", variant: str = "fp32", precision: str = "fp32", threads: int = 2
) -> Candidate:
    """Return a way to run a bundle on the CPU."""
    return Candidate(
        backend=backend, device="cpu", variant=variant, precision=precision, threads=threads
    )


def series(seed: int, median_ms: float, calls: int = 500) -> tuple[int, ...]:
    """Return latencies as they are seen: skewed, in slow waves, a few calls far later."""
    random = np.random.default_rng(seed)
    waves = 1 + 0.012 * np.sin(np.arange(calls) / 37)
    times = median_ms * waves * (0.975 + random.gamma(1.6, 0.018, calls))
    late = random.random(calls) < 0.006
    times[late] *= random.uniform(1.4, 2.6, late.sum())
    return tuple(int(1e6 * each) for each in times)


def taken(seed: int, span: str, median_ms: float, calls: int = 500) -> Measurement:
    """Return a measurement of one span."""
    interleaved = span in ("infer", "file-to-decision")
    procedure = Procedure(
        span=span,
        threads=2,
        sampling=Sampling(min_samples=100, max_samples=calls),
        order="interleaved" if interleaved else "alone",
        seed=7 if interleaved else 0,
    )
    times = series(seed, median_ms, calls)
    return Measurement(span, times, procedure, tuple(2 * each for each in times[:20]), True)


def drift(precision: str, verdict: str = "pass", flips: int = 1, cases: int = 2024) -> Drift:
    """Return a verdict on a precision of ONNX Runtime or OpenVINO."""
    missing = 311 if verdict == "inconclusive" else 0
    rate = flips / cases
    checks = (
        Check(name="flips", value=rate, low=rate / 3, high=(flips + 3) / cases, margin=0.01,
              cases=cases, missing_cases=missing, verdict=verdict),
        Check(name="sensitivity drop of pneumonia", value=0.0, low=-0.001, high=0.0042,
              margin=0.01, cases=812, missing_cases=0, verdict="pass"),
        Check(name="AUC drop of pneumonia", value=0.0002, low=-0.0001, high=0.0009,
              margin=0.005, cases=cases, missing_cases=0, verdict="pass"),
    )  # fmt: skip
    return Drift(
        verdict=verdict,
        precision=precision,
        against="fp32",
        backend="onnxruntime" if precision == "int8" else "openvino",
        backend_version="1.31.1",
        tier="amx",
        cases=cases,
        flips=flips,
        labelled=True,
        margins=Margins(),
        checks=checks,
        data_sha256="d" * 64,
        date="2026-11-21",
    )


def deadline(frames: int = 600, late: Sequence[int] = (), dropped: Sequence[int] = ()) -> Deadline:
    """Return a replayed cine; the frames of these places were late or dropped."""
    times: list[int | None] = [min(each, 32_000_000) for each in series(99, 17.0, frames)]
    for place in late:
        times[place] = 41_000_000
    for place in dropped:
        times[place] = None
    misses = len(late) + len(dropped)
    return Deadline(
        fps=30.0,
        deadline_ns=33_333_333,
        cine="64 frames of tests",
        queue=1,
        latency_ns=tuple(times),
        on_time=frames - misses,
        late=len(late),
        dropped=len(dropped),
        longest_late_run=1 if late else 0,
        miss_ratio=misses / frames,
        miss_high_ratio=0.0076 if not misses else 0.0183,
        limit_ratio=0.01,
        certified=not misses,
        missing_frames=0 if not misses else 238,
        freeze_ns=10_000_000_000,
        first_ns=(21_300_000, 22_900_000, 20_800_000),
    )


def sections(seed: int, infer_ms: float, **changes: object) -> Sections:
    """Return every section; ``changes`` replaces any."""
    whole = Sections(
        evidence=Evidence(
            bundle="chest-x-ray 1.0.0",
            model_sha256="27d4cf1d3fcf570b49859e1d45eabb96e97cc3717c8ddde445a078ab32c55d2c",
            data_sha256="d" * 64,
            versions={"python": "3.11.2", "numpy": "2.4.6", "onnxruntime": "1.31.1",
                      "openvino": "2026.4.1", "linux": "6.1.0"},
            seeds={"order": 7, "pictures": 11},
            command=("medge", "profile", "chest-x-ray", "--full", "--data", "judge"),
            deviations=("2 candidates were not built: no time was left.",),
        ),
        golden=Golden(cases=8, max_abs=2.1e-4, tolerance=3.5e-3, shares={"int8": 0.94}),
        cold_start=ColdStart(
            total_ns=(412_000_000, 405_000_000, 431_000_000),
            steps_ns={"python": 31_000_000, "import": 148_000_000, "open": 9_000_000,
                      "load": 121_000_000, "self-test": 64_000_000, "first": 39_000_000},
        ),
        memory=Memory(
            base_rss_bytes=81 * MB, loaded_rss_bytes=193 * MB, peak_rss_bytes=224 * MB,
            base_pss_bytes=60 * MB, loaded_pss_bytes=171 * MB, growth_bytes=1_400.0,
            growth_low_bytes=-3_100.0, growth_high_bytes=5_900.0, calls=3000,
            source="/proc/self/smaps_rollup", device_bytes=Absent(reason="no accelerator was used"),
        ),
        trace=_trace(seed),
        energy=Absent(reason="no power sensor: RAPL is hidden in this virtual machine"),
        overhead=Overhead(null_ns=1_900, ratio=1.0021, low=0.9987, high=1.0058, limit_ratio=1.01),
        doubts={"infer": (Doubt("outliers", 0.014, 0.01, "calls were far later than the rest; "
                "something interrupts: look for other programs before p99 is believed"),)},
        rounds="a session",
        sweep=_sweep(seed, infer_ms),
        idle_gaps=tuple(
            IdleGap(gap_ns=round(gap * 1e9), calls_ns=tuple(
                tuple(int(1e6 * infer_ms * (1 + 0.9 * (call == 0) * min(gap, 5)))
                      for call in range(10)) for _ in range(4)))
            for gap in (0, 0.1, 1, 10, 60)
        ),
        layers=Layers(
            runs=50,
            source="ONNX Runtime's own profile",
            layers=tuple(
                LayerTime(name=f"/features/denseblock{i // 6}/layer{i % 6}/conv",
                          kind="Conv" if i % 3 else "Relu", precision="int8",
                          time_ns=int(9e5 / (i + 2)), share_ratio=0.3 / (i + 1))
                for i in range(32)
            ),
        ),
        deadline=deadline(),
        loadgen=(
            LoadgenRun(scenario="SingleStream", mode="PerformanceOnly", version="5.1",
                       official=True,
                       settings={"min_duration_ms": "600000"}, valid=True,
                       metric="90.00 percentile latency", value=17.31, unit="ms"),
        ),
        soak=Soak(
            duty_ns=12_000_000_000, rest_ns=48_000_000_000, sustained_per_s=58.1, throttle_s=None,
            ratio=1.012, low=0.998, high=1.027,
            minutes=tuple(
                SoakMinute(minute=i, pictures=700 - i, p50_ns=17_000_000 + 9_000 * i,
                           p99_ns=19_500_000 + 9_000 * i, clock_mhz=3800.0 - 3 * i,
                           temperature_c=51 + 0.4 * i, throttled=False)
                for i in range(1, 13)
            ),
        ),
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def _trace(seed: int) -> Trace:
    random = np.random.default_rng(seed)
    at = tuple(range(0, 12_000_000_000, 100_000_000))
    clock = tuple(float(round(3800 - 40 * abs(random.normal()))) for _ in at)
    heat = tuple(
        round(float(49 + 4 * (1 - np.exp(-i / 40)) + 0.2 * random.normal()), 1)
        for i in range(len(at))
    )
    return Trace(
        channels=(
            Channel(
                quantity="clock",
                part="cpu0",
                unit="MHz",
                source="/sys/devices/system/cpu/cpu0/cpufreq",
            ),
            Channel(quantity="temperature", part="package", unit="C", source="/sys/class/thermal"),
        ),
        at_ns=at,
        values=(clock, (None, *heat[1:])),
        missing={"power": "RAPL is hidden in this virtual machine"},
    )


def _sweep(seed: int, infer_ms: float) -> tuple[LoadPoint, ...]:
    points = []
    for streams in (1, 2):
        for batch in (1, 2, 4, 8):
            ms = infer_ms * batch**0.9 * streams**0.4
            points.append(
                LoadPoint(
                    batch=batch, streams=streams, threads=2,
                    measurement=taken(seed + batch, "infer", ms, 60),
                    pictures_per_s=1e3 * batch * streams / ms,
                )
            )  # fmt: skip
    failed = LoadPoint(batch=512, streams=1, threads=2, measurement=None, pictures_per_s=None,
                       reason="not enough memory")  # fmt: skip
    return (*points, failed)


def profiled(
    seed: int,
    infer_ms: float,
    of: Candidate | None = None,
    drifts: tuple[Drift, ...] = (),
    digest: str = "c" * 64,
    **changes: object,
) -> Result:
    """Return the profile of one candidate with every section."""
    parts = {"read": 0.4, "decode": 6.3, "prepare": 1.7, "decide": 0.02, "infer-in-file": infer_ms}
    stages = [taken(seed + 9 + i, name, ms) for i, (name, ms) in enumerate(parts.items())]
    whole = taken(seed + 50, "file-to-decision", sum(parts.values()) + 0.2)
    return Result(
        bundle_sha256=digest,
        device=DEVICE,
        device_identity=IDENTITY,
        candidate=of or candidate(),
        backend_version="1.31.1",
        measurements=(taken(seed, "infer", infer_ms), whole, *stages),
        drifts=drifts,
        sections=sections(seed, infer_ms, **changes),
        taken="2026-11-21T16:00:00Z",
        medge="0.1.0",
    )


def session(digest: str = "c" * 64) -> list[Result]:
    """Return the candidates of one session: int8 passes, bf16 is faster and was not judged."""
    return [
        profiled(1, 17.0, digest=digest),
        profiled(2, 6.6, candidate(variant="int8"), (drift("int8"),), digest),
        profiled(3, 12.1, candidate("openvino"), (), digest),
        profiled(4, 5.7, candidate("openvino", precision="bf16"),
                 (drift("bf16", "inconclusive", 4, 512),), digest),
    ]  # fmt: skip
