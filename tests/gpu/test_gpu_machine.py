"""On a GPU: what driver, NVML and sensors tell of it agrees, and commands use it.

Not run yet on any GPU; docs/gpu-records says when that changed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from command_line import process
from dicom_files import make

from medge.engine.backends.presence import gpu_absence
from medge.profiles.cuda_driver import CudaGpu
from medge.profiles.nvidia import nvidia
from medge.profiles.nvml import index_of, installed
from medge.profiles.sensors import Sampler, open_sensors

pytestmark = pytest.mark.gpu


def test_cuda_and_nvml_tell_of_the_same_gpu(gpus: tuple[CudaGpu, ...]) -> None:
    if not installed():
        pytest.skip("nvidia-ml-py is not installed")
    told = nvidia().gpus
    for gpu in gpus:
        assert gpu.pci_bus_id is not None
        index = index_of(gpu.pci_bus_id)
        if index is None:
            pytest.skip("the card is cut into instances")
        assert told[index].name == gpu.name
        assert told[index].compute_capability == gpu.compute_capability


def test_sensors_of_the_gpu_answer(gpus: tuple[CudaGpu, ...]) -> None:
    with open_sensors() as sensors, Sampler(sensors) as sampler:
        time.sleep(0.5)
        trace = sampler.trace()
    of_gpu = {each.quantity for each in trace.channels if each.part.startswith("gpu")}
    assert {"clock", "temperature"} <= of_gpu, trace.missing


def test_run_judges_on_the_gpu_and_says_so(tmp_path: Path, gpus: tuple[CudaGpu, ...]) -> None:
    missing = gpu_absence("onnxruntime")
    if missing is not None:
        pytest.skip(missing.message)
    make(tmp_path / "cine.dcm", frames=8)
    words = ("run", tmp_path, "--backend", "onnxruntime", "--format", "jsonl")
    on_gpu = process(*words, "--device", "nvidia:0")
    on_cpu = process(*words, "--device", "cpu")
    assert on_gpu.returncode == on_cpu.returncode == 0, on_gpu.stderr
    rows = [[json.loads(line) for line in said.stdout.splitlines()] for said in (on_gpu, on_cpu)]
    assert [row["prediction"] for row in rows[0]] == [row["prediction"] for row in rows[1]]
    assert {row["device"] for row in rows[0]} == {f"nvidia:0 ({gpus[0].name})"}


def test_bench_measures_every_device_alone_and_all_at_once(
    tmp_path: Path, gpus: tuple[CudaGpu, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = gpu_absence("onnxruntime")
    if missing is not None:
        pytest.skip(missing.message)
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path))
    said = process(
        "bench", "--device", "all", "--backends", "onnxruntime", "--precisions", "fp32",
        "--seconds", "1", "--json",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    rows = {row["place"]: row for row in json.loads(said.stdout)["rows"] if row["pictures_per_s"]}
    assert {"cpu", *(gpu.device for gpu in gpus)} <= set(rows)
    assert gpus[0].name in rows["nvidia:0"]["gpu"]
