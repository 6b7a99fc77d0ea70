"""Results that a seed decides, to be stored and found again."""

from __future__ import annotations

import random

from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.result import Result
from medge.engine.evidence import Drift, Margins
from medge.engine.sealed import Candidate
from medge.profiles.device import Device

DEVICE = Device("a CPU", 2, 1, "avx2", {"name": "/proc/cpuinfo"})
DRIFT = Drift(
    verdict="inconclusive",
    precision="int8",
    against="fp32",
    backend="onnxruntime",
    backend_version="1.23.0",
    tier="avx2",
    cases=100,
    flips=0,
    labelled=False,
    margins=Margins(),
    checks=(),
    data_sha256="d" * 64,
)


def result(seed: int, samples: int = 300) -> Result:
    """Return another result for each seed."""
    draw = random.Random(seed)  # noqa: S311 - data of a test

    def taken(stage: str) -> Measurement:
        times = tuple(draw.randrange(1 << 40) for _ in range(samples))
        return Measurement(stage, times, Procedure(span=stage), times[:3], seed % 2 == 0)

    return Result(
        bundle_sha256=f"{seed % 3:064x}",
        device=DEVICE,
        device_identity="6-1-2 avx2 a CPU",
        candidate=Candidate(backend="onnxruntime", device="CPU", variant="int8"),
        backend_version="1.23.0",
        measurements=(taken("infer"), taken("decode")),
        drifts=(DRIFT,) * (seed % 2),
        taken="2026-11-21T10:00:00Z",
        medge="0.1.0",
    )
