"""Sessions from the cache: the bits of a built one, damage repaired in the same run, and told."""

from __future__ import annotations

import pwd
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_bundle
from hostile.damaged_cache import DAMAGES, run_cases
from narrow_graphs import golden_image, int8_graph, narrow_bundle
from test_cache import FACTS, LONG_NS, file_of, flip

from medge.engine import cache as cache_module
from medge.engine import select
from medge.engine.backends import EngineError
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.cache import EngineCache, cache_folder
from medge.engine.classify import open_classifier
from medge.engine.select import Choice, choose
from medge.engine.selftest import kept_at, open_proven
from medge.engine.session import Session
from medge.errors import GateError, StorageError

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            not any(metadata.distributions(name="openvino")), reason="openvino is not installed"
        ),
    ),
]


@pytest.fixture
def keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every engine be worth keeping, so that small networks show what large ones do."""
    monkeypatch.setattr(cache_module, "WORTH_NS", 0)
    monkeypatch.setattr(cache_module, "WORTH_CHECKS", 0)


def opened(bundle: Bundle, backend: str, cache: EngineCache) -> Session:
    choice = choose(bundle, backend=backend, precision="int8", threads=1)
    session, tested = open_proven(bundle, choice, cache)
    assert tested.placement.shares == {"int8": 1.0}
    return session


@pytest.mark.usefixtures("keeps_all")
@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_session_from_the_cache_gives_the_bits_of_the_one_that_was_built(
    tmp_path: Path, backend: str
) -> None:
    cache = EngineCache(tmp_path / "cache")
    answers = []
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        for kept in (False, True, True):
            with opened(bundle, backend, cache) as session:
                assert session.from_cache == kept
                assert session.notes == ()
                answers.append(session.infer({"image": golden_image()})["scores"].tobytes())
    assert len(set(answers)) == 1


@pytest.mark.usefixtures("keeps_all")
@pytest.mark.parametrize("backend", RUNTIMES)
def test_damage_is_rebuilt_in_the_same_run_and_told(tmp_path: Path, backend: str) -> None:
    cache = EngineCache(tmp_path / "cache")
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        opened(bundle, backend, cache).close()
        path = file_of(cache)
        path.write_bytes(flip(path.read_bytes(), 0.9))
        with opened(bundle, backend, cache) as session:
            assert not session.from_cache
            assert "damaged; built anew" in session.notes[0]
        with opened(bundle, backend, EngineCache(cache.folder)) as session:
            assert session.from_cache
            assert session.notes == ()


@pytest.mark.usefixtures("keeps_all")
@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("engine", [b"no engine at all", b"\x93\xc4\x03abc\x01\x90"])
def test_an_engine_that_the_runtime_refuses_is_built_anew(
    tmp_path: Path, backend: str, engine: bytes
) -> None:
    cache = EngineCache(tmp_path / "cache")
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        with opened(bundle, backend, cache) as session:
            assert session._facts is not None
            cache.keep(session._facts, engine, LONG_NS)
        with opened(bundle, backend, cache) as session:
            assert "does not take an engine back" in session.notes[0]


@pytest.mark.usefixtures("keeps_all")
def test_a_whole_engine_that_answers_wrongly_fails_its_self_test_and_is_built_anew(
    tmp_path: Path,
) -> None:
    """As if the memory had been faulty when it was built: no checksum can know."""
    cache = EngineCache(tmp_path / "cache")
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        with opened(bundle, "onnxruntime", cache) as session:
            facts = session._facts
        assert facts is not None
        wrong = int8_graph(weights={"head.b": np.array([9, -9], "f4")})
        cache.keep(facts, wrong, LONG_NS)
        with opened(bundle, "onnxruntime", cache) as session:
            assert not session.from_cache
            assert "failed its self-test" in session.notes[0]


@pytest.mark.usefixtures("keeps_all")
def test_an_engine_of_which_a_part_did_not_fit_is_kept_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels that TensorRT-RTX compiled under an older driver; here the graph stands for it."""
    cache = EngineCache(tmp_path / "cache")
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        opened(bundle, "onnxruntime", cache).close()
        graph = bundle.read(bundle.manifest.variants[1].file)
        before = file_of(cache).read_bytes()
        monkeypatch.setattr(OnnxRuntime, "engine", lambda _self: graph)
        with opened(bundle, "onnxruntime", cache) as session:
            assert session.from_cache
        assert file_of(cache).read_bytes() == before
        monkeypatch.setattr(OnnxRuntime, "renewed", True)
        with opened(bundle, "onnxruntime", cache) as session:
            assert session.from_cache
        assert file_of(cache).read_bytes().endswith(graph)


def test_engines_are_kept_of_what_was_sealed_and_of_what_takes_minutes_to_build() -> None:
    def choice(backend: str, device: str) -> Choice:
        return Choice(backend, device, "fp32", "fp32", 1)

    assert kept_at(choice("onnxruntime", "cpu")) is None
    assert kept_at(replace(choice("onnxruntime", "cpu"), sealed=True)) is not None
    assert kept_at(choice("tensorrt", "nvidia:0")) is not None
    assert kept_at(choice("tensorrt-rtx", "nvidia:0")) is not None


def test_a_bundle_that_fails_its_self_test_fails_it_with_a_cache_too(tmp_path: Path) -> None:
    path = narrow_bundle(tmp_path, "int8", int8_graph(), golden=np.zeros((2, 2), "f4"))
    with open_bundle(path) as bundle, pytest.raises(GateError):
        opened(bundle, "onnxruntime", EngineCache(tmp_path / "cache"))


def test_a_graph_that_is_in_no_bundle_is_never_kept(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    with open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle:
        choice = choose(bundle, backend="onnxruntime", precision="int8", threads=1)
        Session(bundle, choice, model=int8_graph(), cache=cache).close()
    assert not cache.folder.exists()


def test_a_cache_that_cannot_be_written_never_stops_a_result(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = EngineCache(tmp_path / "cache")
    with (
        open_bundle(narrow_bundle(tmp_path, "int8", int8_graph())) as bundle,
        opened(bundle, "onnxruntime", cache) as session,
    ):
        assert len(session.notes) == 2  # neither to read nor to write
        assert all("cache" in note for note in session.notes)


def test_the_runtime_says_that_it_refuses_an_engine_in_no_words_of_its_own(
    tmp_path: Path,
) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        choice = choose(bundle, backend="onnxruntime", threads=1)
        with Session(bundle, choice) as session:
            options = session._runtime._options  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match=r"^\w+$"):
        OnnxRuntime().load(b"", options, b"no engine")


def test_a_strict_cache_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = EngineCache(tmp_path / "cache", strict=True)
    with pytest.raises(StorageError, match="MEDGE_HOME") as caught:
        cache.keep(FACTS, b"engine", LONG_NS)
    assert (caught.value.rule, caught.value.exit_code) == ("cache-write", 6)


@pytest.mark.usefixtures("keeps_all")
@pytest.mark.parametrize("sealed", [True, False])
def test_only_what_was_compiled_is_kept_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    path = narrow_bundle(tmp_path, "int8", int8_graph())
    choice = Choice("onnxruntime", "cpu", "int8", "fp32", 1, sealed=sealed)
    monkeypatch.setattr(select, "choose", lambda *_, **__: choice)
    for again in (False, True):
        with open_classifier(path) as classifier:
            assert classifier.session.from_cache == (sealed and again)
    assert cache_folder().exists() == sealed


@pytest.mark.usefixtures("keeps_all")
def test_damage_of_every_kind_is_seen_and_never_changes_an_answer(tmp_path: Path) -> None:
    found = list(run_cases(40, 2, tmp_path))
    assert {outcome.damage for outcome in found} == {damage.__name__ for damage in DAMAGES}
    assert [outcome for outcome in found if not (outcome.seen and outcome.right)] == []


def test_a_user_without_a_home_runs_without_a_cache_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container whose user is a bare number."""

    def unknown(number: int) -> object:
        raise KeyError(number)

    path = narrow_bundle(tmp_path, "int8", int8_graph())
    for name in ("MEDGE_HOME", "HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with open_classifier(path) as classifier:
        assert "cannot be read" in classifier.choice.reasons[0]
    with open_bundle(path) as bundle, opened(bundle, "onnxruntime", EngineCache()) as session:
        assert "MEDGE_HOME" in session.notes[0]
