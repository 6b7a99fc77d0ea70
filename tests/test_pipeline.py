"""Pipeline: more streams and larger batches give the same results in the same order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import tiny_bundle, tiny_graph
from dicom_files import make, speckle

from medge.engine.bundle import open_bundle
from medge.engine.classify import Classifier
from medge.engine.frames.study import Asked
from medge.engine.prediction import Result, Timings
from medge.engine.select import Choice
from medge.engine.selftest import open_proven
from medge.errors import BackendError, InputError

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]
SHAPES = [(1, 1), (2, 1), (1, 4), (2, 3), (3, 1)]  # streams, batch


def opened(
    path: Path, backend: str = "onnxruntime", streams: int = 1, batch: int = 1
) -> Classifier:
    bundle = open_bundle(path)
    threads = 2 if backend == "openvino" else 3
    choice = Choice(backend, "cpu", "fp32", "fp32", threads, streams=streams, batch=batch)
    return Classifier(bundle, choice, *open_proven(bundle, choice))


@pytest.fixture
def studies(tmp_path: Path) -> list[Path]:
    """Return nine files: single frames, two cines, a cut file, a text, a frame of one value."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for number in range(4):
        make(folder / f"{number}.dcm", seed=number)
    make(folder / "4.dcm", frames=12, seed=4)
    cut = (folder / "4.dcm").read_bytes()[:-2000]
    (folder / "5.dcm").write_bytes(cut)
    (folder / "6.dcm").write_text("no picture")
    make(folder / "7.dcm", frames=6, pixels=np.stack([frame(n) for n in range(6)]))
    make(folder / "8.dcm", seed=8)
    return sorted(folder.iterdir())


def frame(number: int) -> np.ndarray:
    if number == 2:
        return np.full((40, 36), 7, "u1")  # refused: all of one value
    return speckle((40, 36), seed=20 + number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path, inputs=(_input(),))


def _input() -> object:
    from bundles import tiny_manifest

    return msgspec.structs.replace(tiny_manifest().inputs[0], max_constant_ratio=0.9)


def bare(results: list[Result]) -> list[Result]:
    """Return results without their times."""
    return [msgspec.structs.replace(result, timings=Timings()) for result in results]


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize(("streams", "batch"), SHAPES[1:])
def test_results_are_those_of_one_after_the_other_in_the_same_order(
    path: Path, studies: list[Path], backend: str, streams: int, batch: int
) -> None:
    if backend == "openvino" and streams > 2:
        pytest.skip("two CPUs run two streams")
    with opened(path, backend) as one:
        expected = bare(list(one.judge_all(studies, Asked())))
    with opened(path, backend, streams, batch) as many:
        found = bare(list(many.judge_all(studies, Asked())))
    assert found == expected
    faults = [result.fault.rule for result in found if result.fault is not None]
    assert len(found) == 25
    assert faults[-1] == "constant"
    assert len(faults) == 3


@pytest.mark.parametrize(("streams", "batch"), SHAPES)
def test_a_runtime_that_fails_on_one_frame_costs_that_frame_or_file_alone(
    path: Path, studies: list[Path], streams: int, batch: int
) -> None:
    with opened(path, streams=streams, batch=batch) as classifier:
        expected = bare(list(classifier.judge_all(studies[:4], Asked())))
        infer = classifier.session.infer
        marked = _tensor_of(classifier, studies[1])

        def failing(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
            if any(np.array_equal(row, marked) for row in inputs["image"]):
                raise BackendError("runtime-failed", "no memory")
            return infer(inputs, stream)

        classifier.session.infer = failing  # type: ignore[assignment, method-assign]
        found = bare(list(classifier.judge_all(studies[:4], Asked())))
    assert [result.status for result in found] == ["ok", "failed", "ok", "ok"] or [
        result.status for result in found
    ] == ["unscoped", "failed", "unscoped", "unscoped"]
    assert found[1].file == str(studies[1])
    assert found[1].fault is not None
    assert (found[1].fault.rule, found[1].fault.exit_code) == ("runtime-failed", 5)
    assert [found[n] for n in (0, 2, 3)] == [expected[n] for n in (0, 2, 3)]


@pytest.mark.parametrize(("streams", "batch"), SHAPES)
def test_an_answer_that_is_no_number_costs_its_frame_alone(
    path: Path, studies: list[Path], streams: int, batch: int
) -> None:
    with opened(path, streams=streams, batch=batch) as classifier:
        infer = classifier.session.infer
        marked = _tensor_of(classifier, studies[2])

        def failing(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
            if any(np.array_equal(row, marked) for row in inputs["image"]):
                raise InputError("not-finite-output", "no number")
            return infer(inputs, stream)

        classifier.session.infer = failing  # type: ignore[assignment, method-assign]
        found = list(classifier.judge_all(studies[:5], Asked()))
    assert [n for n, result in enumerate(found) if result.status == "invalid"] == [2]
    assert len(found) == 16


def _tensor_of(classifier: Classifier, path: Path) -> np.ndarray:
    fed = next(classifier.feed.file(path))
    return fed.feeds["image"][0].copy()


@pytest.mark.parametrize(("streams", "batch"), SHAPES)
def test_a_bug_while_reading_costs_its_file_alone(
    path: Path, studies: list[Path], streams: int, batch: int
) -> None:
    with opened(path, streams=streams, batch=batch) as classifier:
        read = classifier.feed.file

        def failing(path: Path, asked: Asked | None = None) -> Iterator[object]:
            for number, fed in enumerate(read(path, asked)):
                if path == studies[4] and number == 5:
                    raise ZeroDivisionError("Patient^Name")
                yield fed

        classifier.feed.file = failing  # type: ignore[assignment, method-assign]
        found = list(classifier.judge_all(studies[3:5] + studies[8:], Asked()))
    assert [result.frame for result in found] == [0, 0, 1, 2, 3, 4, None, 0]
    assert found[6].status == "failed"
    assert found[6].fault is not None
    assert found[6].fault.rule == "bug"
    assert "Patient" not in found[6].fault.message


@pytest.mark.parametrize(("streams", "batch"), SHAPES)
def test_who_stops_listening_leaves_no_thread_behind(
    path: Path, studies: list[Path], streams: int, batch: int
) -> None:
    before = set(threading.enumerate())
    with opened(path, streams=streams, batch=batch) as classifier:
        with closing(classifier.judge_all(studies * 5, Asked())) as results:
            next(results)
        assert set(threading.enumerate()) == before


@pytest.mark.parametrize(("streams", "batch"), SHAPES)
def test_nothing_to_judge_gives_nothing(path: Path, streams: int, batch: int) -> None:
    with opened(path, streams=streams, batch=batch) as classifier:
        assert list(classifier.judge_all([], Asked())) == []


def test_all_streams_are_used_and_batches_are_full(path: Path, studies: list[Path]) -> None:
    with opened(path, streams=2, batch=4) as classifier:
        seen: list[tuple[int, int]] = []
        infer = classifier.session.infer

        def watched(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
            seen.append((stream, len(inputs["image"])))
            return infer(inputs, stream)

        classifier.session.infer = watched  # type: ignore[assignment, method-assign]
        assert len(list(classifier.judge_all([studies[4]] * 20, Asked()))) == 240
    assert {size for _, size in seen} == {4}
    assert {stream for stream, _ in seen} == {0, 1}
    assert len(seen) == 60


def test_a_frames_time_is_its_part_of_the_batch(path: Path, studies: list[Path]) -> None:
    with opened(path, batch=4) as classifier:
        found = list(classifier.judge_all([studies[4]], Asked()))
    times = {result.timings.infer_ns for result in found}
    assert len(times) == 3
    assert min(times) > 0
    assert all(result.timings.prepare_ns > 0 for result in found)


def test_memory_holds_a_few_batches_however_many_frames_there_are(
    path: Path, studies: list[Path]
) -> None:
    with opened(path, streams=2, batch=2) as classifier:
        taken = 0

        def endless() -> Iterator[Path]:
            nonlocal taken
            while True:
                taken += 1
                yield studies[0]

        with closing(classifier.judge_all(endless(), Asked())) as results:
            for _ in range(100):
                next(results)
    assert taken <= 100 + 2 * 6


def test_a_graph_that_takes_one_picture_is_given_one_at_a_time(
    tmp_path: Path, studies: list[Path]
) -> None:
    path = tiny_bundle(tmp_path, graph=tiny_graph(batch=1))
    with opened(path, batch=4) as many, opened(path) as one:
        found = bare(list(many.judge_all(studies, Asked())))
        assert found == bare(list(one.judge_all(studies, Asked())))
