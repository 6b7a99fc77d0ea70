"""`medge run`: five formats, clean streams, one bad file stops nothing, exit codes as listed."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import dicom_files as made
import numpy as np
import pytest
from bundles import CLASSES, tiny_bundle
from command_line import Typed, process

from medge.engine.manifest import Scope

SENTINELS = ("Sentinel", "SENTINEL-ID")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    return tiny_bundle(tmp_path / "bundles", intended_use="Tests.")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two good files, a cine, a damaged file in the middle, and one that is no picture."""
    folder = tmp_path / "studies"
    (folder / "deeper").mkdir(parents=True)
    made.make(folder / "a.dcm")
    made.make(folder / "b-cine.dcm", frames=3)
    made.make(folder / "c-cut.dcm")
    whole = (folder / "c-cut.dcm").read_bytes()
    (folder / "c-cut.dcm").write_bytes(whole[: len(whole) - 300])
    (folder / "d.txt").write_text("notes", encoding="utf-8")
    made.make(folder / "deeper" / "no-ending")
    return folder


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_folder_is_judged_to_its_end_and_its_bad_file_gives_exit_code_3(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    said = typed("run", studies, "--bundle", bundle, "--format", "jsonl")
    rows = objects(said.out)
    assert said.code == 3
    seen = [(Path(row["file"]).name, row["frame"], row["status"]) for row in rows]
    assert seen == [
        ("a.dcm", 0, "ok"),
        ("b-cine.dcm", 0, "ok"),
        ("b-cine.dcm", 1, "ok"),
        ("b-cine.dcm", 2, "ok"),
        ("c-cut.dcm", None, "refused"),
        ("no-ending", 0, "ok"),
    ]
    assert rows[4]["fault"]["rule"] == "truncated"


def test_every_object_begins_with_file_and_frame_and_names_its_schema(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    for row in objects(typed("run", studies, "--bundle", bundle, "--format", "jsonl").out):
        assert list(row)[:2] == ["file", "frame"]
        assert row["schema"] == "medge.result/1"
        assert set(row["timings"]) == {
            f"{s}_ns" for s in ["read", "decode", "prepare", "infer", "decide"]
        }


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "md"])
def test_no_format_repeats_a_patient(typed: Typed, bundle: Path, studies: Path, form: str) -> None:
    said = typed("run", studies, "--bundle", bundle, "--format", form)
    assert said.out
    assert not any(word in said.out + said.err for word in SENTINELS)


def test_json_is_one_array_of_the_same_results(typed: Typed, bundle: Path, studies: Path) -> None:
    whole = json.loads(typed("run", studies, "--bundle", bundle, "--json").out)
    assert [row["frame"] for row in whole] == [0, 0, 1, 2, None, 0]


def test_json_of_files_that_are_all_refused_is_still_an_array(
    typed: Typed, bundle: Path, tmp_path: Path
) -> None:
    said = typed("run", tmp_path / "nothing.dcm", "--bundle", bundle, "--json")
    assert said.code == 3
    assert json.loads(said.out)[0]["fault"]["rule"] == "not-found"


def test_csv_has_a_header_and_a_row_for_each_result(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    said = typed("run", studies, "--bundle", bundle, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [row["frame"] for row in rows] == ["0", "0", "1", "2", "", "0"]
    assert {row["prediction"] for row in rows} <= {*CLASSES, ""}
    assert rows[4]["rule"] == "truncated"
    scores = dict(pair.split("=") for pair in rows[0]["scores"].split(";"))
    assert sum(map(float, scores.values())) == pytest.approx(1, abs=1e-5)


def test_markdown_is_a_table_of_equal_rows(typed: Typed, bundle: Path, studies: Path) -> None:
    lines = typed("run", studies, "--bundle", bundle, "--format", "md").out.splitlines()
    assert len(lines) == 2 + 6
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "md"])
def test_machine_formats_keep_stdout_clean_and_say_demonstration_on_stderr(
    typed: Typed, bundle: Path, studies: Path, form: str
) -> None:
    said = typed("run", studies / "a.dcm", "--bundle", bundle, "--format", form)
    assert said.code == 0
    assert "not for clinical use" in said.err
    assert "self-test" not in said.out


def test_the_table_fits_80_columns_and_warns_in_its_heading(
    typed: Typed, bundle: Path, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = typed("run", studies, "--bundle", bundle)
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "not for clinical use" in lines[1]
    assert "E3 truncated" in said.out
    assert "6 results, 1 refused" in said.err


def test_a_wide_table_names_backend_device_and_precision_in_each_row(
    typed: Typed, bundle: Path, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    lines = typed("run", studies / "a.dcm", "--bundle", bundle).out.splitlines()
    assert lines[-1].split()[-3:] == ["onnxruntime", "cpu", "fp32"]


def test_no_progress_is_written_where_there_is_no_terminal(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    said = typed("run", studies, "--bundle", bundle, "--format", "jsonl")
    assert "\r" not in said.err
    assert "\x1b" not in said.out + said.err


def test_a_dash_reads_paths_from_stdin(bundle: Path, studies: Path) -> None:
    listed = f"{studies / 'a.dcm'}\n\n{studies / 'b-cine.dcm'}\n"
    said = process("run", "-", "--bundle", bundle, "--format", "jsonl", input=listed)
    assert said.returncode == 0
    assert [row["frame"] for row in objects(said.stdout)] == [0, 0, 1, 2]


def test_pictures_and_arrays_are_studies_too(typed: Typed, bundle: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = made.speckle((40, 36))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.jpg", quality=95)
    np.save(tmp_path / "c.npy", pixels)
    names = [tmp_path / name for name in ("a.png", "b.jpg", "c.npy")]
    said = typed("run", *names, "--bundle", bundle, "--format", "jsonl")
    assert said.code == 0
    assert len(objects(said.out)) == 3


def test_a_file_name_cannot_drive_the_terminal(typed: Typed, bundle: Path, tmp_path: Path) -> None:
    odd = tmp_path / "\x1b[31mred\nline.dcm"
    made.make(odd)
    said = typed("run", odd, "--bundle", bundle)
    assert said.code == 0
    assert "\x1b" not in said.out
    assert len(said.out.splitlines()) == 6  # heading, a gap, titles, the file, its row
    (row,) = objects(typed("run", odd, "--bundle", bundle, "--format", "jsonl").out)
    assert row["file"] == str(odd)


def test_a_file_name_that_is_not_utf8_is_told_as_it_is(
    typed: Typed, bundle: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.dcm"))
    made.make(odd)
    for form in ("table", "csv", "md"):
        assert typed("run", odd, "--bundle", bundle, "--format", form).code == 0
    (row,) = objects(typed("run", odd, "--bundle", bundle, "--format", "jsonl").out)
    assert row["file"] == f"{tmp_path}/\\xff.dcm"  # JSON is UTF-8, whatever a disk holds


def test_the_null_backend_predicts_nothing_and_says_so(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    said = typed(
        "run", studies / "a.dcm", "--bundle", bundle, "--backend", "null", "--format", "jsonl"
    )
    (row,) = objects(said.out)
    assert (said.code, row["status"], row["prediction"]) == (0, "not-run", None)


def test_out_of_scope_is_refused_and_unscoped_is_judged(typed: Typed, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, scope=Scope(modality=("US",), body_part=("BREAST",)))
    (tmp_path / "in").mkdir()
    made.make(tmp_path / "in" / "a.dcm", tags={"BodyPartExamined": "BREAST"})
    made.make(tmp_path / "in" / "b.dcm", tags={"BodyPartExamined": "CHEST"})
    made.make(tmp_path / "in" / "c.dcm")
    said = typed("run", tmp_path / "in", "--bundle", bundle, "--format", "jsonl")
    assert [row["status"] for row in objects(said.out)] == ["ok", "refused", "unscoped"]
    assert said.code == 3


def test_an_output_file_holds_what_stdout_would(
    typed: Typed, bundle: Path, studies: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    said = typed("run", studies, "--bundle", bundle, "--format", "jsonl", "-o", target)
    assert (said.code, said.out) == (3, "")
    assert len(objects(target.read_text(encoding="utf-8"))) == 6
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_an_output_that_cannot_be_written_is_exit_code_6_before_anything_is_judged(
    typed: Typed, bundle: Path, studies: Path, tmp_path: Path
) -> None:
    said = typed("run", studies, "--bundle", bundle, "-o", tmp_path / "no" / "such" / "f.csv")
    assert said.code == 6
    assert "E6 output" in said.err


def test_nothing_to_judge_is_exit_code_3(typed: Typed, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = typed("run", tmp_path / "empty", "--bundle", bundle)
    assert said.code == 3
    assert "nothing-found" in said.err


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["run"], 2, "Missing argument"),
        (["run", "x.dcm", "--format", "xml"], 2, "Invalid value"),
        (["run", "x.dcm", "--threads", "0"], 2, "Invalid value"),
        (["run", "x.dcm", "--bundle", "no-such-bundle"], 4, "E4 "),
        (["jog"], 2, "No such command"),
        (["run", "--bogus"], 2, "No such option"),
    ],
    ids=["no study", "format", "threads", "bundle", "verb", "option"],
)
def test_wrong_words_have_their_exit_code(
    typed: Typed, words: list[str], code: int, part: str
) -> None:
    said = typed(*words)
    assert said.code == code
    assert part in said.err
    assert "Traceback" not in said.err


def test_a_backend_that_is_not_there_is_exit_code_5(
    typed: Typed, bundle: Path, studies: Path
) -> None:
    said = typed("run", studies, "--bundle", bundle, "--backend", "abacus")
    assert said.code == 5
    assert "onnxruntime" in said.err


def test_a_damaged_bundle_is_exit_code_4(typed: Typed, bundle: Path, studies: Path) -> None:
    with (bundle / "model.onnx").open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"x")
    said = typed("run", studies, "--bundle", bundle)
    assert said.code == 4
    assert "E4 " in said.err


def test_a_bug_on_one_file_is_told_and_does_not_stop_the_others(
    typed: Typed, bundle: Path, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medge.engine.preprocess import Preprocessor

    real = Preprocessor.prepare
    calls = []

    def breaks_once(self: Any, frame: Any, out: Any) -> tuple[str, ...]:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("Sentinel^Patient")
        return real(self, frame, out)

    monkeypatch.setattr(Preprocessor, "prepare", breaks_once)
    said = typed("run", studies, "--bundle", bundle, "--format", "jsonl")
    rows = objects(said.out)
    assert said.code == 1  # a bug is not hidden behind the refused file
    assert [row["status"] for row in rows][:2] == ["failed", "ok"]
    assert "ZeroDivisionError in breaks_once" in rows[0]["fault"]["message"]
    assert not any(word in said.out for word in SENTINELS)


def test_a_runtime_that_fails_on_one_file_is_exit_code_5_and_the_others_go_on(
    typed: Typed, bundle: Path, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medge.engine.preprocess import Preprocessor
    from medge.errors import BackendError

    real = Preprocessor.prepare
    calls = []

    def fails_once(self: Any, frame: Any, out: Any) -> tuple[str, ...]:
        calls.append(1)
        if len(calls) == 1:
            raise BackendError("runtime-failed", "out of memory. Free memory.")
        return real(self, frame, out)

    monkeypatch.setattr(Preprocessor, "prepare", fails_once)
    said = typed("run", studies, "--bundle", bundle, "--format", "jsonl")
    rows = objects(said.out)
    assert said.code == 5
    assert (rows[0]["status"], rows[0]["fault"]["rule"]) == ("failed", "runtime-failed")
    assert rows[1]["status"] == "ok"


def test_quiet_says_results_only(typed: Typed, bundle: Path, studies: Path) -> None:
    said = typed("run", studies / "a.dcm", "--bundle", bundle, "--quiet")
    assert "self-test" not in said.err
    assert "results" not in said.err


def test_the_version_is_that_of_the_package() -> None:
    import importlib.metadata

    said = process("--version")
    assert said.stdout.split()[-1] == importlib.metadata.version("medge")
