"""From a picture to a result: what was found, what was refused, and what is said about it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import dicom_files as made
import numpy as np
import numpy.typing as npt
import pytest
from bundles import CLASSES, reference, tiny_bundle, tiny_graph

import medge
from medge.engine.classify import ARRAY, Classifier
from medge.engine.frames.study import Asked
from medge.engine.manifest import ImageInput, Output, Scope
from medge.errors import BackendError, GateError, UsageError

SIZE = 8
GRAPH = tiny_graph()


@pytest.fixture
def classifier(tmp_path: Path) -> Iterator[Classifier]:
    with medge.open(tiny_bundle(tmp_path, graph=GRAPH), threads=1) as opened:
        yield opened


@pytest.fixture
def breast_only(tmp_path: Path) -> Iterator[Classifier]:
    scope = Scope(modality=("US",), body_part=("BREAST",))
    with medge.open(tiny_bundle(tmp_path, "scoped", scope=scope), threads=1) as opened:
        yield opened


def picture(seed: int = 5) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((SIZE, SIZE), dtype=np.float32)


def softmax_of_reference(shown: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    tensor = ((shown - np.float32(0.5)) / np.float32(0.25))[None, None]
    logits = reference(GRAPH, tensor)[0].astype(float)
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def test_an_array_gets_the_scores_that_onnx_reference_computes(classifier: Classifier) -> None:
    shown = picture()
    (result,) = classifier.run(shown)
    expected = softmax_of_reference(shown)
    assert list(result.answers[0].scores) == list(CLASSES)
    np.testing.assert_allclose(list(result.answers[0].scores.values()), expected, atol=1e-6)
    assert result.prediction == CLASSES[int(expected.argmax())]
    assert (result.status, result.file, result.frame) == ("ok", ARRAY, 0)


def test_a_result_says_what_made_it(classifier: Classifier) -> None:
    (result,) = classifier.run(picture())
    assert result.bundle == "tiny 1.0.0"
    assert result.bundle_sha256 == classifier.bundle.digest
    assert (result.backend, result.precision, result.demonstration) == ("onnxruntime", "fp32", True)
    assert result.device.startswith("cpu (")
    times = result.timings
    assert min(times.decode_ns, times.prepare_ns, times.infer_ns, times.decide_ns) > 0


def test_the_same_picture_gets_the_same_scores_from_memory_and_from_a_file(
    classifier: Classifier, tmp_path: Path
) -> None:
    pixels = made.make(tmp_path / "a.dcm", rows=40, columns=36)
    np.save(tmp_path / "a.npy", pixels)
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = [
        classifier.run(pixels)[0],
        *(classifier.run(path)[0] for path in sorted(tmp_path.glob("a.*"))),
    ]
    assert len(found) == 4
    assert len({tuple(result.answers[0].scores.values()) for result in found}) == 1


def test_every_frame_of_a_cine_is_judged_in_order_and_reading_is_paid_once(
    classifier: Classifier, tmp_path: Path
) -> None:
    frames = made.make(tmp_path / "cine.dcm", frames=4)
    results = classifier.run(tmp_path / "cine.dcm")
    assert [result.frame for result in results] == [0, 1, 2, 3]
    assert results[0].timings.read_ns > 0
    assert all(result.timings.read_ns == 0 for result in results[1:])
    alone = [classifier.run(np.ascontiguousarray(frame))[0] for frame in frames]
    assert [r.answers for r in results] == [r.answers for r in alone]


def test_a_stack_of_arrays_gives_a_result_for_each(classifier: Classifier) -> None:
    results = classifier.run(np.stack([picture(1), picture(2), picture(1)]))
    assert [result.frame for result in results] == [0, 1, 2]
    assert results[0].answers == results[2].answers != results[1].answers


def test_a_window_tells_how_an_array_is_shown(classifier: Classifier) -> None:
    from medge.engine.frames.frame import Window

    stored = (picture() * 4000).astype(np.uint16)
    wide = classifier.run(stored, bits_stored=12)
    narrow = classifier.run(stored, bits_stored=12, window=Window(2000.0, 400.0))
    assert wide[0].answers != narrow[0].answers
    inverted = classifier.run(stored, bits_stored=12, inverted=True)
    assert wide[0].answers != inverted[0].answers


def test_options_of_an_array_are_refused_for_a_file(classifier: Classifier, tmp_path: Path) -> None:
    made.make(tmp_path / "a.dcm")
    with pytest.raises(UsageError) as caught:
        classifier.run(tmp_path / "a.dcm", inverted=True)
    assert caught.value.rule == "array-options"


def test_an_array_of_an_impossible_shape_is_a_refused_result(classifier: Classifier) -> None:
    (result,) = classifier.run(np.zeros((2, 2, 2, 2, 2), np.uint8))
    assert (result.status, result.frame, result.prediction) == ("refused", None, None)
    assert result.fault is not None


def test_a_bad_file_is_a_result_with_rule_code_and_next_step(
    classifier: Classifier, tmp_path: Path
) -> None:
    whole = tmp_path / "a.dcm"
    made.make(whole, rows=64, columns=64)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:-1000])
    (result,) = classifier.run(cut)
    assert result.status == "refused"
    assert result.fault is not None
    assert (result.fault.rule, result.fault.exit_code) == ("truncated", 3)
    assert not result.answers
    assert "Sentinel" not in result.fault.message


def test_a_missing_file_is_a_result_too(classifier: Classifier, tmp_path: Path) -> None:
    (result,) = classifier.run(tmp_path / "nothing.dcm")
    assert result.fault is not None
    assert result.fault.rule == "not-found"


def test_one_bad_frame_leaves_the_others_judged(classifier: Classifier, tmp_path: Path) -> None:
    good, smaller = (made.jpeg(made.speckle(shape)) for shape in ((40, 36), (40, 32)))
    made.make(
        tmp_path / "cine.dcm",
        syntax="jpeg",
        frames=3,
        pixels=made.speckle((3, 40, 36)),
        encoded=[good, smaller, good],
    )
    results = classifier.run(tmp_path / "cine.dcm")
    assert [result.status for result in results] == ["ok", "refused", "ok"]
    assert results[0].answers == results[2].answers


def test_a_partial_cine_is_judged_up_to_its_cut_when_asked(
    classifier: Classifier, tmp_path: Path
) -> None:
    made.make(tmp_path / "cine.dcm", frames=5)
    raw = (tmp_path / "cine.dcm").read_bytes()
    (tmp_path / "cine.dcm").write_bytes(raw[:-2000])
    results = list(classifier.stream(tmp_path / "cine.dcm", Asked(partial=True)))
    judged = [result for result in results if result.fault is None]
    assert [result.frame for result in judged] == [0, 1, 2]


def test_another_body_part_is_refused(breast_only: Classifier, tmp_path: Path) -> None:
    made.make(tmp_path / "a.dcm", tags={"BodyPartExamined": "CHEST"})
    (result,) = breast_only.run(tmp_path / "a.dcm")
    assert result.fault is not None
    assert (result.status, result.fault.rule) == ("refused", "out-of-scope")


def test_a_file_without_a_body_part_is_judged_as_unscoped(
    breast_only: Classifier, tmp_path: Path
) -> None:
    made.make(tmp_path / "a.dcm")
    (result,) = breast_only.run(tmp_path / "a.dcm")
    assert result.status == "unscoped"
    assert result.prediction in CLASSES
    assert "absent: Body Part Examined (0018,0015)" in result.notes


def test_an_array_has_no_tags_unless_its_context_says_so(breast_only: Classifier) -> None:
    from medge.engine.frames.frame import Context

    assert breast_only.run(picture())[0].status == "unscoped"
    said = Context(modality="US", body_part="BREAST")
    assert breast_only.run(picture(), context=said)[0].status == "ok"


def test_synthetic_data_is_noted(breast_only: Classifier, tmp_path: Path) -> None:
    made.make(tmp_path / "a.dcm", tags={"BodyPartExamined": "BREAST", "SyntheticData": "YES"})
    (result,) = breast_only.run(tmp_path / "a.dcm")
    assert result.status == "ok"
    assert any(note.startswith("synthetic") for note in result.notes)


def test_too_uncertain_is_abstained_with_the_scores_kept(tmp_path: Path) -> None:
    output = Output(name="scores", classes=CLASSES, abstain_below=0.999999)
    with medge.open(tiny_bundle(tmp_path, outputs=(output,)), threads=1) as classifier:
        (result,) = classifier.run(picture())
    assert (result.status, result.prediction) == ("abstained", None)
    assert sum(result.answers[0].scores.values()) == pytest.approx(1)


def test_the_null_backend_predicts_nothing(tmp_path: Path) -> None:
    with medge.open(tiny_bundle(tmp_path), backend="null") as classifier:
        (result,) = classifier.run(picture())
    assert (result.status, result.prediction, result.answers) == ("not-run", None, ())


def test_an_answer_that_is_not_finite_is_invalid_not_a_prediction(tmp_path: Path) -> None:
    with medge.open(overflowing_bundle(tmp_path), threads=1) as classifier:
        results = classifier.run(np.stack([np.full((SIZE, SIZE), v, np.float32) for v in (0.5, 1)]))
    assert [result.status for result in results] == ["ok", "invalid"]
    assert results[1].fault is not None
    assert results[1].fault.rule == "not-finite-output"


def overflowing_bundle(folder: Path) -> Path:
    """A white picture becomes 500 after normalisation; 9 x 500 x 1e35 is beyond float32."""
    weights = {
        "conv.w": np.full((4, 1, 3, 3), 1e35, np.float32),
        "conv.b": np.zeros(4, np.float32),
    }
    spec = ImageInput(name="image", height=SIZE, width=SIZE, channels=1, mean=(0.5,), std=(0.001,))
    return tiny_bundle(
        folder,
        graph=tiny_graph(weights=weights, probabilities=True),
        inputs=(spec,),
        outputs=(Output(name="scores", classes=CLASSES, activation="none"),),
    )


def test_a_bug_is_told_by_class_and_place_never_by_its_text(classifier: Classifier) -> None:
    try:
        raise ValueError("Sentinel^Patient")
    except ValueError as error:
        result = classifier.failed(Path("a.dcm"), error)
    assert result.status == "failed"
    assert result.fault is not None
    assert (result.fault.rule, result.fault.exit_code) == ("bug", 1)
    assert "ValueError in test_a_bug_is_told" in result.fault.message
    assert "Sentinel" not in result.fault.message


def test_what_is_asked_for_and_absent_is_an_error(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    with pytest.raises(BackendError, match="known are"):
        medge.open(path, backend="abacus")
    with pytest.raises(BackendError, match="precisions"):
        medge.open(path, precision="int4")
    with pytest.raises(BackendError, match="openvino may"):
        medge.open(path, device="GPU")


def test_a_bundle_whose_golden_answers_differ_here_does_not_open(tmp_path: Path) -> None:
    wrong = np.full((2, 2), 7, np.float32)
    with pytest.raises(GateError) as caught:
        medge.open(tiny_bundle(tmp_path, golden=wrong))
    assert (caught.value.rule, caught.value.exit_code) == ("self-test", 8)


def test_a_picture_in_memory_is_not_copied(classifier: Classifier) -> None:
    large = np.zeros((3000, 2000), np.uint16)
    large[::7] = 900
    classifier.run(large)  # tables and buffers of this geometry are made once
    tracemalloc.start()
    try:
        classifier.run(large)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < large.nbytes / 50


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_both_runtimes_decide_alike(tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    with medge.open(tiny_bundle(tmp_path, graph=GRAPH), backend=backend, threads=1) as classifier:
        scores = list(classifier.run(picture())[0].answers[0].scores.values())
    np.testing.assert_allclose(scores, softmax_of_reference(picture()), atol=1e-5)
