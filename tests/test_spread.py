"""Several devices: frames are spread over them, order is kept, and one that dies costs little.

No GPU is needed. Real networks run on several sessions of the CPU that are given other names, and
``null:N`` is no hardware: this proves scheduling, nothing about GPUs.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import tiny_bundle
from command_line import Typed
from dicom_files import make
from hypothesis import given
from hypothesis import strategies as st

from medge.engine.bundle import open_bundle
from medge.engine.classify import Classifier
from medge.engine.frames.study import Asked
from medge.engine.prediction import Result, Timings
from medge.engine.select import choose
from medge.engine.selftest import open_proven
from medge.engine.session import Session
from medge.engine.spread import FAILURES, Lanes, Spread, open_spread
from medge.errors import BackendError, UsageError
from medge.profiles.device_names import check_present, devices_typed

FRAMES = 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path)


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    file = tmp_path / "cine.dcm"
    make(file, frames=FRAMES, seed=4)
    return file


@pytest.fixture
def three(path: Path) -> Iterator[Classifier]:
    """Yield a classifier on three sessions of the CPU, named as GPUs."""
    bundle = open_bundle(path)
    choice = replace(choose(bundle, threads=1), batch=1)
    opened = [open_proven(bundle, choice) for _ in range(3)]
    sessions = [session for session, _ in opened]
    for number, session in enumerate(sessions):
        session.device = f"nvidia:{number} (made up)"
    with Classifier(bundle, choice, Spread(sessions), opened[0][1]) as classifier:
        yield classifier


def sessions_of(classifier: Classifier) -> tuple[Session, ...]:
    assert isinstance(classifier.session, Spread)
    return classifier.session.sessions


def wrap(session: Session, before: Callable[[], None]) -> None:
    """Let something happen before every call of a session."""
    infer = session.infer

    def wrapped(inputs: dict[str, np.ndarray], stream: int = 0) -> object:
        before()
        return infer(inputs, stream)

    session.infer = wrapped  # type: ignore[assignment, method-assign]


def judged(classifier: Classifier, *files: Path) -> list[Result]:
    with closing(classifier.judge_all(files, Asked())) as results:
        return list(results)


def bare(results: list[Result]) -> list[Result]:
    return [msgspec.structs.replace(each, timings=Timings(), device="") for each in results]


def test_results_are_those_of_one_device_in_the_same_order(
    path: Path, cine: Path, three: Classifier
) -> None:
    with open_bundle(path) as bundle:
        choice = choose(bundle, threads=1)
        one = Classifier(bundle, choice, *open_proven(bundle, choice))
        expected = judged(one, cine, cine)
        one.session.close()
    found = judged(three, cine, cine)
    assert bare(found) == bare(expected)
    assert [result.frame for result in found] == [*range(FRAMES)] * 2


def test_every_device_works_and_each_result_names_its_own(three: Classifier, cine: Path) -> None:
    met = threading.Barrier(3)
    for session in sessions_of(three):
        first = iter([met.wait])
        wrap(session, lambda first=first: next(first, lambda: None)())  # type: ignore[misc]
    found = Counter(result.device for result in judged(three, cine))
    assert set(found) == {f"nvidia:{number} (made up)" for number in range(3)}
    assert sum(found.values()) == FRAMES


def test_a_device_that_is_slower_gets_less_and_holds_nobody_up(
    three: Classifier, cine: Path
) -> None:
    fast = threading.Semaphore(0)
    first, second, slow = sessions_of(three)
    wrap(first, fast.release)
    wrap(second, fast.release)

    def wait_for_two_others() -> None:
        assert fast.acquire(timeout=10)
        assert fast.acquire(timeout=10)

    wrap(slow, wait_for_two_others)
    found = judged(three, cine)
    assert [result.frame for result in found] == [*range(FRAMES)]
    share = Counter(result.device for result in found)
    assert share["nvidia:2 (made up)"] <= FRAMES // 3
    assert three.left_out == ()


def test_a_device_that_dies_costs_three_frames_and_the_others_do_the_rest(
    three: Classifier, cine: Path
) -> None:
    def die() -> None:
        raise BackendError("runtime-failed", "fell off the bus")

    wrap(sessions_of(three)[1], die)
    found = judged(three, cine)
    failed = [result for result in found if result.fault is not None]
    assert len(failed) == FAILURES
    assert {result.device for result in failed} == {"nvidia:1 (made up)"}
    assert {result.fault.exit_code for result in failed if result.fault} == {5}
    assert [result.frame for result in found] == [*range(FRAMES)]
    assert three.left_out == ("nvidia:1 (made up)",)


def test_when_all_devices_die_every_frame_is_told_and_nothing_hangs(
    three: Classifier, cine: Path
) -> None:
    def die() -> None:
        raise BackendError("runtime-failed", "no power")

    for session in sessions_of(three):
        wrap(session, die)
    found = judged(three, cine)
    assert [result.status for result in found] == ["failed"] * FRAMES
    assert len(three.left_out) == 2


def test_a_frame_that_no_device_can_run_costs_itself_alone(three: Classifier, cine: Path) -> None:
    lock, calls = threading.Lock(), iter(range(1000))

    def fail_now_and_then() -> None:
        with lock:
            number = next(calls)
        if number % 5 == 4:
            raise BackendError("runtime-failed", "no memory")

    for session in sessions_of(three):
        wrap(session, fail_now_and_then)
    found = judged(three, cine)
    assert sum(result.fault is not None for result in found) == FRAMES // 5
    assert three.left_out == ()


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=60),
)
def test_a_stream_is_always_left_however_calls_end(
    devices: int, each: int, ends: list[tuple[int, bool]]
) -> None:
    lanes = Lanes(devices * each, lambda stream: f"d{stream % devices}")
    row = Counter[str]()
    for _, failed in ends:
        stream = lanes.take()
        device = f"d{stream % devices}"
        assert device not in lanes.left_out
        row[device] = row[device] + 1 if failed else 0
        lanes.give_back(stream, failed=failed)
        assert (device in lanes.left_out) <= (row[device] >= FAILURES)
    assert len(lanes.left_out) < devices


def test_all_devices_are_named_in_few_words(three: Classifier) -> None:
    assert three.session.device == "nvidia:0,1,2 (3 x made up)"
    first, second, third = sessions_of(three)
    third.device = "nvidia:2 (another (one))"
    assert Spread([first, second, third]).device == "nvidia:0,1,2 (2 x made up, 1 x another (one))"
    first.device, second.device = "null:0", "null:1"
    assert Spread([first, second]).device == "null:0,1"


def test_null_devices_are_as_many_as_are_asked_for(path: Path) -> None:
    with open_bundle(path) as bundle:
        choice = choose(bundle, device="null:0,2,1", several=True)
        assert choice.backend == "null"
        session, tested = open_spread(bundle, choice)
        assert isinstance(session, Spread)
        assert [each.device for each in session.sessions] == ["null:0", "null:2", "null:1"]
        assert [session.device_of(stream) for stream in range(3)] == ["null:0", "null:2", "null:1"]
        assert tested.cases == 0
        session.close()


def test_what_is_done_on_one_device_refuses_several(path: Path) -> None:
    with open_bundle(path) as bundle, pytest.raises(UsageError) as caught:
        choose(bundle, device="null:0,1")
    assert caught.value.rule == "device-list"
    assert "medge bench" in caught.value.message


def test_none_stays_open_when_one_of_several_cannot_be_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = Session.close
    monkeypatch.setattr(Session, "close", lambda self: (closed.append(self.device), close(self)))
    with open_bundle(path) as bundle:
        choice = choose(bundle, device="null:0,1", several=True)
        choice = replace(choice, devices=("null:0", "null:1", "GPU.7"))
        with pytest.raises(BackendError):
            open_spread(bundle, choice)
    assert closed == ["null:0", "null:1"]


@pytest.mark.parametrize(
    ("word", "devices"),
    [
        ("nvidia:0", ("nvidia:0",)),
        ("NVIDIA:3,1", ("nvidia:3", "nvidia:1")),
        ("nvidia:all", ("nvidia:0", "nvidia:1")),
        ("null:0,1", ("null:0", "null:1")),
        ("GPU.0", ("GPU.0",)),
        ("cpu", ("cpu",)),
    ],
)
def test_a_list_of_devices_is_read_as_typed(word: str, devices: tuple[str, ...]) -> None:
    assert devices_typed(word, lambda: ("nvidia:0", "nvidia:1")) == devices


@pytest.mark.parametrize(
    "word",
    ["nvidia", "nvidia:", "nvidia:a", "nvidia:0,", "nvidia:0,0", "nvidia:0-3", "null:all",
     "nvidia:" + ",".join(map(str, range(65))), "nvidia:99999", "nvidia:\u0661"],
)  # fmt: skip
def test_what_is_no_list_is_refused_with_one_that_is(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        devices_typed(word, tuple)
    assert caught.value.rule == "device-list"
    assert "nvidia:0,1" in caught.value.message or "null:0,1" in caught.value.message


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=64, unique=True))
def test_every_list_of_different_numbers_is_read(numbers: list[int]) -> None:
    word = "nvidia:" + ",".join(map(str, numbers))
    assert devices_typed(word, tuple) == tuple(f"nvidia:{number}" for number in numbers)


def test_a_gpu_that_is_not_here_is_named_with_those_that_are() -> None:
    with pytest.raises(BackendError) as caught:
        check_present(("nvidia:0", "nvidia:4"), ("nvidia:0", "nvidia:1"))
    assert caught.value.rule == "device"
    assert "nvidia:4 cannot be used" in caught.value.message
    assert "nvidia:0, nvidia:1" in caught.value.message


def test_run_spreads_a_folder_and_counts_each_device_and_all_together(
    path: Path, cine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = Typed(monkeypatch, capfd)
    said = typed("run", cine, cine, "--bundle", path, "--device", "null:0,1")
    assert said.code == 0
    assert "null:0: " in said.err
    assert "null:1: " in said.err
    assert f"together: {2 * FRAMES} results" in said.err
    said = typed("run", cine, "--bundle", path, "--device", "null:0,1", "--format", "jsonl")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["frame"] for row in rows] == [*range(FRAMES)]
    assert {row["device"] for row in rows} == {"null:0", "null:1"}


@pytest.mark.parametrize("device", ["nvidia:0,0", "nvidia:x", "null:all"])
def test_a_list_that_makes_no_sense_ends_with_exit_2_and_a_next_step(
    path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], device: str
) -> None:
    said = Typed(monkeypatch, capfd)("run", path, "--bundle", path, "--device", device)
    assert said.code == 2
    assert "Type " in said.err
