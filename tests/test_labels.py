"""Label files are read strictly; refusals name line and column and repeat nothing of the file."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medge.bench.labels import Labels, read_labels
from medge.engine.manifest import Output
from medge.errors import UsageError

SINGLE = Output(name="scores", classes=("benign", "malignant"))
MULTI = Output(
    name="findings", classes=("effusion", "mass", "a|b"), task="multi-label", activation="sigmoid"
)
PATIENT = "Sentinel^Patient"

Read = Callable[..., Labels]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.png", "b.png", "c, d.png", "deeper/e.png"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def read(tmp_path: Path, data: Path) -> Read:
    def reader(text: str | bytes, *outputs: Output) -> Labels:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_labels(path, data, outputs or (SINGLE,))

    return reader


def refusal(read: Read, text: str | bytes, *outputs: Output) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(text, *outputs)
    assert PATIENT not in caught.value.message
    return caught.value


def test_files_classes_and_subgroups_are_read(read: Read) -> None:
    labels = read("file,scores,sex,site\na.png,benign,f,A\ndeeper/e.png,malignant,m,\n")
    assert labels.files == ("a.png", "deeper/e.png")
    np.testing.assert_array_equal(labels.truth["scores"], [[True, False], [False, True]])
    assert labels.known["scores"].tolist() == [True, True]
    assert labels.groups == {"sex": ("f", "m"), "site": ("A", "")}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbffile,scores\na.png,benign\nb.png,malignant\n",
        b"file,scores\r\na.png,benign\r\nb.png,malignant\r\n",
        b'"file","scores"\n"a.png","benign"\n\nb.png,malignant',
        b"scores,file\nbenign,a.png\nmalignant,b.png\n",
    ],
    ids=["byte order mark", "CRLF", "quotes and a blank line", "columns in another order"],
)
def test_what_spreadsheets_write_means_the_same(read: Read, text: bytes) -> None:
    labels = read(text)
    assert labels.files == ("a.png", "b.png")
    assert labels.truth["scores"].tolist() == [[True, False], [False, True]]


def test_a_quoted_name_may_hold_a_comma(read: Read) -> None:
    assert read('file,scores\n"c, d.png",benign\n').files == ("c, d.png",)


def test_an_empty_cell_is_not_known(read: Read) -> None:
    labels = read("file,scores\na.png,\nb.png,benign\n")
    assert labels.known["scores"].tolist() == [False, True]


def test_several_findings_none_of_them_and_unknown_are_told_apart(read: Read) -> None:
    text = "file,findings\na.png,effusion|mass\nb.png,-\ndeeper/e.png,\n"
    labels = read(text, MULTI)
    assert labels.truth["findings"].tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert labels.known["findings"].tolist() == [True, True, False]


def test_a_class_that_looks_like_two_is_itself(read: Read) -> None:
    labels = read("file,findings\na.png,a|b\n", MULTI)
    assert labels.truth["findings"].tolist() == [[False, False, True]]


def test_every_output_has_its_column(read: Read) -> None:
    labels = read("file,scores,findings\na.png,benign,mass\n", SINGLE, MULTI)
    assert set(labels.truth) == {"scores", "findings"}


@pytest.mark.parametrize(
    ("text", "rule", "told"),
    [
        ("", "labels-columns", "file, scores"),
        ("file;scores\na.png;benign\n", "labels-columns", "commas"),
        ("file,label\na.png,benign\n", "labels-columns", "lacks scores"),
        ("file,scores,scores\na.png,benign,benign\n", "labels-columns", "twice"),
        ("file,scores,\na.png,benign,x\n", "labels-columns", "without a name"),
        ("file,scores\n", "labels-row", "no row"),
        (f"file,scores\na.png,benign,{PATIENT}\n", "labels-row", "line 2: has 3 cells"),
        (f'file,scores\n"a.png"{PATIENT},benign\n', "labels-row", "line 2"),
        (f'file,scores\na.png,"{PATIENT}\n', "labels-row", "quotation"),
        (f"file,scores\na.png,{PATIENT}\n", "labels-class", "line 2, column scores"),
        ("file,scores\na.png,Benign\n", "labels-class", "benign, malignant"),
        ("file,scores\na.png, benign\n", "labels-class", "line 2"),
        ("file,scores\na.png,benign|malignant\n", "labels-class", "one of them"),
        ("file,scores\na.png,benign\n./a.png,benign\n", "labels-file", "line 3, column file"),
        (f"file,scores\n{PATIENT}.png,benign\n", "labels-file", "names no file"),
        ("file,scores\n,benign\n", "labels-file", "no path"),
        ("file,scores\n../labels.csv,benign\n", "labels-file", "without .."),
        ("file,scores\n/etc/passwd,benign\n", "labels-file", "relative"),
        ("file,scores\ndeeper,benign\n", "labels-file", "no regular file"),
        (f"file,scores\n{'x' * 300},benign\n", "labels-file", "out of reach"),
        (b"file,scores\na.png,benign\n\xff.png,benign\n", "labels-unreadable", "line 3"),
        (b"file,scores\na.png\0,benign\n", "labels-unreadable", "line 2"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_line_and_column(
    read: Read, text: str | bytes, rule: str, told: str
) -> None:
    error = refusal(read, text)
    assert error.rule == rule
    assert told in error.message


@pytest.mark.parametrize("cell", ["mass|mass", "mass|", "|", "none", "-|mass"])
def test_findings_that_are_none_are_refused(read: Read, cell: str) -> None:
    assert refusal(read, f"file,findings\na.png,{cell}\n", MULTI).rule == "labels-class"


def test_a_column_of_persons_is_no_subgroup(read: Read, data: Path) -> None:
    for number in range(33):
        (data / f"{number}.png").write_bytes(b"x")
    rows = "".join(f"{number}.png,benign,{PATIENT} {number}\n" for number in range(33))
    error = refusal(read, f"file,scores,name\n{rows}")
    assert error.rule == "labels-group"
    assert "column 3" in error.message
    assert refusal(read, f"file,scores,x\na.png,benign,{'y' * 65}\n").rule == "labels-group"


def test_a_file_that_is_not_there_is_told(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_labels(tmp_path / "none.csv", data, (SINGLE,))
    assert caught.value.rule == "labels-unreadable"


def test_no_link_leads_out_of_the_folder(read: Read, tmp_path: Path, data: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f.png").write_bytes(b"x")
    (data / "out.png").symlink_to(tmp_path / "outside/f.png")
    (data / "away").symlink_to(tmp_path / "outside")
    (data / "in.png").symlink_to(data / "a.png")
    for name in ("out.png", "away/f.png"):
        error = refusal(read, f"file,scores\n{name},benign\n")
        assert (error.rule, "leads out" in error.message) == ("labels-file", True)
    assert read("file,scores\nin.png,benign\n").files == ("in.png",)


def test_many_rows_take_no_time_to_speak_of(read: Read, data: Path) -> None:
    count = 5_000
    for number in range(count):
        (data / f"{number}.png").touch()
    rows = "".join(f"{number}.png,benign,{'AB'[number % 2]}\n" for number in range(count))
    start = time.process_time()
    assert len(read(f"file,scores,site\n{rows}").files) == count
    assert time.process_time() - start < 2.0  # takes 0.1


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.binary(max_size=200) | st.lists(CELLS, max_size=12).map("\n".join))
def test_any_file_is_read_or_refused_by_rule(read: Read, text: str | bytes) -> None:
    header = b"file,scores\n" if isinstance(text, bytes) else "file,scores\n"
    try:
        labels = read(header + text)  # type: ignore[operator]
    except UsageError as error:
        found = error.rule.startswith("labels-")
    else:
        found = len(labels.files) == len(labels.truth["scores"])
    assert found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(st.lists(CELLS.filter(lambda cell: "\0" not in cell), min_size=3, max_size=3))
def test_subgroup_values_come_back_as_the_csv_module_wrote_them(
    read: Read, values: list[str]
) -> None:
    stream = io.StringIO(newline="")
    rows = zip(["a.png", "b.png", "deeper/e.png"], ["benign"] * 3, values, strict=True)
    csv.writer(stream).writerows([("file", "scores", "group"), *rows])
    assert read(stream.getvalue()).groups["group"] == tuple(values)
