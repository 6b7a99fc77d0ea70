"""What people see: columns that hold, sizes with units, cells that a spreadsheet cannot run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from medge import console
from medge.console import Heading, bytes_text, percent_text, rows_text, writer
from medge.engine.prediction import Answer, Fault, Result, Timings
from medge.errors import StorageError
from medge.output import replacing

HEADING = Heading("tiny 1.0.0", "cpu (X)", "onnxruntime", "fp32", 9, "not for clinical use")


def result(file: str = "a.dcm", *, prediction: str | None = "malignant", **said: object) -> Result:
    answer = Answer(
        output="scores",
        labels=(prediction,) if prediction else (),
        scores={"benign": 0.25, "malignant": 0.75},
        abstained=prediction is None,
    )
    facts: dict[str, object] = {
        "frame": 0,
        "status": "ok",
        "prediction": prediction,
        "answers": (answer,),
        "fault": None,
        "notes": (),
        "timings": Timings(read_ns=1_230_000, infer_ns=250_000_000),
        "device": "cpu (X)",
        "backend": "onnxruntime",
        "precision": "fp32",
        "bundle": "tiny 1.0.0",
        "bundle_sha256": "0" * 64,
        "demonstration": True,
    }
    return Result(file=file, **(facts | said))  # type: ignore[arg-type]


def test_what_ran_in_which_precision_stands_in_one_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(drawn("csv", result(placement={"int8": 0.95})))))
    assert rows[0]["placement"] == "int8=0.9500"
    assert '"placement":{"int8":0.95}' in drawn("jsonl", result(placement={"int8": 0.95}))


def refused() -> Result:
    fault = Fault(rule="truncated", exit_code=3, message="100 bytes, 200 expected. " * 8)
    return result(
        prediction=None, frame=None, status="refused", answers=(), fault=fault, timings=Timings()
    )


def drawn(form: str, *results: Result, terminal: bool = False) -> str:
    lines: list[str] = []
    sheet = writer(form, lines.append, HEADING, terminal=terminal)
    sheet.start()
    for one in results:
        sheet.row(one)
    sheet.end()
    return "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 119, 120, 160, 300])
def test_a_table_never_leaves_its_terminal_and_keeps_its_columns(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = drawn("table", result("x" * 400), result(prediction=None, status="abstained"), refused())
    assert max(map(len, text.splitlines())) <= max(80, width)
    head, *rows = [line for line in text.splitlines() if "ok " in line or "status" in line]
    assert head.index("status") == rows[0].index("ok ")


def test_a_shortened_file_keeps_its_beginning_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = drawn("table", result("beginning" + "-" * 100 + "end.dcm"))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" in text
    assert "end.dcm" in text
    assert "begin" in text


def test_a_narrow_table_names_a_file_once_and_a_wide_one_in_each_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = [result(frame=0), result(frame=1), result("b.dcm")]
    monkeypatch.setenv("COLUMNS", "80")
    assert drawn("table", *frames).count("a.dcm") == 1
    monkeypatch.setenv("COLUMNS", "160")
    assert drawn("table", *frames).count("a.dcm") == 2


def test_the_score_is_that_of_the_prediction_or_of_the_likeliest_when_abstained() -> None:
    assert "0.750" in drawn("table", result())
    assert "0.750" in drawn("table", result(prediction=None, status="abstained"))
    assert "0.250" in drawn("table", result(prediction="benign"))


def test_colours_appear_on_a_terminal_only_and_never_against_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in drawn("table", result(), terminal=True)
    assert "\x1b" not in drawn("table", result(), terminal=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in drawn("table", result(), terminal=True)


@pytest.mark.parametrize("name", ["=cmd|'/C calc'!A0", "+1+2", "@SUM(A1)"])
def test_a_spreadsheet_does_not_run_a_file_name(name: str) -> None:
    row = next(csv.DictReader(io.StringIO(drawn("csv", result(name)))))
    assert row["file"] == f"'{name}"


def test_a_bar_or_a_line_break_in_a_name_does_not_break_a_markdown_row() -> None:
    lines = drawn("md", result("a|b\nc.dcm")).splitlines()
    assert len(lines) == 3
    assert "a\\|b c.dcm" in lines[2]


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (44_700_000, "44.7 MB"),
        (3_100_000_000, "3.1 GB"),
    ],
)
def test_sizes_have_the_unit_that_fits(size_bytes: int, told: str) -> None:
    assert bytes_text(size_bytes) == told


def test_repeated_first_cells_are_shown_once_to_people_and_each_time_to_programs() -> None:
    rows = [("use", "a", "1"), ("use", "b", "2")]
    assert rows_text("table", ("part", "what", "value"), rows, terminal=False).count("use") == 1
    assert rows_text("csv", ("part", "what", "value"), rows, terminal=False).count("use") == 2


def test_rich_markup_in_a_value_is_shown_as_it_stands() -> None:
    text = rows_text("table", ("a", "b"), [("x", "[red]not a colour[/red]")], terminal=False)
    assert "[red]not a colour[/red]" in text


def test_a_replaced_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old", encoding="utf-8")

    def stopped_half_way() -> None:
        with replacing(target) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stopped_half_way()
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with replacing(target) as stream:
        stream.write(b"new")
    assert target.read_text(encoding="utf-8") == "new"


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"), replacing(tmp_path / "no" / "f"):
        pass


def test_every_format_on_the_command_line_has_a_writer() -> None:
    for form in console.FORMATS:
        assert drawn(form, result())


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0102, "1.02 %"), (0.01, "1 %"), (0.0, "0 %"), (-0.0059, "-0.59 %"), (1.0, "100 %")],
)
def test_percent_keeps_what_tells_a_bound_from_its_margin(ratio: float, text: str) -> None:
    assert percent_text(ratio) == text
