"""TensorRT's backend: its process, its lanes and its recorded calls, on stand-ins for both.

The stand-in for the driver is compiled C and checks every address; that for TensorRT is a few lines
of Python. They prove what medge does and that it survives, nothing about NVIDIA's software.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import tiny_bundle
from cuda_library import cuda_library

from medge.engine.backends import EngineError, Options, Port
from medge.engine.backends.trt import backend as backend_module
from medge.engine.backends.trt.backend import KeptPlan, TensorRT, TensorRTRTX
from medge.engine.backends.trt.frames import LENGTH, AskPlan
from medge.engine.backends.trt.plan import PlanRequest
from medge.engine.backends.trt.process import Process
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.engine_facts import engine_facts
from medge.engine.select import Choice
from medge.errors import BackendError, BundleError
from medge.profiles import cuda_gpus
from medge.profiles.cuda_driver import CudaDriver, CudaGpu

STANDIN = Path(__file__).parent / "trt_standin"
X, Y = Port("x", "float32", (3, 2, 2)), Port("y", "float32", (3, 2, 2))
Opener = Callable[..., TensorRT]


def model(batch: int = -1, scale: float = 2.0, **more: object) -> bytes:
    return json.dumps({"batch": batch, "scale": scale, **more}).encode()


def options(**changed: object) -> Options:
    asked: dict[str, object] = {"device": "nvidia:0", "precision": "fp32", "threads": 4}
    return Options(**{**asked, "inputs": (X,), "outputs": (Y,), **changed})  # type: ignore[arg-type]


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 2, 2)).astype(np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    with open_bundle(tiny_bundle(tmp_path)) as opened:
        yield opened


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give processes that are started from now on a driver, and the stand-in for TensorRT."""

    def made(**macros: int) -> None:
        library = cuda_library(tmp_path, **macros)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
        monkeypatch.setenv("PYTHONPATH", str(STANDIN))

    return made


@pytest.fixture
def opened(machine: Callable[..., None]) -> Iterator[Opener]:
    """Open backends on such a machine, and close them."""
    held: list[TensorRT] = []

    def make(graph: bytes = b"", engine: bytes | None = None, **changed: object) -> TensorRT:
        if not held:
            machine()
        held.append(TensorRT())
        held[-1].load(graph or model(), options(**changed), engine)
        return held[-1]

    yield make
    for each in held:
        each.close()


def test_pictures_pass_through_shared_memory_and_come_back(opened: Opener) -> None:
    runtime = opened(batch=4)
    for count in (4, 4, 4, 1, 3, 4):
        asked = pictures(count, seed=count)
        np.testing.assert_allclose(runtime.infer({"x": asked})["y"], 2 * asked + 1, rtol=1e-6)


def test_a_call_is_recorded_as_one_graph_over_locked_memory(opened: Opener) -> None:
    told = opened()._opened
    assert told is not None
    assert (told.cuda_graph, told.pinned) == (True, True)


@pytest.mark.parametrize("macros", [{"NO_RECORDING": 1}, {"NO_PINNING": 1}])
def test_what_a_driver_cannot_do_is_told_and_the_answer_is_the_same(
    opened: Opener, machine: Callable[..., None], macros: dict[str, int]
) -> None:
    machine(**macros)
    runtime = TensorRT()
    try:
        runtime.load(model(), options())
        asked = pictures(1)
        np.testing.assert_allclose(runtime.infer({"x": asked})["y"], 2 * asked + 1, rtol=1e-6)
        told = runtime._opened
        assert told is not None
        assert told.cuda_graph is ("NO_RECORDING" not in macros)
        assert told.pinned is ("NO_PINNING" not in macros)
    finally:
        runtime.close()


def started_by_this() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_half_a_recorded_call_is_never_replayed(opened: Opener) -> None:
    runtime = opened(model(refused_call=2))  # the first warm call runs, the second is recorded
    told = runtime._opened
    assert told is not None
    assert told.cuda_graph is False
    for seed in range(3):
        asked = pictures(1, seed)
        np.testing.assert_allclose(runtime.infer({"x": asked})["y"], 2 * asked + 1, rtol=1e-6)


def test_a_plan_that_is_not_taken_back_leaves_no_process_behind(opened: Opener) -> None:
    runtime = opened()
    engine = msgspec.msgpack.encode(KeptPlan(plan=b"of yesterday", compute=(), version=""))
    before = started_by_this()
    for _ in range(2):
        with pytest.raises(EngineError):
            runtime.load(model(), options(), engine)
    runtime.load(model(), options())
    assert len(started_by_this()) == len(before)
    runtime.close()
    assert len(started_by_this()) == len(before) - 1


def test_a_build_ends_with_who_asked_for_it(machine: Callable[..., None]) -> None:
    machine()
    with Process("tensorrt") as process:
        child = process._child._process
        assert child is not None
        assert child.stdin is not None
        request = PlanRequest(flavour="tensorrt", inputs=(X,), outputs=(Y,))
        said = msgspec.msgpack.encode(AskPlan(request, model(build="hang")))
        child.stdin.write(LENGTH.pack(len(said)) + said)
        time.sleep(2.0)
        assert child.poll() is None
        child.stdin.close()  # as the kernel does for a process that was killed
        child.wait(20)


def test_a_graph_for_more_pictures_than_a_call_holds_is_refused(opened: Opener) -> None:
    with pytest.raises(BundleError) as caught:
        opened(model(batch=4), batch=1)
    assert caught.value.rule == "fixed-batch"
    assert opened(model(batch=1), batch=4).batch == 1


def test_more_pictures_than_the_plan_takes_go_in_several_calls(opened: Opener) -> None:
    runtime = opened(batch=2)
    asked = pictures(5)
    np.testing.assert_allclose(runtime.infer({"x": asked})["y"], 2 * asked + 1, rtol=1e-6)


def test_a_fixed_batch_is_told(opened: Opener) -> None:
    assert opened(model(batch=1)).batch == 1
    assert opened(model(batch=-1)).batch is None


def test_streams_run_at_once_and_never_mix(opened: Opener) -> None:
    runtime = opened(streams=3)
    wrong: list[int] = []

    def run(stream: int) -> None:
        for turn in range(100):
            asked = pictures(1, seed=1000 * stream + turn)
            if not np.allclose(runtime.infer({"x": asked}, stream)["y"], 2 * asked + 1):
                wrong.append(stream)

    threads = [threading.Thread(target=run, args=(stream,)) for stream in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_engine_is_kept_and_opened_without_building(opened: Opener) -> None:
    first = opened(keep_engine=True)
    engine = first.engine()
    assert engine is not None
    assert first.engine() is None  # handed over once
    again = opened(b"never read", engine)
    asked = pictures(1)
    np.testing.assert_allclose(again.infer({"x": asked})["y"], 2 * asked + 1, rtol=1e-6)
    assert again.placement() == first.placement()


@pytest.mark.parametrize("damage", [b"", b"\x00", b"no message pack"])
def test_an_engine_that_is_none_is_not_taken(opened: Opener, damage: bytes) -> None:
    with pytest.raises(EngineError):
        opened(model(), damage)


def test_a_plan_that_the_library_does_not_take_is_an_engine_error(opened: Opener) -> None:
    kept = KeptPlan(plan=b"no plan", compute=(), version="1")
    with pytest.raises(EngineError):
        opened(model(), msgspec.msgpack.encode(kept))


def test_times_of_kernels_are_kept_for_the_next_build_on_such_a_gpu(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path / "home"))
    for graph, keep in ((model(), False), (model(scale=3.0), True)):
        opened(graph, keep_engine=keep)
    (kept,) = (tmp_path / "home/cache").glob("*.engine")
    assert kept.read_bytes().endswith(b"timed timed ")  # as the stand-in marks each build


def test_engines_are_those_of_a_compute_capability_or_of_a_gpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = {
        device: CudaGpu(
            ordinal=number, name=name, compute_capability="8.6", sm_count=sms, memory_bytes=2**34
        )
        for number, (device, name, sms) in enumerate(
            [("nvidia:0", "A", 82), ("nvidia:1", "A", 82), ("nvidia:2", "B", 28)]
        )
    }
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: told(gpus.values()))

    def key(backend: str, device: str, threads: int = 1, batch: int = 1) -> str | None:
        choice = Choice(backend, device, "fp32", "fp32", threads, batch=batch)
        facts = engine_facts(bundle, choice, "1.7")
        return None if facts is None else facts.key

    rtx = key("tensorrt-rtx", "nvidia:0")
    assert rtx == key("tensorrt-rtx", "nvidia:1") == key("tensorrt-rtx", "nvidia:2", threads=4)
    assert rtx != key("tensorrt-rtx", "nvidia:0", batch=4)
    own = key("tensorrt", "nvidia:0")
    assert own == key("tensorrt", "nvidia:1")
    assert own not in (rtx, key("tensorrt", "nvidia:2"))
    assert key("onnxruntime", "nvidia:0") is None
    assert key("onnxruntime", "cpu") != key("onnxruntime", "cpu", threads=2)


def told(gpus: Iterable[CudaGpu]) -> CudaDriver:
    return CudaDriver(state="ready", version="13.0", gpus=tuple(gpus))


def test_placement_is_what_the_inspector_tells(opened: Opener) -> None:
    placement = opened().placement()
    assert placement.compute == {"fp16": 1}
    assert placement.nodes == {"CaskConvolution": {"fp16": 1}}


def test_a_watched_call_is_timed_layer_by_layer(opened: Opener) -> None:
    runtime = opened(watched=True)
    for _ in range(3):
        runtime.infer({"x": pictures(1)})
    (node,) = runtime.timed_nodes()
    assert (node.name, node.kind, node.precision) == ("scale", "CaskConvolution", "fp16")
    assert node.times_ns == (250_000,) * 3


def test_a_crash_while_running_is_an_error_and_no_crash_of_medge(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_TEST_FAULT", "crash:5")
    runtime = opened()
    runtime.infer({"x": pictures(1)})
    with pytest.raises(BackendError, match="SIGSEGV") as caught:
        runtime.infer({"x": pictures(1)})
    assert (caught.value.rule, caught.value.exit_code) == ("runtime-crash", 5)
    with pytest.raises(BackendError):
        runtime.infer({"x": pictures(1)})


def test_a_hang_while_running_is_ended(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGE_TEST_FAULT", "hang:4")
    monkeypatch.setattr(backend_module, "CALL_LIMIT_S", 0.5)
    runtime = opened()
    process = runtime._process
    assert process is not None
    with pytest.raises(BackendError, match=r"no answer within 0\.5 s") as caught:
        runtime.infer({"x": pictures(1)})
    assert caught.value.rule == "runtime-hangs"
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_call_that_cuda_refuses_names_its_code(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_TEST_FAULT", "fail:4")
    runtime = opened()
    with pytest.raises(BackendError, match="CUDA error 719") as caught:
        runtime.infer({"x": pictures(1)})
    assert caught.value.rule == "runtime-failed"


def test_a_crash_and_a_hang_while_building_are_errors(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="SIGABRT"):
        opened(model(build="crash"))
    monkeypatch.setattr(backend_module, "BUILD_LIMIT_S", 1.0)
    with pytest.raises(BackendError, match="no answer within 1 s"):
        opened(model(build="hang"))


@pytest.mark.parametrize(
    ("state", "rule", "words"),
    [
        ("broken", "runtime-import", "needs libnvinfer.so.10, which is not found"),
        ("crash", "runtime-crash", "SIGSEGV"),
    ],
)
def test_a_package_that_cannot_be_imported_is_a_named_state(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, state: str, rule: str, words: str
) -> None:
    monkeypatch.setenv("MEDGE_TEST_IMPORT", state)
    with pytest.raises(BackendError, match=words) as caught:
        opened()
    assert (caught.value.rule, caught.value.exit_code) == (rule, 5)


def test_states_of_the_driver_come_before_the_package(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_TEST_IMPORT", "crash")  # it must not even be imported
    for macros, rule in (({"INIT": 100}, "cuda-device"), ({"INIT": 803}, "cuda-failed")):
        machine(**macros)
        runtime = TensorRT()
        with pytest.raises(BackendError, match="Backend tensorrt needs an NVIDIA GPU") as caught:
            runtime.load(model(), options())
        runtime.close()
        assert (caught.value.rule, caught.value.exit_code) == (rule, 5)


def test_a_gpu_that_is_not_here_is_refused_and_so_is_the_cpu(opened: Opener) -> None:
    with pytest.raises(BackendError, match="finds nvidia:0 here") as caught:
        opened(device="nvidia:3")
    assert caught.value.rule == "device"
    for changed in ({"device": "cpu"}, {"precision": "bf16"}):
        with pytest.raises(BackendError) as caught:
            opened(**changed)
        assert caught.value.rule == "backend-option"


def test_a_plan_of_other_tensors_is_refused(opened: Opener) -> None:
    with pytest.raises(BundleError, match=r"input 'x' is \?x3x2x2, promised 2x2x2"):
        opened(inputs=(Port("x", "float32", (2, 2, 2)),))


def test_closing_ends_the_process_and_gives_everything_back(opened: Opener) -> None:
    before = len(os.listdir("/proc/self/fd"))
    runtime = opened(streams=4)
    process = runtime._process
    assert process is not None
    runtime.close()
    runtime.close()
    assert not Path(f"/proc/{process.pid}").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_process_ends_with_the_one_that_started_it(opened: Opener) -> None:
    process = opened()._process
    assert process is not None
    child = process._child._process
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()  # as the kernel does for a process that was killed
    deadline = time.monotonic() + 10
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.poll() == 0


def test_rtx_is_refused_on_a_gpu_that_it_does_not_compile_for(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(CAPABILITY_MAJOR=9, CAPABILITY_MINOR=0)
    monkeypatch.delenv("PYTHONPATH")
    runtime = TensorRTRTX()
    with pytest.raises(BackendError, match=r"capability 9\.0; tensorrt-rtx compiles for 7\.5"):
        runtime.load(model(), options())
    runtime.close()
