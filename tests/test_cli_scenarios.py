"""`medge profile --fps` and `--loadgen` as they are typed."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import Typed

from medge.verbs.scenario_options import scenarios_of

QUICK = ("--quick", "--no-sensors", "--time-budget", "1")


def test_a_deadline_that_is_not_proven_ends_with_exit_code_7_and_is_stored(
    typed: Typed, tmp_path: Path
) -> None:
    bundle = str(tiny_bundle(tmp_path))
    asked = ("profile", bundle, *QUICK, "--fps", "500", "--frames", "20", "--hold", "--json")
    said = typed(*asked)
    assert said.code == 7
    assert said.err.startswith("E7 deadline: ")
    assert said.err.rstrip().endswith("frames more.") or "faster precision" in said.err
    found = json.loads(said.out)
    assert found["exit_code"] == 7
    deadline = found["results"][0]["result"]["sections"]["deadline"]
    assert deadline["on_time"] + deadline["late"] + deadline["dropped"] == 20
    assert found["results"][0]["number"] == 1


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("--cine", "a.dcm"), "--cine needs --fps"),
        (("--frames", "9"), "--frames needs --fps"),
        (("--hold",), "--hold needs --fps"),
        (("--fps", "0"), "--fps"),
        (("--fps", "inf"), "--fps"),
        (("--fps", "nan"), "--fps"),
        (("--loadgen-logs", "x"), "--loadgen-logs needs --loadgen"),
        (("--loadgen", "long"), "'short', 'official', 'audited'"),
    ],
)
def test_options_that_make_no_sense_end_with_exit_code_2(
    typed: Typed, words: tuple[str, ...], word: str
) -> None:
    said = typed("profile", "breast-ultrasound", *words)
    assert (said.code, said.out) == (2, "")
    assert word in said.err


@pytest.mark.parametrize(
    ("word", "official", "audits", "minutes"),
    [("short", False, True, 1), ("official", True, False, 40), ("audited", True, True, 120)],
)
def test_what_loadgen_is_asked_for_and_how_long_it_takes(
    word: str, official: bool, audits: bool, minutes: int
) -> None:
    pytest.importorskip("mlperf_loadgen", reason='needs `pip install "medge[bench]"`')
    found = scenarios_of(
        fps=None, cine=None, frames=None, hold=False, loadgen=word, loadgen_logs=None
    )
    assert found is not None
    assert found.loadgen is not None
    assert (found.loadgen.official, found.loadgen.audits) == (official, audits)
    assert found.loadgen.expected_s == 60 * minutes


def test_a_missing_loadgen_is_told_before_anything_is_measured(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = metadata.version

    def absent(name: str) -> str:
        if name == "mlcommons-loadgen":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", absent)
    said = typed("profile", "breast-ultrasound", "--loadgen")
    assert (said.code, said.out) == (5, "")
    assert said.err.startswith("E5 loadgen-absent: ")
    assert 'pip install "medge[bench]"' in said.err
