"""`medge profile`: the answer first, whole documents for programs, nothing half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import dicom_files as made
import msgspec
import psutil
import pytest
from bundles import tiny_bundle, tiny_graph
from command_line import TOOL, Typed

from medge.bench.result import Result
from medge.bench.store import Store

QUICK = ("--quick", "--time-budget", "1", "--cold-starts", "0", "--no-sensors")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    return tiny_bundle(tmp_path / "bundles")


def test_json_is_the_whole_result_and_the_store_has_the_same(
    typed: Typed, bundle: Path, tmp_path: Path
) -> None:
    named = tmp_path / "Sentinel^Patient"
    named.mkdir()
    made.make(named / "Sentinel.dcm")
    said = typed("profile", bundle, *QUICK, "--data", named, "--json")
    assert said.code == 0, said.err
    page = json.loads(said.out)
    (one,) = page["results"]
    result = msgspec.convert(one["result"], Result)
    with Store.open(writable=False) as store:
        assert store.get(one["number"]) == result
    assert page["exit_code"] == 0
    assert page["failures"] == []
    assert "Sentinel" not in said.out, "names of files may be names of patients"
    assert result.sections is not None
    command = result.sections.evidence.command
    assert command == (
        *("medge", "profile", "tiny", "--data", "PATH"),
        *("--time-budget", "1.0", "--cold-starts", "0", "--quick", "--no-sensors"),
    )


def test_a_second_profile_knows_of_the_first(typed: Typed, bundle: Path) -> None:
    for times in range(2):
        said = typed("profile", bundle, *QUICK, "--candidate", "null", "--json")
        assert said.code == 0, said.err
        (one,) = json.loads(said.out)["results"]
        known = {len(taken["earlier_p50_ns"]) for taken in one["result"]["measurements"]}
        assert known == {times}


def test_a_page_fits_80_columns_and_begins_with_the_answer(
    typed: Typed, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = typed("profile", bundle, *QUICK, "--candidate", "null")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    parts = [line.split("  ")[0] for line in lines if line[:1] not in ("", " ")]
    assert parts[:5] == ["part", "bundle", "answer", "stages", "memory"]
    assert parts[-1] == "stored"
    header = next(line for line in lines if line.startswith("stages"))
    assert "p50 (95 % interval)" in header
    assert header.endswith("p99")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--candidate", ":fp32"), "BACKEND:PRECISION:THREADS"),
        (("--candidate", "onnxruntime:fp32:two"), "openvino:bf16:2"),
        (("--candidate", "null", "--backend", "null"), "Leave out --backend"),
        (("--labels", "x.csv"), "--labels needs --data"),
        (("--quick", "--full"), "exclude each other"),
        (("--time-budget", "0"), "--time-budget"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2_with_a_next_step(
    typed: Typed, bundle: Path, words: tuple[str, ...], expected: str
) -> None:
    said = typed("profile", bundle, *words)
    assert said.code == 2
    assert expected in said.err
    assert said.out == ""


def test_a_candidate_that_fails_gives_its_exit_code_and_the_others_their_result(
    typed: Typed, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path, variants={"int8": tiny_graph(seed=5)})  # answers otherwise
    candidates = ("--candidate", "null", "--candidate", "onnxruntime:int8:1")
    said = typed("profile", bundle, *QUICK, *candidates, "--json")
    page = json.loads(said.out)
    assert [each["result"]["candidate"]["backend"] for each in page["results"]] == ["null"]
    (failure,) = page["failures"]
    assert failure["candidate"]["variant"] == "int8"
    assert failure["fault"]["rule"] == "self-test"
    assert said.code == page["exit_code"] == failure["fault"]["exit_code"] == 8
    with Store.open(writable=False) as store:
        assert [number for number, _ in store.results()] == [page["results"][0]["number"]]


def test_what_is_not_here_is_an_error_before_anything_is_measured(
    typed: Typed, bundle: Path, tmp_path: Path
) -> None:
    said = typed("profile", bundle, "--backend", "nothing-of-the-kind")
    assert (said.code, said.out) == (5, "")
    said = typed("profile", bundle, *QUICK, "--backend", "null", "--data", tmp_path / "none.dcm")
    assert (said.code, said.out) == (3, "")
    assert "not-found" in said.err


def test_labels_that_cannot_judge_are_refused_before_anything_is_measured(
    typed: Typed, bundle: Path, tmp_path: Path
) -> None:
    made.make(tmp_path / "a.dcm")
    (tmp_path / "labels.csv").write_text("file,nothing\na.dcm,benign\n", encoding="utf-8")
    words = ("profile", bundle, "--labels", tmp_path / "labels.csv", "--data")
    said = typed(*words, tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "labels-columns" in said.err
    said = typed(*words, tmp_path / "a.dcm")
    assert (said.code, said.out) == (2, "")
    assert "E2 data" in said.err


def test_ctrl_c_ends_every_process_and_stores_nothing(bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [TOOL, "profile", str(bundle), "--candidate", "null", "--cold-starts", "0"],
        env={**os.environ, "MEDGE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that starts the tests in the background lets them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread yet
    )
    until = time.monotonic() + 60.0
    found: list[psutil.Process] = []
    while not found and time.monotonic() < until:
        time.sleep(0.05)
        found = psutil.Process(process.pid).children(recursive=True)
    assert found, "a worker is running"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    gone, alive = psutil.wait_procs(found, timeout=20)
    assert gone
    assert not alive
    with Store.open(home / "results.sqlite", writable=False) as store:
        assert store.numbers() == ()
