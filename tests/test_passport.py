"""The passport remembers, for every precision and device tier, what became of the decisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dicom_files as made
import msgspec
import pytest
from bundles import tiny_bundle, tiny_graph
from command_line import Typed

from medge.engine.bundle import Bundle, open_bundle
from medge.engine.evidence import Drift, Margins, Verdict
from medge.engine.passport import Passport, read_passport, stamp, unproven
from medge.engine.select import choose
from medge.engine.state import state_folder
from medge.profiles.device import device_tier

BUNDLE = "ab" * 32


def drift(precision: str = "int8", tier: str = "avx2", verdict: Verdict = "pass") -> Drift:
    return Drift(
        verdict=verdict,
        precision=precision,
        against="fp32",
        backend="onnxruntime",
        backend_version="1.31.1",
        tier=tier,
        cases=300,
        flips=0,
        labelled=False,
        margins=Margins(),
        checks=(),
        data_sha256="cd" * 32,
        date="2026-11-21",
    )


def test_nothing_was_judged_of_a_bundle_that_is_new_here() -> None:
    assert read_passport(BUNDLE) == Passport()


def test_an_entry_holds_for_its_own_conditions_only() -> None:
    stamp(BUNDLE, drift())
    stamp(BUNDLE, drift(tier="avx512-vnni", verdict="fail"))
    passport = read_passport(BUNDLE)
    assert passport.find("int8", "onnxruntime", "1.31.1", "avx2") == drift()
    found = passport.find("int8", "onnxruntime", "1.31.1", "avx512-vnni")
    assert found is not None
    assert found.verdict == "fail"
    for other in (
        ("mixed", "onnxruntime", "1.31.1", "avx2"),
        ("int8", "openvino", "1.31.1", "avx2"),
        ("int8", "onnxruntime", "1.32.0", "avx2"),
        ("int8", "onnxruntime", "1.31.1", "neon"),
    ):
        assert passport.find(*other) is None
    assert read_passport("00" * 32) == Passport()


def test_the_newest_judgement_replaces_the_one_before() -> None:
    stamp(BUNDLE, drift())
    stamp(BUNDLE, drift(verdict="inconclusive"))
    (only,) = read_passport(BUNDLE).entries
    assert only.verdict == "inconclusive"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"entries": [{}]}', b"\xff\xfe"])
def test_a_damaged_passport_proves_nothing(damage: bytes) -> None:
    stamp(BUNDLE, drift())
    (path,) = (state_folder() / "passports").iterdir()
    path.write_bytes(damage)
    assert read_passport(BUNDLE) == Passport()
    stamp(BUNDLE, drift())
    assert read_passport(BUNDLE).entries == (drift(),)


def test_a_passport_is_plain_json() -> None:
    stamp(BUNDLE, drift())
    (path,) = (state_folder() / "passports").iterdir()
    assert msgspec.json.decode(path.read_bytes())["entries"][0]["tier"] == "avx2"


VERSION = "1.31.1"


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Bundle]:
    """Yield a bundle with a variant that nobody judged."""
    path = tiny_bundle(tmp_path, variants={"int8": tiny_graph()})
    with open_bundle(path) as opened:
        yield opened


def here(bundle: Bundle, **changes: object) -> None:
    judged = msgspec.structs.replace(drift(tier=device_tier()), **changes)
    stamp(bundle.digest, judged)


def test_the_reference_needs_no_passport(narrow: Bundle) -> None:
    assert unproven(narrow, choose(narrow, precision="fp32"), VERSION) is None


def test_a_reference_that_was_judged_on_another_runtime_and_failed_is_told(narrow: Bundle) -> None:
    choice = choose(narrow, backend="onnxruntime", precision="fp32")
    here(narrow, precision="fp32", verdict="inconclusive")
    assert unproven(narrow, choice, VERSION) is None
    here(narrow, precision="fp32", verdict="fail")
    told = unproven(narrow, choice, VERSION)
    assert told is not None
    assert "drift fail" in told


def test_a_precision_without_an_entry_for_this_tier_says_so(narrow: Bundle) -> None:
    choice = choose(narrow, precision="int8")
    told = unproven(narrow, choice, VERSION)
    assert told is not None
    assert "nobody judged" in told
    assert f"({device_tier()})" in told
    assert "medge profile --data" in told
    here(narrow, tier="another-tier")
    assert unproven(narrow, choice, VERSION) == told
    here(narrow, backend="openvino")
    assert unproven(narrow, choice, VERSION) == told
    here(narrow)
    assert unproven(narrow, choice, VERSION) is None
    assert unproven(narrow, choice, "1.32.0") == told


def test_a_passport_that_cannot_be_read_vouches_for_nothing_and_stops_nobody(
    narrow: Bundle,
) -> None:
    (state_folder() / "passports" / f"{narrow.digest}.json").mkdir(parents=True)
    told = unproven(narrow, choose(narrow, precision="int8"), VERSION)
    assert told is not None
    assert "nobody judged" in told


@pytest.mark.parametrize(
    ("verdict", "accepted", "proven"),
    [("pass", False, True), ("fail", False, False), ("inconclusive", True, True)],
)
def test_an_entry_vouches_only_when_it_passed_or_was_accepted(
    narrow: Bundle, verdict: Verdict, accepted: bool, proven: bool
) -> None:
    here(narrow, verdict=verdict, accepted=accepted)
    told = unproven(narrow, choose(narrow, precision="int8"), VERSION)
    assert (told is None) == proven
    if told is not None:
        assert f"drift {verdict}" in told


def test_run_says_on_stderr_what_no_passport_vouches_for(
    typed: Typed, narrow: Bundle, tmp_path: Path
) -> None:
    made.make(tmp_path / "a.dcm")
    words = ("run", tmp_path / "a.dcm", "--bundle", narrow.path, "--json", "--quiet")
    said = typed(*words, "--precision", "int8")
    assert said.code == 0
    assert said.err.count("no passport: int8 with onnxruntime") == 1
    assert "no passport" not in said.out
    assert "no passport" not in typed(*words, "--precision", "fp32").err
    assert "no passport" not in typed(*words, "--backend", "null").err
