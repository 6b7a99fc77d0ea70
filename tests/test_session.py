"""Sessions: each runtime gives ONNX's own answers, finite or none at all, for any batch."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bundles import forge, reference, tiny_bundle, tiny_files, tiny_graph, tiny_manifest
from msgspec.structs import replace
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, load_from_string

from medge.engine.backends.ort import _spinning
from medge.engine.backends.ov import _check_precision
from medge.engine.backends.silence import silent_onnxruntime, silent_openvino
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.golden import pack_golden
from medge.engine.placement import Placement
from medge.engine.select import choose
from medge.engine.session import Session
from medge.errors import BackendError, BundleError, InputError, MedgeError
from medge.profiles.device import allowed_cpus

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]


def session(bundle: Bundle, backend: str, threads: int = 1) -> Session:
    return Session(bundle, choose(bundle, backend=backend, threads=threads))


@pytest.fixture(params=RUNTIMES)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny(tmp_path: Path, backend: str) -> Iterator[Session]:
    with open_bundle(tiny_bundle(tmp_path)) as bundle, session(bundle, backend) as opened:
        yield opened


def images(count: int, seed: int = 7, shape: tuple[int, int, int] = (1, 8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("f4")


def test_answers_are_those_of_onnx_itself(tiny: Session) -> None:
    image = images(3)
    found = tiny.infer({"image": image})["scores"]
    assert found.dtype == np.float32
    assert_allclose(found, reference(tiny_graph(), image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", ["batch", 1], ids=["any batch", "batch 1 only"])
def test_a_batch_of_16_answers_as_16_batches_of_one_to_the_bit(
    tmp_path: Path, backend: str, batch: int | str
) -> None:
    bundle = tiny_bundle(tmp_path, graph=tiny_graph(batch=batch, channels=3), channels=3)
    image = images(16, shape=(3, 8, 8))
    with open_bundle(bundle) as opened, session(opened, backend, threads=2) as run:
        single = [run.infer({"image": image[i : i + 1]})["scores"].copy() for i in range(16)]
        assert_array_equal(run.infer({"image": image})["scores"], np.concatenate(single))


@pytest.mark.parametrize("count", [1, 4, 6])
def test_more_or_fewer_items_than_a_call_takes_answer_as_each_alone(
    tmp_path: Path, backend: str, count: int
) -> None:
    image = images(count)
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        choice = dataclasses.replace(choose(bundle, backend=backend, threads=1), batch=4)
        with Session(bundle, choice) as opened:
            found = opened.infer({"image": image})["scores"]
            assert opened.batch is None  # the graph itself takes any
    assert_allclose(found, reference(tiny_graph(), image), rtol=1e-5, atol=1e-6)


def test_the_same_array_with_new_values_gives_new_answers(tiny: Session) -> None:
    image = images(1)
    feeds = {"image": image}
    first = tiny.infer(feeds)["scores"].copy()
    image[:] = images(1, seed=8)
    second = tiny.infer(feeds)["scores"].copy()
    assert_allclose(second, reference(tiny_graph(), image), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(first, second)


def test_another_array_and_another_batch_are_taken_at_once(tiny: Session) -> None:
    for count, seed in ((1, 1), (1, 2), (4, 3), (2, 4), (1, 1)):
        image = images(count, seed)
        expected = reference(tiny_graph(), image)
        assert_allclose(tiny.infer({"image": image})["scores"], expected, rtol=1e-5, atol=1e-6)


def test_a_read_only_view_of_changing_memory_is_read_anew(tiny: Session) -> None:
    image = images(1)
    view = image.view()
    view.flags.writeable = False
    feeds = {"image": view}
    tiny.infer(feeds)
    image[:] = images(1, seed=8)
    assert_allclose(
        tiny.infer(feeds)["scores"], reference(tiny_graph(), image), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 31, -1])
def test_a_pixel_that_is_no_number_is_always_refused(tiny: Session, value: float, at: int) -> None:
    image = images(2)
    image.flat[at] = value
    with pytest.raises(InputError) as caught:
        tiny.infer({"image": image})
    assert (caught.value.rule, caught.value.exit_code) == ("not-finite-input", 3)
    tiny.infer({"image": images(2)})  # and the next one is judged


def test_an_answer_that_is_no_number_never_becomes_a_class(tmp_path: Path, backend: str) -> None:
    big = tiny_graph(weights={"head.w": np.full((4, 2), 3e38, "f4")})
    path = tiny_bundle(tmp_path, graph=big, golden=np.zeros((2, 2), "f4"))
    with open_bundle(path) as bundle, session(bundle, backend) as run:
        with pytest.raises(InputError) as caught:
            run.infer({"image": images(1) * 100})
        assert caught.value.rule == "not-finite-output"


@pytest.mark.parametrize("weight", ["conv.w", "conv.b", "head.w", "head.b"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_never_reach_a_runtime(
    tmp_path: Path, weight: str, value: float
) -> None:
    shapes = {"conv.w": (4, 1, 3, 3), "conv.b": (4,), "head.w": (4, 2), "head.b": (2,)}
    tensor = np.ones(shapes[weight], "f4")
    tensor.flat[1] = value
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", tiny_graph(weights={weight: tensor}))
    with pytest.raises(BundleError, match=weight) as caught:
        open_bundle(path)
    assert caught.value.rule == "weights-not-finite"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 8, 9), "f4"),
        np.zeros((1, 8, 8), "f4"),
        np.zeros((1, 1, 8, 8), "f8"),
        np.zeros((1, 1, 8, 16), "f4")[..., ::2],
    ],
)
def test_an_array_that_is_not_as_declared_is_a_callers_fault(
    tiny: Session, image: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="image"):
        tiny.infer({"image": image})


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (tiny_graph(size=9), "1x9x9, promised 1x8x8"),
        (tiny_graph(channels=3), "3x8x8, promised 1x8x8"),
        (tiny_graph(classes=3), "3, promised 2"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_promises_is_refused(
    tmp_path: Path, backend: str, graph: bytes, told: str
) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", graph)
    with open_bundle(path) as bundle, pytest.raises(BundleError) as caught:
        session(bundle, backend)
    assert caught.value.rule == "graph"
    assert told in caught.value.message


def renamed(graph: bytes, old: str, new: str) -> bytes:
    return graph.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (renamed(tiny_graph(), "image", "photo"), "no input 'image'"),
        (renamed(tiny_graph(), "scores", "result"), "no output 'scores'"),
    ],
)
def test_a_graph_with_other_names_is_refused(
    tmp_path: Path, backend: str, graph: bytes, told: str
) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", graph)
    with open_bundle(path) as bundle, pytest.raises(BundleError, match=told):
        session(bundle, backend)


def test_a_graph_with_one_more_input_is_refused(tmp_path: Path, backend: str) -> None:
    model = load_from_string(tiny_graph())
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["batch"]))
    model.graph.output.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["batch"]))
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", model.SerializeToString())
    with open_bundle(path) as bundle, pytest.raises(BundleError, match="it has 2 inputs"):
        session(bundle, backend)


def test_a_graph_that_answers_in_another_shape_than_it_declared_is_contained(
    tmp_path: Path, backend: str
) -> None:
    model = load_from_string(tiny_graph(classes=3))
    del model.graph.output[0].type.tensor_type.shape.dim[1]
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_param="some")
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", model.SerializeToString())
    with (
        open_bundle(path) as bundle,
        pytest.raises(MedgeError) as caught,
        session(bundle, backend) as run,
    ):
        run.infer({"image": images(1)})
    assert caught.value.rule in {"graph", "runtime-failed"}  # some runtimes see it when loading


def test_an_operator_that_the_runtime_lacks_is_named_and_its_own_words_are_not(
    tmp_path: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load_from_string(tiny_graph())
    model.graph.node[1].op_type = "Bitumen"
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", model.SerializeToString())
    with open_bundle(path) as bundle, pytest.raises(BundleError) as caught:
        session(bundle, backend)
    assert caught.value.rule == "graph"
    assert "relu" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_an_opset_from_the_future_is_refused(tmp_path: Path) -> None:
    """OpenVINO runs it as if it knew it; there the golden cases have to judge."""
    model = load_from_string(tiny_graph())
    model.opset_import[0].version = 999
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", model.SerializeToString())
    with open_bundle(path) as bundle, pytest.raises(BundleError) as caught:
        session(bundle, "onnxruntime")
    assert caught.value.rule == "graph"


def test_a_session_says_what_it_runs(tiny: Session, backend: str) -> None:
    assert (tiny.backend, tiny.precision, tiny.answers) == (backend, "fp32", True)
    assert tiny.device.startswith("cpu (")


def test_a_variant_is_run_when_asked_for(tmp_path: Path, backend: str) -> None:
    path = tiny_bundle(tmp_path, variants={"half": tiny_graph(seed=3)})
    image = images(1)
    with open_bundle(path) as bundle:
        choice = choose(bundle, backend=backend, precision="half", threads=1)
        with Session(bundle, choice) as run:
            assert run.precision == "half"
            expected = reference(tiny_graph(seed=3), image)
            found = run.infer({"image": image})["scores"]
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_uint8_picture_reaches_the_graph_as_it_is(tmp_path: Path, backend: str) -> None:
    model = load_from_string(tiny_graph())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["x"], "cast", to=1))
    model.graph.node[1].input[0] = "x"
    graph = model.SerializeToString()
    image = np.arange(64, dtype="u1").reshape(1, 1, 8, 8)
    expected = reference(graph, image)
    spec = replace(tiny_manifest().inputs[0], dtype="uint8", mean=(), std=())
    path = tmp_path / "bytes.medge"
    files = {"golden.npz": pack_golden({"image": image}, {"scores": expected})}
    files = tiny_files(graph, golden=expected) | files
    write_bundle(path, tiny_manifest(inputs=(spec,)), files)
    with open_bundle(path) as bundle, session(bundle, backend) as run:
        assert_allclose(run.infer({"image": image})["scores"], expected, rtol=1e-5)


def test_the_null_backend_answers_with_constants_and_says_that_it_is_none(tmp_path: Path) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle, session(bundle, "null") as run:
        for count in (1, 3):
            assert_array_equal(
                run.infer({"image": images(count)})["scores"], np.full((count, 2), 0.5)
            )
        assert (run.backend, run.answers) == ("null", False)


def test_nothing_is_written_to_the_terminal(
    tmp_path: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle, session(bundle, backend) as run:
        run.infer({"image": images(1)})
    assert capfd.readouterr() == ("", "")


def test_onnxruntime_runs_on_the_cpu_provider_alone_with_the_threads_asked_for(
    tmp_path: Path,
) -> None:
    onnxruntime = silent_onnxruntime()
    before = len(os.listdir("/proc/self/task"))
    with open_bundle(tiny_bundle(tmp_path)) as bundle, session(bundle, "onnxruntime", 3) as run:
        runtime = run._runtime._session
        assert isinstance(runtime, onnxruntime.InferenceSession)
        assert runtime.get_providers() == ["CPUExecutionProvider"]
        assert len(os.listdir("/proc/self/task")) == before + 2  # the caller's own is the third
        options = runtime.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_onnxruntimes_threads_rest_soon_after_a_frame() -> None:
    """Left alone they loop for some 30 ms, which takes a core from decoding the next frame."""
    burnt_s = []
    with open_bundle(find_bundle(None)) as bundle, session(bundle, "onnxruntime", 2) as run:
        golden = bundle.golden()
        for _ in range(5):
            run.infer({name: array[:1] for name, array in golden.inputs.items()})
            before = time.process_time()
            time.sleep(0.05)
            burnt_s.append(time.process_time() - before)
    assert sorted(burnt_s)[2] < 0.015


@pytest.mark.parametrize(
    ("version", "stopped"), [("1.17.0", True), ("1.25.1", True), ("1.26.0", False), ("2.0", False)]
)
def test_an_onnxruntime_that_cannot_bound_the_loop_stops_it(version: str, stopped: bool) -> None:
    assert ("session.force_spinning_stop" in _spinning(version)) is stopped


class TestOpenVINO:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        if not any(metadata.distributions(name="openvino")):
            pytest.skip("openvino is not installed")

    def test_a_precision_that_the_cpu_lacks_is_refused_not_replaced(self, tmp_path: Path) -> None:
        able = silent_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        with open_bundle(tiny_bundle(tmp_path)) as bundle:
            choice = choose(bundle, precision="bf16", threads=1)
            assert choice.backend == "openvino"
            if "BF16" in able:
                with Session(bundle, choice) as run:
                    assert run.precision == "bf16"
                return
            with pytest.raises(BackendError) as caught:
                Session(bundle, choice)
        assert (caught.value.rule, caught.value.exit_code) == ("precision", 5)
        assert "FP32" in caught.value.message

    def test_a_device_that_is_not_there_is_refused_with_those_that_are(
        self, tmp_path: Path
    ) -> None:
        with open_bundle(tiny_bundle(tmp_path)) as bundle:
            choice = choose(bundle, backend="openvino", device="gpu.7")
            with pytest.raises(BackendError, match="CPU") as caught:
                Session(bundle, choice)
        assert caught.value.rule == "device"

    def test_more_threads_than_it_will_run_are_refused(self, tmp_path: Path) -> None:
        if allowed_cpus() >= 1024:
            pytest.skip("this machine may really run 1024 threads")
        bundle = open_bundle(tiny_bundle(tmp_path))
        with bundle, pytest.raises(BackendError) as caught:
            session(bundle, "openvino", threads=1024)
        assert caught.value.rule == "threads"

    def test_the_precision_is_read_back_from_what_really_runs(self) -> None:
        ov = silent_openvino()
        core = ov.Core()
        graph = core.read_model(tiny_graph())
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        runs = Placement(compute={"fp32": 2}, nodes={"Convolution": {"fp32": 1}})
        _check_precision(compiled, "fp32", runs)
        with pytest.raises(BackendError, match="layers in fp32"):
            _check_precision(compiled, "bf16", runs)
        with pytest.raises(BackendError, match=r"told fp32 .* in bf16"):
            _check_precision(compiled, "fp32", Placement(nodes={"Convolution": {"bf16": 1}}))
