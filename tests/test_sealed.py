"""A sealed choice is run as long as it holds here, and when it does not, the reasons say why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bundles import tiny_bundle, tiny_graph

from medge.engine import select
from medge.engine.backends.presence import installed_version
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.sealed import Candidate, Row, SealedChoice, read_sealed, write_sealed
from medge.engine.select import choose
from medge.engine.state import state_folder
from medge.profiles.device import identity


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    with open_bundle(tiny_bundle(tmp_path, variants={"int8": tiny_graph(seed=2)})) as opened:
        yield opened


def sealed(bundle: Bundle) -> SealedChoice:
    chosen = Candidate(backend="onnxruntime", device="cpu", variant="int8", threads=1)
    loser = Candidate(backend="onnxruntime", device="cpu", variant="fp32", threads=2)
    return SealedChoice(
        bundle_sha256=bundle.digest,
        goal="latency",
        device=identity(),
        backend_version=installed_version("onnxruntime") or "",
        chosen=chosen,
        placement={"int8": 0.9, "fp32": 0.1},
        drift=None,
        rows=(
            Row(candidate=chosen, outcome="chosen", reason="fastest", picture_ns=1000, ratio=1.0),
            Row(candidate=loser, outcome="slower", reason="2x", picture_ns=2000, ratio=2.0),
        ),
        search_ns=10**9,
        date="2026-11-21",
        medge="0.1.0",
    )


def file_of(bundle: Bundle) -> Path:
    return state_folder() / "choices" / f"{bundle.digest}.json"


def test_auto_runs_what_was_sealed_and_says_so(bundle: Bundle) -> None:
    write_sealed(sealed(bundle))
    choice = choose(bundle)
    assert (choice.backend, choice.variant, choice.threads) == ("onnxruntime", "int8", 1)
    assert "sealed on 2026-11-21, the best latency of 2 candidates" in choice.reasons[0]


@pytest.mark.parametrize(
    "asked", [{"backend": "onnxruntime"}, {"device": "cpu"}, {"precision": "fp32"}, {"threads": 2}]
)
def test_what_is_asked_for_is_done_and_not_what_was_sealed(
    bundle: Bundle, asked: dict[str, object]
) -> None:
    write_sealed(sealed(bundle))
    assert choose(bundle, **asked).variant == "fp32"  # type: ignore[arg-type]  # one of several


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "another"}, "another CPU"),
        ({"backend_version": "1.0.0"}, "with onnxruntime 1.0.0, here is"),
        (
            {"chosen": Candidate(backend="onnxruntime", device="cpu", variant="int8", threads=999)},
            "999 CPUs",
        ),
    ],
)
def test_what_no_longer_holds_is_not_run_and_the_reasons_say_why(
    bundle: Bundle, changes: dict[str, object], told: str
) -> None:
    write_sealed(msgspec.structs.replace(sealed(bundle), **changes))
    choice = choose(bundle)
    assert choice.variant == "fp32"
    assert told in choice.reasons[0]
    assert "medge compile" in choice.reasons[0]


def test_a_runtime_that_went_away_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Candidate(backend="openvino", device="cpu", variant="int8", threads=1)
    write_sealed(msgspec.structs.replace(sealed(bundle), chosen=gone))
    monkeypatch.setattr(select, "absence", lambda name: name == "openvino" or None)
    assert "needs openvino, which is not installed" in choose(bundle).reasons[0]


def test_the_choice_of_another_bundle_is_not_taken(bundle: Bundle, tmp_path: Path) -> None:
    write_sealed(sealed(bundle))
    with open_bundle(tiny_bundle(tmp_path, "other", version="2.0.0")) as other:
        assert read_sealed(other.digest) is None
        file_of(other).write_bytes(file_of(bundle).read_bytes())
        assert read_sealed(other.digest) is None


def test_any_changed_byte_makes_it_no_choice(bundle: Bundle) -> None:
    write_sealed(sealed(bundle))
    path = file_of(bundle)
    whole = path.read_bytes()
    assert read_sealed(bundle.digest) == msgspec.structs.replace(
        sealed(bundle), seal=msgspec.json.decode(whole)["seal"]
    )
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_sealed(bundle.digest) is None
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        assert read_sealed(bundle.digest) is None
        assert "the sealed choice is damaged" in choose(bundle).reasons[0]


def test_a_choice_that_cannot_be_read_does_not_keep_a_patient_waiting(bundle: Bundle) -> None:
    file_of(bundle).mkdir(parents=True)
    choice = choose(bundle)
    assert choice.variant == "fp32"
    assert "cannot be read" in choice.reasons[0]
