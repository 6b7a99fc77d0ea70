"""Results as a profile stores them, with sections, whose numbers a seed decides."""

from __future__ import annotations

import random

from msgspec.structs import replace
from stored_results import result

from medge.bench.doubts import Doubt
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, Sampling
from medge.bench.result import Result
from medge.bench.sections import (
    Absent,
    ColdStart,
    Deadline,
    Energy,
    Evidence,
    Golden,
    LoadPoint,
    Memory,
    Sections,
)
from medge.profiles.sensors.trace import Channel, Trace

PROCEDURE = Procedure(sampling=Sampling(max_samples=3000), order="interleaved")


def measured(
    stage: str, seed: int, samples: int = 800, p50_ms: float = 5.0, spread: float = 0.02
) -> Measurement:
    """Latencies around a median; equal seeds differ by their medians alone."""
    draw = random.Random(f"{stage} {seed}")  # noqa: S311 - data of a test
    times = (round(p50_ms * 1e6 * (1 + draw.gauss(0, spread))) for _ in range(samples))
    return Measurement(stage, tuple(times), replace(PROCEDURE, span=stage), (9_000_000,) * 20, True)


def profiled(seed: int = 1, p50_ms: float = 5.0, samples: int = 800) -> Result:
    """Return a result with every section that a machine without accelerator can have."""
    draw = random.Random(seed)  # noqa: S311 - data of a test
    mj = 20.0 + draw.random()
    channel = Channel(quantity="power", part="package-0", unit="W", source="intel-rapl:0")
    latencies = (*(20_000_000 + draw.randrange(10**6) for _ in range(8)), 40_000_000, None)
    rss = 200_000_000 + draw.randrange(10**6)
    return replace(
        result(seed),
        measurements=(
            measured("infer", seed, samples, p50_ms),
            measured("file-to-decision", seed, samples, 2 * p50_ms),
        ),
        sections=Sections(
            evidence=Evidence(
                bundle="breast-ultrasound 1.0.0",
                model_sha256="a" * 64,
                data_sha256=None,
                versions={"onnxruntime": "1.23.0", "python": "3.11.2"},
                seeds={"order": seed},
                command=("medge", "profile", "breast-ultrasound"),
            ),
            golden=Golden(cases=8, max_abs=1.5e-7, tolerance=1e-4, shares={"fp32": 1.0}),
            cold_start=ColdStart(
                total_ns=tuple(400_000_000 + draw.randrange(10**7) for _ in range(7)),
                steps_ns={"python": 20_000_000, "import": 90_000_000},
            ),
            memory=Memory(
                base_rss_bytes=90_000_000,
                loaded_rss_bytes=rss,
                peak_rss_bytes=rss + 1_000_000,
                base_pss_bytes=None,
                loaded_pss_bytes=None,
                growth_bytes=12.5,
                growth_low_bytes=-80.0,
                growth_high_bytes=105.0,
                calls=2000,
                source="/proc/PID/status",
                device_bytes=Absent(reason="no accelerator"),
            ),
            trace=Trace(
                channels=(channel,),
                at_ns=(0, 100_000_000, 200_000_000),
                values=((15.0, None, 15.25),),
                missing={"throttle": "the kernel does not tell"},
            ),
            energy=Energy(
                source="intel-rapl:0",
                rails=("package-0",),
                pictures=800,
                seconds=8.0,
                idle_w=4.0,
                busy_w=15.0,
                raw_mj=1.3 * mj,
                raw_low_mj=1.28 * mj,
                raw_high_mj=1.32 * mj,
                net_mj=mj,
                net_low_mj=0.99 * mj,
                net_high_mj=1.01 * mj,
            ),
            overhead=Absent(reason="not measured"),
            doubts={"infer": (Doubt("spread", 0.2, 0.1, "close other programs"),)},
            sweep=(
                LoadPoint(
                    batch=1,
                    streams=2,
                    threads=2,
                    measurement=measured("infer", seed + 1, 50),
                    pictures_per_s=400.0,
                ),
            ),
            deadline=Deadline(
                fps=30.0,
                deadline_ns=33_333_333,
                cine="a phantom",
                queue=1,
                latency_ns=latencies,
                on_time=8,
                late=1,
                dropped=1,
                longest_late_run=2,
                miss_ratio=0.2,
                miss_high_ratio=0.6,
                limit_ratio=0.01,
                certified=False,
                missing_frames=0,
                freeze_ns=10**9,
                first_ns=(25_000_000,),
            ),
        ),
    )
