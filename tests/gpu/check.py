"""`make gpu-check`: the gpu tests, then latency, parity, drift and energy, as a dated record.

Run: ``python tests/gpu/check.py [--seconds S] [--batches 1,4,16,64] [--out FOLDER]``

Without a GPU it says what is missing and ends with code 5. The record is written whatever the tests
say; code 8 when one of them failed. ``--rehearse`` does all of it on the CPU, which shows that the
script runs to its end; what it writes is no record.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from baselines import baselines, latency_of
from export_kit import write_spec
from gpu_record import FOLDER, ROOT, Cell, Clocks, GpuRecord, Outcome, write_record

from medge.bench.drift import Judge
from medge.bench.entrants import choice_of
from medge.bench.matrix.cells import Asked, Subject, plan
from medge.bench.matrix.places import Place
from medge.bench.matrix.rows import SPAN
from medge.bench.matrix.session import Session
from medge.bench.result import Result
from medge.bench.scenario.phantom import write_phantom
from medge.bench.sections import Energy
from medge.engine.backends.presence import absence, gpu_absence
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.select import ON_NVIDIA
from medge.errors import MedgeError
from medge.profiles.cuda_driver import CudaDriver, CudaGpu, driver
from medge.profiles.device import cpu_name
from medge.profiles.gpu import Gpu
from medge.profiles.nvidia import nvidia
from medge.profiles.nvml import index_of
from medge.profiles.sensors import Sampler, Trace, open_sensors

NETWORK = "resnet18"  # beside torch; untrained weights, which cost the same
SHAPE = (3, 224, 224)
PHANTOMS = 320  # a decision each: none that differs bounds the rate at 1 %
PACKAGES = ("medge", "numpy", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "torch",
            "torchvision", "cuda-bindings", "nvidia-ml-py", "nvidia-cudnn-cu13")  # fmt: skip
NO_GPU, FAILED = 5, 8
NOTHING = "No backend that is installed here runs on {}: docs/nvidia.md says which do."
NOBODY = CudaDriver(
    state="ready",
    version="none",
    gpus=(
        CudaGpu(
            ordinal=0,
            name="rehearsal without a GPU",
            compute_capability="0.0",
            sm_count=0,
            memory_bytes=0,
        ),
    ),
)


class Suite:
    """Writes down how each test ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        reason = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
        elif report.failed:
            reason = report.longreprtext.strip().splitlines()[-1]
        self.outcomes.append(Outcome(test=report.nodeid, outcome=report.outcome, reason=reason))


def main() -> int:
    """Check the GPU and write the record."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=5.0, help="for each cell")
    asked.add_argument("--batches", default="1,4,16,64")
    asked.add_argument("--out", type=Path, default=FOLDER)
    asked.add_argument("--rehearse", action="store_true", help="on the CPU; needs --out")
    options = asked.parse_args()
    if options.rehearse and options.out == FOLDER:
        asked.error("--rehearse needs --out, because what it writes is no record")
    found = NOBODY if options.rehearse else driver()
    device = "cpu" if options.rehearse else "nvidia:0"
    if found.problem is not None:
        print(f"{found.problem.found} {found.problem.next_step}", file=sys.stderr)
        return NO_GPU
    batches = tuple(map(int, options.batches.split(",")))
    suite = Suite()
    pytest.main(["-q", "-m", "gpu", str(Path(__file__).parent)], plugins=[suite])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["MEDGE_HOME"] = str(folder / "state")
        bundles = [stack.enter_context(open_bundle(path)) for path in made_bundles(folder)]
        cells, trace = measured(bundles, device, batches, options.seconds, folder)
        if all(cell.latency is None for cell in cells):
            print(NOTHING.format(found.gpus[0].name), file=sys.stderr)
            return NO_GPU
        torch_cells = tuple(baselines(NETWORK, SHAPE, batches))
    told, commit = nvidia(), git("rev-parse", "HEAD")
    record = GpuRecord(
        date=datetime.now(timezone.utc).date().isoformat(),
        commit=commit,
        dirty=bool(git("status", "--porcelain", "--untracked-files=no")),
        gpu=found.gpus[0],
        driver=told.driver_version or "unknown",
        cuda=found.version or "unknown",
        cpu=f"{cpu_name()}, {platform.system()} {platform.release()}",
        versions={"python": platform.python_version(), **installed()},
        clocks=clocks(trace, found.gpus[0], told.gpus),
        suite=tuple(suite.outcomes),
        cells=cells,
        baselines=torch_cells,
    )
    print(f"record: {write_record(record, options.out)}")
    return FAILED if record.failed else 0


def made_bundles(folder: Path) -> Iterator[Path]:
    """Yield the built-in bundles and the network that torch runs too, each with fp16 and fp32."""
    from medge.exporters.export import ExportRequest, export_bundle

    spec = write_spec(
        folder,
        name=NETWORK,
        input={"name": "image", "height": 224, "width": 224, "channels": 3,
               "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        outputs=[{"name": "scores", "classes": [f"class-{n}" for n in range(1000)]}],
    )  # fmt: skip
    plain = folder / f"{NETWORK}.medge"
    export_bundle(
        ExportRequest(source=f"torchvision:{NETWORK}", out=plain, spec=spec, random_weights=0)
    )
    for name in ("breast-ultrasound", "chest-x-ray", str(plain)):
        with open_bundle(find_bundle(name)) as bundle:
            yield with_fp16(bundle, folder)


def with_fp16(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle's fp16 variant; made pictures only show which values stay in fp32."""
    from medge.exporters.calibrate import read_calibration_set
    from medge.exporters.quantize import QuantizeRequest, quantize_bundle

    pictures = read_calibration_set(phantoms(bundle, folder, range(1000, 1032)), bundle.manifest)
    out = folder / f"{bundle.manifest.name}-fp16.medge"
    quantize_bundle(bundle, pictures, QuantizeRequest(out=out, precisions=("fp16",)))
    return out


def phantoms(bundle: Bundle, folder: Path, seeds: range) -> Path:
    """Write made pictures that the bundle accepts; return their folder."""
    made = folder / f"{bundle.manifest.name}-{seeds.start}"
    made.mkdir()
    for seed in seeds:
        write_phantom(made / f"{seed}.dcm", bundle.manifest, frames=1, seed=seed)
    return made


def measured(
    bundles: list[Bundle], device: str, batches: tuple[int, ...], seconds: float, folder: Path
) -> tuple[tuple[Cell, ...], Trace]:
    """Measure every backend, precision and batch on the first GPU, then judge decisions.

    Returns also what the sensors told while cells were measured, and no longer.
    """
    absent = absence if device == "cpu" else gpu_absence
    present = tuple(name for name in ON_NVIDIA if absent(name) is None)
    asked = Asked(
        backends=present,
        precisions=("fp32", "fp16"),
        batches=batches,
        places=(Place(device=device),),
        seconds=seconds,
    )
    planned = plan([Subject.of(bundle) for bundle in bundles], asked)
    with open_sensors() as opened, Sampler(opened) as sensors:
        results = Session(planned).run()
        trace = sensors.trace()
    judges = {
        each.digest: Judge(each, phantoms(each, folder, range(PHANTOMS)), None) for each in bundles
    }
    cells = []
    for cell in planned.cells:
        drift: dict[str, int] = {}
        plain = cell.candidate.batch == 1
        if plain:
            try:
                found = judges[cell.subject.digest].judge(choice_of(cell.candidate)).drift
                drift = {"flips": found.flips, "cases": found.cases}
            except MedgeError as error:
                print(f"{cell.words}: {error}", file=sys.stderr)
        cells.append(cell_of(results[cell.key], drift))
    return tuple(cells), trace


def cell_of(result: Result, drift: dict[str, int]) -> Cell:
    """Return what a record keeps of a measured cell."""
    candidate, sections = result.candidate, result.sections
    assert candidate is not None
    assert sections is not None
    assert sections.cell is not None
    golden, energy, held = sections.golden, sections.energy, sections.cell.device_bytes
    taken = next((each for each in result.measurements if each.stage == SPAN), None)
    return Cell(
        bundle=sections.evidence.bundle,
        bundle_sha256=result.bundle_sha256,
        model_sha256=sections.evidence.model_sha256,
        backend=candidate.backend,
        backend_version=result.backend_version or "unknown",
        precision=candidate.variant,
        batch=candidate.batch,
        streams=candidate.streams,
        latency=None if taken is None else latency_of(list(taken.samples_ns), candidate.batch),
        max_abs=None if golden is None else golden.max_abs,
        tolerance=None if golden is None else golden.tolerance,
        shares={} if golden is None else golden.shares,
        elsewhere=None if golden is None else golden.elsewhere,
        device_bytes=held if isinstance(held, int) else None,
        energy_mj=energy.net_mj if isinstance(energy, Energy) else None,
        reason=sections.cell.reason or "",
        **drift,
    )


def clocks(trace: Trace, gpu: CudaGpu, told: tuple[Gpu, ...]) -> Clocks:
    """Return the clocks of CUDA's first GPU while it measured; NVML may count in another order."""
    index = None if gpu.pci_bus_id is None else index_of(gpu.pci_bus_id)
    known = None if index is None else told[index]

    def values(quantity: str) -> list[float]:
        return [
            value
            for channel, column in zip(trace.channels, trace.values, strict=True)
            if (channel.quantity, channel.part) == (quantity, f"gpu{index}")
            for value in column
            if value is not None
        ]

    sm, throttle = values("clock"), values("throttle")
    return Clocks(
        # A quarter of the readings may be from loading, with the clock of an idle GPU.
        sm_mhz=(int(np.quantile(sm, 0.25)), int(max(sm))) if sm else None,
        max_sm_mhz=None if known is None else known.max_sm_clock_mhz,
        memory_mhz=None if known is None else known.memory_clock_mhz,
        power_limit_w=None if known is None else known.power_limit_w,
        throttled=any(throttle) if throttle else None,
    )


def installed() -> dict[str, str]:
    """Return the versions of what takes part, as pip knows them."""
    return {
        name: found[0].version
        for name in PACKAGES
        if (found := list(metadata.distributions(name=name)))
    }


def git(*words: str) -> str:
    """Return what git says of this checkout."""
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    start = time.monotonic()
    code = main()
    print(f"{time.monotonic() - start:.0f} s")
    sys.exit(code)
