"""`medge drift`: exit codes, formats, the passport, and nothing of a patient."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import dicom_files as made
import pytest
from bundles import CLASSES, tiny_bundle
from command_line import Said, Typed, process
from drift_kit import mean_graph, write_labels, write_pictures

from medge.engine.bundle import open_bundle
from medge.engine.evidence import Drift
from medge.engine.passport import read_passport
from medge.profiles.device import describe

LEVELS = [*range(40, 110), *range(150, 220)] * 2  # none near the border of 127.5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    names = write_pictures(folder / "data", LEVELS)
    rows = [
        (name, CLASSES[level > 127], "AB"[number % 2])
        for number, (name, level) in enumerate(zip(names, LEVELS, strict=True))
    ]
    write_labels(folder / "labels.csv", rows, "file,scores,site")
    variants = {"near": mean_graph(offset=0.02), "wrong": mean_graph(gain=-8.0)}
    tiny_bundle(folder, graph=mean_graph(), variants=variants)
    tiny_bundle(folder, "alone", graph=mean_graph())
    return folder


@pytest.fixture
def drift(typed: Typed, place: Path) -> Any:
    def command(*words: object, labels: bool = True, bundle: str = "tiny.medge") -> Said:
        given = ["--labels", place / "labels.csv"] if labels else []
        return typed("drift", place / bundle, "--data", place / "data", *given, *words)

    return command


def passport(place: Path) -> tuple[Drift, ...]:
    with open_bundle(place / "tiny.medge") as bundle:
        return read_passport(bundle.digest).entries


def test_a_pass_exits_0_and_stands_in_the_passport(drift: Any, place: Path) -> None:
    wide = ("--max-flip", 0.02, "--max-sens-drop", 0.03)
    said = drift("--precision", "near", *wide, "--json")
    found = json.loads(said.out)
    assert (said.code, found["exit_code"]) == (0, 0)
    (entry,) = passport(place)
    assert (entry.verdict, entry.precision, entry.tier) == ("pass", "near", describe().tier)
    assert found["reports"][0]["drift"]["data_sha256"] == entry.data_sha256
    assert entry.margins.flip_ratio == 0.02


def test_a_failure_exits_8_and_is_in_the_passport_too(drift: Any, place: Path) -> None:
    said = drift("--precision", "wrong", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert said.code == 8
    (verdict,) = (row["value"] for row in rows if row["part"] == "verdict")
    assert verdict.startswith("fail: flips, sensitivity drop of malignant")
    # The class that counts is shown, whichever way a decision went.
    flips = [row["value"] for row in rows if row["part"] == "flipped" and row["what"] != "more"]
    assert len(flips) == 20
    assert all(".png: malignant 0." in value and "; is " in value for value in flips)
    assert [entry.verdict for entry in passport(place)] == ["fail"]


def test_too_few_pictures_exit_8_unless_that_is_accepted_and_recorded(
    drift: Any, place: Path
) -> None:
    # 140 negatives without a loss bound it at 2.1 %.
    said = drift("--precision", "near")
    assert said.code == 8
    assert "inconclusive: needs at least 159 more" in " ".join(said.out.split())
    said = drift("--precision", "near", "--accept-inconclusive")
    assert said.code == 0
    assert "accepted by" in " ".join(said.out.split())
    (entry,) = passport(place)
    assert (entry.verdict, entry.accepted, entry.missing_cases) == ("inconclusive", True, 159)


def test_a_failure_cannot_be_accepted(drift: Any, place: Path) -> None:
    assert drift("--precision", "wrong", "--accept-inconclusive").code == 8
    assert not passport(place)[0].accepted


def test_no_stamp_leaves_the_passport_alone(drift: Any, place: Path) -> None:
    drift("--precision", "wrong", "--no-stamp")
    assert passport(place) == ()


def test_a_verdict_against_anything_but_fp32_is_shown_and_not_entered(
    drift: Any, place: Path
) -> None:
    said = drift("--precision", "near", "--against", "near", "--json")
    (report,) = json.loads(said.out)["reports"]
    assert (report["drift"]["against"], report["drift"]["flips"]) == ("near", 0)
    assert passport(place) == ()


def test_every_other_precision_is_judged_when_none_is_named(drift: Any, place: Path) -> None:
    said = drift("--json", "--max-flip", 0.02, labels=False)
    found = json.loads(said.out)
    assert [report["drift"]["precision"] for report in found["reports"]] == ["near", "wrong"]
    assert [report["drift"]["verdict"] for report in found["reports"]] == ["pass", "fail"]
    assert said.code == 8
    assert len(passport(place)) == 2


def test_a_bundle_with_one_precision_says_how_to_get_others(drift: Any) -> None:
    said = drift(bundle="alone.medge")
    assert said.code == 2
    assert "nothing-to-judge" in said.err
    assert "--precision bf16" in said.err


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "md"])
def test_every_format_tells_the_verdict_on_stdout_alone(drift: Any, form: str) -> None:
    said = drift("--precision", "wrong", "--format", form)
    assert "fail" in said.out
    assert said.err == ""


def test_the_table_fits_80_columns_and_lists_twenty_flips(
    drift: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = drift("--precision", "wrong").out.splitlines()
    assert max(map(len, lines)) <= 80
    flips = [
        line for line in lines if "→" in line and ("benign →" in line or "malignant →" in line)
    ]
    assert len(flips) == 20
    assert f"{len(LEVELS) - 20}; --json lists {len(LEVELS)}" in "\n".join(lines)


def test_output_goes_to_a_file_whole(drift: Any, tmp_path: Path) -> None:
    said = drift("--precision", "near", "--json", "-o", tmp_path / "drift.json")
    assert said.out == ""
    assert json.loads((tmp_path / "drift.json").read_text())["schema"] == "medge.drift/1"


def test_a_precision_that_is_not_there_is_refused_before_anything_is_judged(drift: Any) -> None:
    said = drift("--precision", "int4")
    assert (said.code, said.out) == (5, "")
    assert "precision" in said.err


@pytest.mark.parametrize("value", ["0", "-1", "2", "nan"])
def test_a_margin_that_makes_no_sense_is_a_usage_error(drift: Any, value: str) -> None:
    assert drift("--max-flip", value).code == 2


def test_a_wrong_label_file_is_a_usage_error(drift: Any, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", [("0000.png", "cancer")])
    said = drift("--labels", labels, labels=False)
    assert said.code == 2
    assert "line 2, column scores" in said.err


def test_data_that_is_no_folder_is_a_usage_error(typed: Typed, place: Path) -> None:
    said = typed("drift", place / "tiny.medge", "--data", place / "labels.csv")
    assert said.code == 2
    assert "E2 data" in said.err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_nothing_of_a_patient_is_told(typed: Typed, place: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "data").mkdir()
    made.make(tmp_path / "data" / "a.dcm")
    said = typed("drift", place / "tiny.medge", "--data", tmp_path / "data", "--format", form)
    assert said.code == 8
    assert not any(word in said.out + said.err for word in ("Sentinel", "SENTINEL-ID"))


def test_names_of_files_do_not_drive_the_terminal(
    typed: Typed, place: Path, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "data", [10, 20])
    (tmp_path / "data" / names[0]).rename(tmp_path / "data" / "a\x1b[2J.png")
    (tmp_path / "data" / names[1]).rename(tmp_path / "data" / "b\udcff.png")
    for form in ("table", "json", "csv", "md"):
        words = ("--precision", "wrong", "--format", form)
        said = typed("drift", place / "tiny.medge", "--data", tmp_path / "data", *words)
        assert said.code == 8
        assert "\x1b" not in said.out


def test_the_installed_command_judges_a_built_in_bundle(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", list(range(0, 250, 25)))
    done = process(
        "drift", "chest-x-ray", "--data", tmp_path / "data", "--precision", "fp32", "--json"
    )
    (report,) = json.loads(done.stdout)["reports"]
    assert (done.returncode, report["drift"]["verdict"]) == (8, "inconclusive")
    assert (report["drift"]["flips"], report["drift"]["cases"]) == (0, 10)
