"""The passport remembers, for every precision and device tier, what became of the decisions."""

from __future__ import annotations

import msgspec
import pytest

from medge.engine.evidence import Drift, Margins, Verdict
from medge.engine.passport import Passport, read_passport, stamp
from medge.engine.state import state_folder

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
