"""On a GPU: the same answers as on the CPU, from new pictures, streams and batches, nothing left.

Not run yet on any GPU; docs/gpu-records says when that changed.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import tiny_bundle, tiny_graph
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.bench.profile.memory import device_bytes
from medge.engine.backends import Options, Port, backend_class
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.select import Choice, choose
from medge.engine.selftest import open_proven
from medge.engine.session import Session
from medge.engine.spread import Spread, open_spread
from medge.errors import BackendError
from medge.profiles.cuda_driver import CudaGpu

pytestmark = pytest.mark.gpu

TF32_ERROR = 5e-6
"""Relative: fp32 sums stay well below, those of TF32's 10 bits well above."""


def on_gpu(bundle: Bundle, backend: str, streams: int = 1) -> Choice:
    return replace(choose(bundle, backend, "nvidia:0", threads=max(1, streams)), streams=streams)


def pictures(bundle: Bundle, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Return noise around the golden inputs, so that values are as large as the network expects."""
    random, golden = np.random.default_rng(seed), bundle.golden()
    rows = np.arange(batch) % golden.cases
    return {
        name: (array[rows] + random.normal(scale=0.1, size=array[rows].shape)).astype(array.dtype)
        for name, array in golden.inputs.items()
    }


def test_golden_cases_are_answered_within_their_tolerance(bundle: Bundle, backend: str) -> None:
    session, tested = open_proven(bundle, on_gpu(bundle, backend))
    session.close()
    assert tested.cases > 0
    assert tested.placement.compute_layers > 0
    assert tested.placement.elsewhere == 0


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_every_new_picture_has_the_answer_of_the_cpu(
    bundle: Bundle, backend: str, batch: int
) -> None:
    with (
        Session(bundle, choose(bundle, "onnxruntime", "cpu")) as cpu,
        Session(bundle, on_gpu(bundle, backend)) as gpu,
    ):
        same = pictures(bundle, batch, 0)  # one array, rewritten as the pipeline does
        for seed in range(20):
            for name, array in pictures(bundle, batch, seed).items():
                same[name][:] = array
            expected = {name: array.copy() for name, array in cpu.infer(same).items()}
            for name, found in gpu.infer(same).items():
                np.testing.assert_allclose(
                    found, expected[name], rtol=0, atol=bundle.manifest.golden_tolerance
                )


def test_streams_at_once_give_the_bits_of_each_alone(bundle: Bundle, backend: str) -> None:
    with Session(bundle, on_gpu(bundle, backend, streams=2)) as session:
        given = [[pictures(bundle, 1, 100 * stream + n) for n in range(20)] for stream in range(2)]
        alone = [[_bits(session, one, stream) for one in given[stream]] for stream in range(2)]
        together: dict[int, list[bytes]] = {}
        start = threading.Barrier(2)

        def work(stream: int) -> None:
            start.wait()
            together[stream] = [_bits(session, one, stream) for one in given[stream]]

        threads = [threading.Thread(target=work, args=(stream,)) for stream in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [together[stream] for stream in range(2)] == alone


def _bits(session: Session, inputs: dict[str, np.ndarray], stream: int) -> bytes:
    return b"".join(array.tobytes() for array in session.infer(inputs, stream).values())


def test_fp32_is_no_tf32(backend: str) -> None:
    graph = tiny_graph(channels=64, size=32)
    model = onnx.load_from_string(graph)
    inputs = np.random.default_rng(5).normal(size=(1, 64, 32, 32)).astype("f4")
    (expected,) = ReferenceEvaluator(_in_double(model)).run(None, {"image": inputs.astype("f8")})
    runtime = backend_class(backend)()
    ports = (Port("image", "float32", (64, 32, 32)),), (Port("scores", "float32", (2,)),)
    runtime.load(graph, Options("nvidia:0", "fp32", 1, *ports))
    found = runtime.infer({"image": inputs})["scores"].astype("f8")
    runtime.close()
    assert np.abs(found - expected).max() / np.abs(expected).max() < TF32_ERROR


def _in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    double = [
        numpy_helper.from_array(numpy_helper.to_array(each).astype("f8"), each.name)
        for each in model.graph.initializer
    ]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(double)
    for value in (*changed.graph.input, *changed.graph.output):
        value.CopyFrom(
            helper.make_tensor_value_info(
                value.name,
                onnx.TensorProto.DOUBLE,
                [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim],
            )
        )
    return changed


def test_memory_of_the_gpu_is_this_processes_and_given_back(bundle: Bundle, backend: str) -> None:
    import os

    from medge.engine.sealed import Candidate

    candidate = Candidate(backend=backend, device="nvidia:0", variant="fp32")
    with Session(bundle, on_gpu(bundle, backend)) as session:
        session.infer(pictures(bundle, 1, 0))
        held = device_bytes(candidate, os.getpid())
    if not isinstance(held, int):
        pytest.skip(held.reason)
    assert held > 1 << 20


def test_a_gpu_that_is_not_here_is_refused_and_nothing_runs_on_the_cpu(
    bundle: Bundle, backend: str, gpus: tuple[CudaGpu, ...]
) -> None:
    with pytest.raises(BackendError) as caught:
        choose(bundle, backend, f"nvidia:{len(gpus)}")
    assert caught.value.rule == "device"


def test_several_gpus_answer_alike(tmp_path: Path, backend: str, gpus: tuple[CudaGpu, ...]) -> None:
    if len(gpus) < 2:
        pytest.skip("there is one GPU")
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        session, _ = open_spread(bundle, choose(bundle, backend, "nvidia:all", several=True))
        assert isinstance(session, Spread)
        inputs = pictures(bundle, 1, 3)
        answers = [session.infer(inputs, stream)["scores"].copy() for stream in range(len(gpus))]
        session.close()
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-5, atol=1e-6)
