"""Streams and batches: several calls at once give the same bits as each alone."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle, tiny_graph

from medge.engine.bundle import open_bundle
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.errors import UsageError
from medge.profiles.device import allowed_cpus

RUNTIMES = [
    "null",
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]
SIZE = 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path, size=SIZE)


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(20, 1, 1, SIZE, SIZE)).astype("f4")


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize(("streams", "threads"), [(2, 2), (2, 4), (3, 3)])
def test_streams_at_once_give_the_bits_of_each_alone(
    path: Path, backend: str, streams: int, threads: int
) -> None:
    if backend == "openvino" and threads > allowed_cpus():
        pytest.skip(f"openvino runs no {threads} threads on {allowed_cpus()} CPUs")
    given = [images(stream) for stream in range(streams)]
    with open_bundle(path) as bundle:
        chosen = choose(bundle, backend=backend, threads=threads)
        with Session(bundle, replace(chosen, streams=streams)) as session:
            alone = [run(session, stream, given[stream]) for stream in range(streams)]
            together: dict[int, list[bytes]] = {}
            start = threading.Barrier(streams)

            def work(stream: int) -> None:
                start.wait()
                together[stream] = [
                    b for _ in range(5) for b in run(session, stream, given[stream])
                ]

            workers = [threading.Thread(target=work, args=(n,)) for n in range(streams)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    assert together == {stream: alone[stream] * 5 for stream in range(streams)}
    if backend != "null":
        assert len({bits for answers in alone for bits in answers}) == 20 * streams


def run(session: Session, stream: int, given: np.ndarray) -> list[bytes]:
    """Infer picture by picture, each in the same array, as a caller at the bedside does."""
    feed = {"image": np.empty_like(given[0])}
    answers = []
    for image in given:
        feed["image"][:] = image
        answers.append(session.infer(feed, stream)["scores"].tobytes())
    return answers


@pytest.mark.parametrize("backend", RUNTIMES[1:])
def test_a_stream_keeps_its_answer_while_another_one_runs(path: Path, backend: str) -> None:
    with open_bundle(path) as bundle:
        chosen = replace(choose(bundle, backend=backend, threads=2), streams=2)
        with Session(bundle, chosen) as session:
            first = session.infer({"image": images(1)[0]}, 0)["scores"]
            kept = first.copy()
            second = session.infer({"image": images(2)[0]}, 1)["scores"]
            np.testing.assert_array_equal(first, kept)
            assert not np.array_equal(first, second)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_every_stream_proves_itself_and_every_case_is_run(path: Path, streams: int) -> None:
    with open_bundle(path) as bundle:
        chosen = replace(choose(bundle, backend="onnxruntime", threads=3), streams=streams)
        with Session(bundle, chosen) as session:
            seen = []
            infer = session.infer

            def watched(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
                seen.append(stream)
                return infer(inputs, stream)

            session.infer = watched  # type: ignore[method-assign, assignment]
            assert self_test(session, bundle).cases == 2
    assert seen == {1: [0, 0], 2: [0, 1], 3: [0, 1, 2]}[streams]


@pytest.mark.parametrize("backend", RUNTIMES[1:])
def test_a_graph_of_one_picture_takes_larger_batches_on_any_stream(
    tmp_path: Path, backend: str
) -> None:
    path = tiny_bundle(tmp_path, size=SIZE, graph=tiny_graph(size=SIZE, batch=1))
    with open_bundle(path) as bundle:
        chosen = replace(choose(bundle, backend=backend, threads=2), streams=2)
        with Session(bundle, chosen) as session:
            batch = images(3)[:4, 0]
            found = session.infer({"image": batch}, 1)["scores"].tobytes()
            alone = b"".join(run(session, 1, batch[:, None]))
    assert found == alone


@pytest.mark.parametrize(("streams", "threads"), [(0, 1), (-1, 2), (3, 2)])
def test_a_stream_without_a_thread_is_refused(path: Path, streams: int, threads: int) -> None:
    with open_bundle(path) as bundle:
        chosen = replace(choose(bundle, threads=threads), streams=streams)
        with pytest.raises(UsageError) as caught:
            Session(bundle, chosen)
    assert (caught.value.rule, caught.value.exit_code) == ("streams", 2)


def test_openvino_compiles_for_the_one_batch_that_it_is_given(path: Path) -> None:
    """With a free batch each layer of each call would ask for its shape anew."""
    pytest.importorskip("openvino")
    with open_bundle(path) as bundle:
        choice = replace(choose(bundle, "openvino", threads=1), batch=4)
        with Session(bundle, choice) as opened:
            (port,) = opened._runtime._compiled.inputs  # type: ignore[attr-defined]
            assert list(port.get_shape()) == [4, 1, SIZE, SIZE]  # of a free one there is no shape
