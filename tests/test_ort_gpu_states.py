"""What keeps ONNX Runtime from an NVIDIA GPU, each state with its next step; what is worth trying.

No GPU is needed: the driver's answer is made up.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import tiny_bundle, tiny_graph
from ort_library import OnCpu, gpus

from medge.bench.candidates import GPU_BATCHES, Runtime, around, candidates
from medge.engine.backends import ort as ort_module
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.backends.ort_cuda import CUDA_PROVIDER, _missing_library, require_cuda
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.select import choose
from medge.errors import BackendError, MedgeError
from medge.profiles import cuda_gpus
from medge.profiles.cuda_driver import CudaDriver
from medge.profiles.facts import Problem

onnxruntime = silent_onnxruntime()


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: gpus(2))


def refused(bundle: Bundle, **asked: str) -> MedgeError:
    with pytest.raises(MedgeError) as caught:
        choose(bundle, **asked, several=True)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5
    return caught.value


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    variants = {name: tiny_graph(seed=2) for name in ("fp16", "int8", "int8-cpu")}
    with open_bundle(tiny_bundle(tmp_path, variants=variants)) as opened:
        yield opened


def installed(patch: pytest.MonkeyPatch, *names: str) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name.startswith("onnxruntime"):
            if name not in names:
                raise metadata.PackageNotFoundError(name)
            return "1.31.1"
        return real(name)

    patch.setattr(metadata, "version", version)


def test_the_package_for_cpus_is_named_with_the_commands_that_replace_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    installed(monkeypatch, "onnxruntime")
    error = refused(bundle, backend="onnxruntime", device="nvidia:0")
    assert error.rule == "backend-missing"
    assert "pip uninstall -y onnxruntime && " in error.message
    assert 'pip install "onnxruntime-gpu[cuda,cudnn]"' in error.message


@pytest.mark.parametrize("state", ["no-driver", "no-device", "failed"])
def test_a_driver_that_offers_no_gpu_is_told_with_its_next_step(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    installed(monkeypatch, "onnxruntime-gpu")
    problem = Problem("cuda-failed", "It fails.", "Restart.")
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: CudaDriver(state=state, problem=problem))
    for device in ("nvidia:0", "nvidia:all"):
        error = refused(bundle, backend="onnxruntime", device=device)
        assert (error.rule, error.message) == ("cuda-failed", "It fails. Restart.")


def test_a_gpu_that_is_not_among_those_here_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    installed(monkeypatch, "onnxruntime-gpu")
    error = refused(bundle, backend="onnxruntime", device="nvidia:1,2")
    assert error.rule == "device"
    assert "nvidia:2" in error.message


def test_all_gpus_of_the_machine_share_the_work_when_all_are_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    installed(monkeypatch, "onnxruntime-gpu")
    choice = choose(bundle, backend="onnxruntime", device="nvidia:all", several=True)
    assert (choice.device, choice.devices) == ("nvidia:0", ("nvidia:0", "nvidia:1"))


def test_a_package_without_the_provider_is_refused_although_the_gpu_is_here(
    monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    installed(monkeypatch, "onnxruntime-gpu")  # in name only: the real one here is for CPUs
    with pytest.raises(BackendError) as caught:
        require_cuda(onnxruntime, "nvidia:0")
    assert caught.value.rule == "provider"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_a_library_that_the_provider_needs_is_named(tmp_path: Path) -> None:
    capi = tmp_path / "capi"
    capi.mkdir()

    def build(name: str, *more: str) -> None:
        command = ["gcc", "-shared", "-o", str(capi / name), "-x", "c", "/dev/null", "-x", "none"]
        subprocess.run(
            [*command, "-Wl,--no-as-needed", f"-Wl,-soname,{name}", *more], check=True, timeout=60
        )

    build("libcublasLt.so.13")
    build("libonnxruntime_providers_shared.so")
    build("libonnxruntime_providers_cuda.so", str(capi / "libcublasLt.so.13"))
    library = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    (capi / "libcublasLt.so.13").unlink()
    assert _missing_library(library, CUDA_PROVIDER) == "libcublasLt.so.13"
    build("libonnxruntime_providers_cuda.so")
    assert _missing_library(library, CUDA_PROVIDER) is None
    (capi / "libonnxruntime_providers_cuda.so").unlink()
    assert _missing_library(library, CUDA_PROVIDER) == "libonnxruntime_providers_cuda.so"


def test_devices_are_the_cpu_alone_where_the_package_is_for_cpus(two_gpus: None) -> None:
    assert OnnxRuntime().devices() == ("cpu",)


def test_devices_are_the_gpus_too_where_it_is_not(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_module, "silent_onnxruntime", OnCpu)
    assert OnnxRuntime().devices() == ("cpu", "nvidia:0", "nvidia:1")


# What is worth building on a GPU.


def test_int8_is_no_candidate_on_a_gpu_of_onnxruntime_and_the_row_says_why(bundle: Bundle) -> None:
    runtime = Runtime("onnxruntime", "1.31.1", "nvidia:0", ("fp32", "fp16"))
    worth, hopeless = candidates(bundle.manifest, [runtime], "latency", 8)
    assert [each.variant for each in worth] == ["fp32", "fp16"]
    assert {(each.threads, each.streams) for each in worth} == {(1, 1)}
    reasons = {row.candidate.variant: row.reason for row in hopeless}
    assert "no int8 kernels" in reasons["int8"]
    assert "made for CPUs" in reasons["int8-cpu"]


def test_for_throughput_a_gpu_is_tried_with_streams_and_larger_batches(bundle: Bundle) -> None:
    runtime = Runtime("onnxruntime", "1.31.1", "nvidia:0", ("fp32", "fp16"))
    worth, _ = candidates(bundle.manifest, [runtime], "throughput", 8)
    tried = {(one.streams, one.batch) for one in around(worth[0], "throughput", 8, None)}
    tried.add((worth[0].streams, worth[0].batch))
    assert tried == {(streams, batch) for streams in (1, 2) for batch in GPU_BATCHES}
    assert list(around(worth[0], "latency", 8, None)) == []
