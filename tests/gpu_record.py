"""Records of GPUs: what ``make gpu-check`` found on one, as a file that docs may point to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from medge.profiles.cuda_driver import CudaGpu
from medge.profiles.terms import Count, Positive, Probability, Sha256, Text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/gpu-records"

Commit = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]


class Clocks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the GPU while it measured; None where NVML does not tell."""

    sm_mhz: tuple[Count, Count] | None  # lower quartile and highest while cells were measured
    max_sm_mhz: Count | None
    memory_mhz: Count | None
    power_limit_w: float | None
    throttled: bool | None


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test of the suite; ``reason`` why it was skipped, or the line that failed."""

    test: Text
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""


class Latency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one call with a whole batch, from host memory to host memory."""

    p50_ns: Positive
    p50_low_ns: Positive | None  # with ``p50_high_ns`` a 95 % interval; None of too few calls
    p50_high_ns: Positive | None
    p99_ns: Positive | None
    calls: Positive
    pictures_per_s: float


class Cell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run one bundle; figures are None where it could not run, and ``reason`` says why.

    Parameters
    ----------
    max_abs, tolerance
        Parity: the largest difference from the bundle's golden outputs, and what is allowed.
    elsewhere
        Operations that were not on the GPU.
    flips, cases
        Drift: decisions that differ from fp32 on the CPU, of so many pictures.
    """

    bundle: Text
    bundle_sha256: Sha256
    model_sha256: Sha256
    backend: Text
    backend_version: Text
    precision: Text
    batch: Positive
    streams: Positive = 1
    latency: Latency | None = None
    max_abs: float | None = None
    tolerance: float | None = None
    shares: dict[str, Probability] = {}
    elsewhere: Count | None = None
    flips: Count | None = None
    cases: Count | None = None
    device_bytes: Count | None = None
    energy_mj: float | None = None
    reason: str = ""


class Baseline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """torch on the same GPU, the same network, transfers included, TF32 off."""

    network: Text
    mode: Literal["eager", "compile", "cuda-graph"]
    precision: Text
    batch: Positive
    latency: Latency | None
    reason: str = ""


class GpuRecord(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """Everything that one run of ``make gpu-check`` found.

    ``dirty``: the checkout had changes that ``commit`` does not hold, so that nobody can repeat it.
    """

    schema_: Literal["medge.gpu-record/1"] = "medge.gpu-record/1"
    date: Day
    commit: Commit
    dirty: bool
    gpu: CudaGpu
    driver: Text
    cuda: Text
    cpu: Text
    versions: dict[str, Text]
    clocks: Clocks
    suite: tuple[Outcome, ...]
    cells: tuple[Cell, ...]
    baselines: tuple[Baseline, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Tests that failed."""
        return tuple(each for each in self.suite if each.outcome == "failed")

    @property
    def name(self) -> str:
        """Return the name of its file: date, GPU, start of the commit."""
        gpu = "-".join(self.gpu.name.lower().replace("/", "-").split())
        return f"{self.date}-{gpu}-{self.commit[:12]}.json"


def read_record(path: Path) -> GpuRecord:
    """Read a record strictly; whatever does not fit its schema raises."""
    return msgspec.json.decode(path.read_bytes(), type=GpuRecord, strict=True)


def write_record(record: GpuRecord, folder: Path = FOLDER) -> Path:
    """Write a record beside the others; one of the same day, GPU and commit is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / record.name
    raw = msgspec.json.format(msgspec.json.encode(record), indent=1)
    path.write_bytes(raw + b"\n")
    return path


def stale(record: GpuRecord, root: Path = ROOT) -> tuple[str, ...]:
    """Return the bundles of this checkout whose graph is no longer the one that was measured."""
    now = {
        path.parent.name.removesuffix(".medge"): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / "medge/bundles").glob("*.medge/model.onnx")
    }
    measured = {
        cell.bundle.partition(" ")[0]: cell.model_sha256
        for cell in record.cells
        if cell.precision == "fp32"
    }
    return tuple(name for name, digest in measured.items() if name in now and now[name] != digest)
