"""ONNX Runtime on NVIDIA GPUs: what is asked of it, and that nothing is left to the CPU unsaid.

No GPU is needed: see ``ort_library``. What needs one is in tests/gpu.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import tiny_graph
from onnx import TensorProto, helper
from ort_library import LEFT_TO_CPU, PORTS, OnCpu, gpus

from medge.engine.backends import BACKENDS, OPT_IN, Options, backend_class
from medge.engine.backends import ort as ort_module
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.backends.ort_cuda import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    NO_CPU,
    check_left_to_cpu,
    check_providers,
    gpu_failure,
    is_gpu_failure,
    left_to_cpu,
)
from medge.engine.backends.ort_tensorrt import SEAL, opened_folder, seal
from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BackendError, BundleError, StorageError
from medge.profiles import cuda_gpus

onnxruntime = silent_onnxruntime()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> OnCpu:
    found = OnCpu()
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: gpus(2))
    monkeypatch.setattr(ort_module, "silent_onnxruntime", lambda: found)
    monkeypatch.setattr(ort_module, "require_cuda", lambda *_: None)
    return found


def loaded(device: str = "nvidia:1", streams: int = 1, **changes: Any) -> OnnxRuntime:
    backend = OnnxRuntime()
    options = Options(device, "fp32", streams, *PORTS, streams=streams)
    backend.load(tiny_graph(), replace(options, **changes))
    return backend


def pictures(batch: int, seed: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).normal(size=(batch, 1, 8, 8)).astype("f4")}


def test_the_provider_is_asked_for_alone_with_fallback_off_and_true_fp32(library: OnCpu) -> None:
    loaded("nvidia:1").close()
    ((providers, entries),) = library.asked
    ((name, options),) = providers
    assert name == CUDA_PROVIDER
    assert options["device_id"] == "1"
    assert options["use_tf32"] == "0"
    assert entries == {NO_CPU: "1"}


def test_each_stream_of_a_gpu_has_a_session_and_so_a_cuda_stream_of_its_own(
    library: OnCpu,
) -> None:
    loaded(streams=3).close()
    assert len(library.asked) == 3


def test_a_new_picture_in_the_same_array_is_copied_before_every_call(library: OnCpu) -> None:
    backend, reference = loaded(), OnnxRuntime()
    reference.load(tiny_graph(), Options("cpu", "fp32", 1, *PORTS))
    inputs = pictures(1, seed=0)
    for seed in range(3):
        inputs["image"][:] = pictures(1, seed)["image"]
        expected = reference.infer(pictures(1, seed))["scores"]
        np.testing.assert_array_equal(backend.infer(inputs)["scores"], expected)
    assert library.memory == [((1, 1, 8, 8), "cuda", 1)]  # once, on the GPU that was asked for
    backend.close()


def test_another_batch_gets_memory_of_its_own_size(library: OnCpu) -> None:
    backend = loaded()
    for batch in (4, 2, 2):
        assert backend.infer(pictures(batch, batch))["scores"].shape == (batch, 2)
    assert [shape[0] for shape, _, _ in library.memory] == [4, 2]
    backend.close()


def test_nodes_on_the_cpu_are_counted_as_elsewhere_and_have_no_times(library: OnCpu) -> None:
    backend = loaded()
    placement = backend.placement()
    assert placement.elsewhere == placement.total_nodes > 0  # OnCpu runs them all there
    assert placement.compute == {"fp32": 2}
    assert placement.compute_time_ratio is None
    backend.close()


def test_a_watched_session_tells_no_times_of_launches_as_times_of_layers(library: OnCpu) -> None:
    backend = loaded(watched=True)
    backend.infer(pictures(1, 0))
    assert backend.timed_nodes() == ()
    backend.close()


def test_an_engine_of_a_gpu_is_not_handed_over_because_building_is_as_fast(library: OnCpu) -> None:
    backend = loaded(keep_engine=True)
    assert backend.engine() == b""
    backend.close()


def test_sizes_may_be_computed_on_the_cpu(library: OnCpu) -> None:
    library.leaves = ("Shape", "Gather", "Concat")
    loaded().close()
    assert [entries[NO_CPU] for _, entries in library.asked] == ["1", "0"]


def test_pictures_may_not_and_the_operators_are_named(library: OnCpu) -> None:
    library.leaves = ("Shape", "DynamicQuantizeLSTM")
    with pytest.raises(BundleError) as caught:
        loaded()
    assert caught.value.rule == "graph"
    assert "DynamicQuantizeLSTM" in caught.value.message
    assert "Shape" not in caught.value.message


def test_a_gpu_that_fails_while_a_graph_is_opened_is_no_fault_of_the_graph(library: OnCpu) -> None:
    library.refuses = "core/providers/cuda/cuda_call.cc:129 CUDA failure 2: out of memory ; GPU=1"
    with pytest.raises(BackendError) as caught:
        loaded()
    assert (caught.value.rule, caught.value.exit_code) == ("runtime-failed", 5)
    assert "cuda_call.cc" not in caught.value.message


def test_what_runs_on_the_cpu_by_the_librarys_own_words_is_recognised() -> None:
    assert left_to_cpu(RuntimeError(LEFT_TO_CPU))
    assert not left_to_cpu(RuntimeError("Could not find an implementation for Foo(3)"))
    assert not is_gpu_failure(RuntimeError(LEFT_TO_CPU))


def test_a_gpu_without_kernels_is_told_from_one_that_fails() -> None:
    image = "CUDA error 209: no kernel image is available for execution on the device"
    assert "holds no kernels" in gpu_failure(RuntimeError(image)).message
    cudnn = "NOT_IMPLEMENTED : cuDNN is unavailable or disabled for CUDA Execution Provider: dlopen"
    assert gpu_failure(RuntimeError(cudnn)).rule == "provider"
    assert "nvidia-smi" in gpu_failure(RuntimeError("CUDA failure 700")).message


@pytest.mark.parametrize(
    "found", [[], [CPU_PROVIDER], [CPU_PROVIDER, CUDA_PROVIDER], [CUDA_PROVIDER, "Other"]]
)
def test_a_session_with_other_providers_than_asked_for_is_refused(found: list[str]) -> None:
    with pytest.raises(BackendError) as caught:
        check_providers(found, CUDA_PROVIDER)
    assert caught.value.rule == "provider"


def test_the_real_library_tells_which_nodes_the_cpu_has() -> None:
    sizes = helper.make_graph(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "i"], ["y"])],
        "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [])],
        [helper.make_tensor("i", TensorProto.INT64, [], [0])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(sizes, opset_imports=opset, ir_version=8)
    check_left_to_cpu(recorded(model.SerializeToString()))
    with pytest.raises(BundleError, match="Conv"):
        check_left_to_cpu(recorded(tiny_graph()))
    with pytest.raises(BundleError, match="some operators"):
        check_left_to_cpu(object())  # a release that cannot tell


def recorded(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return onnxruntime.InferenceSession(graph, options, providers=[CPU_PROVIDER])


# The TensorRT provider: opt-in, and its engines never another graph's.


def test_the_tensorrt_provider_is_nobodys_default() -> None:
    assert set(OPT_IN) == {"onnxruntime-tensorrt"}
    assert not set(OPT_IN) & set(BACKENDS)
    assert backend_class("onnxruntime-tensorrt").provider == "TensorrtExecutionProvider"


def test_the_tensorrt_provider_gets_a_folder_of_the_graphs_own(
    library: OnCpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from medge.engine.backends import ort_tensorrt

    monkeypatch.setenv("MEDGE_HOME", str(tmp_path))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setattr(ort_tensorrt, "require_cuda", lambda *_: None)
    for seed in (1, 2):
        backend = backend_class("onnxruntime-tensorrt")()
        backend.load(tiny_graph(seed=seed), Options("nvidia:0", "fp32", 1, *PORTS))
        backend.close()
    asked = [dict(providers) for providers, _ in library.asked]
    folders = [each["TensorrtExecutionProvider"]["trt_engine_cache_path"] for each in asked]
    assert len(set(folders)) == 2
    assert all(Path(folder).is_relative_to(tmp_path / "cache") for folder in folders)
    assert all(list(each) == ["TensorrtExecutionProvider", CUDA_PROVIDER] for each in asked)
    assert all(each["TensorrtExecutionProvider"]["trt_int8_enable"] == "0" for each in asked)


def test_an_engine_that_is_not_as_it_was_left_is_thrown_away(tmp_path: Path) -> None:
    folder = opened_folder(b"graph", ("1.31.1",), tmp_path)
    (folder / "x.engine").write_bytes(b"engine")
    seal(folder)
    assert (opened_folder(b"graph", ("1.31.1",), tmp_path) / "x.engine").exists()
    (folder / "x.engine").write_bytes(b"engind")
    assert list(opened_folder(b"graph", ("1.31.1",), tmp_path).iterdir()) == []
    (folder / "x.engine").write_bytes(b"never sealed: its process was killed")
    assert list(opened_folder(b"graph", ("1.31.1",), tmp_path).iterdir()) == []


def test_another_graph_version_or_gpu_has_another_folder(tmp_path: Path) -> None:
    folders = {
        opened_folder(graph, facts, tmp_path)
        for graph in (b"a", b"b")
        for facts in (("1.31.1", "L4"), ("1.31.1", "A10"), ("1.31.2", "L4"))
    }
    assert len(folders) == 6


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_may_write_holds_no_engine(tmp_path: Path, mode: int) -> None:
    folder = opened_folder(b"graph", (), tmp_path)
    seal(folder)
    assert (folder / SEAL).exists()
    folder.chmod(mode)
    with pytest.raises(StorageError) as caught:
        opened_folder(b"graph", (), tmp_path)
    assert caught.value.rule == "cache-write"
