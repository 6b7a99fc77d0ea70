"""`medge results`: listed, shown, exported to other tools and back, and removed when meant."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace as with_
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from command_line import TOOL, Said, Typed
from msgspec.structs import replace
from profiled_results import profiled
from pytest_benchmark.stats import Stats
from stored_results import DEVICE, result

from medge.bench.exchange import decode, encode
from medge.bench.exchange_forms import pytest_benchmark
from medge.bench.result import Result
from medge.bench.selection import moment
from medge.bench.store import Store
from medge.engine.bundle import find_bundle, open_bundle
from medge.errors import UsageError
from medge.profiles.device import identity


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def keep(*results: Result) -> list[int]:
    with Store.open() as store:
        return [store.add(one) for one in results]


def kept() -> dict[int, Result]:
    with Store.open() as store:
        return dict(store.results())


def here(one: Result) -> Result:
    return replace(one, device_identity=identity())


def elsewhere(one: Result) -> Result:
    return replace(one, device_identity="arm", device=with_(DEVICE, name="Cortex-A78AE"))


def numbers(typed: Typed, *words: object) -> list[int]:
    said = typed("results", *words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["schema"], found["count"]) == ("medge.results/1", len(found["results"]))
    return [line["result"] for line in found["results"]]


def test_without_a_store_the_list_says_so(typed: Typed) -> None:
    said = typed("results")
    assert (said.code, said.err.split(":")[0]) == (6, "E6 results-none")


def test_results_are_listed_in_80_columns_the_newest_last(typed: Typed) -> None:
    keep(here(profiled(1)), elsewhere(profiled(2)), result(3), *(here(result(9)),) * 9)
    said = typed("results")
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [
        "result", "taken", "bundle", "run", "as", "p50", "ms", "p99", "ms", "on",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [str(number) for number in range(1, 13)]
    assert lines[1].endswith("here")
    assert "78AE" in lines[2]
    assert lines[3].split()[-4:-2] == ["540351", "-"]  # too few samples to bound p99


def test_filters_keep_what_fits_and_n_the_newest(typed: Typed) -> None:
    with open_bundle(find_bundle("breast-ultrasound")) as bundle:
        digest = bundle.digest
    new = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    ran = result(0).candidate
    assert ran is not None
    other = replace(ran, backend="openvino", variant="fp32", precision="bf16")
    keep(
        replace(profiled(1), bundle_sha256=digest),
        elsewhere(profiled(2)),
        here(replace(result(3), candidate=other, taken="2025-01-01T00:00:00Z")),
        replace(result(4), candidate=None, taken=new),
    )
    assert numbers(typed, "list", "--bundle", "breast-ultrasound") == [1]
    assert numbers(typed, "--bundle", digest[:8]) == [1]
    assert numbers(typed, "--device", "a78ae") == [2]
    assert numbers(typed, "--device", "here") == [3]
    assert numbers(typed, "--backend", "openvino") == [3]
    assert numbers(typed, "--precision", "bf16") == [3]
    assert numbers(typed, "--precision", "int8", "--device", "a CPU") == [1]
    assert numbers(typed, "--since", "1h") == [4]
    assert numbers(typed, "--since", "2026-01-01") == [1, 2, 4]
    assert numbers(typed, "-n", "2") == [3, 4]
    assert numbers(typed, "--backend", "none") == []


def test_ages_and_dates_are_moments_and_nothing_else_is() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    ages = {"12h": timedelta(hours=12), "90d": timedelta(days=90), "2w": timedelta(weeks=2)}
    for text, age in ages.items():
        assert moment(text, now) == (now - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert moment("2026-02-28") == "2026-02-28T00:00:00Z"
    for text in (
        "",
        "90",
        "-1d",
        "90 d",
        "1y",
        "2026-02-30",
        "2026-1-1x",
        "99999999d",
        "yesterday",
    ):
        with pytest.raises(UsageError) as refused:
            moment(text, now)
        assert refused.value.rule == "moment"


def test_one_result_that_cannot_be_read_hides_no_other(typed: Typed) -> None:
    keep(profiled(1), profiled(2))
    with Store.open() as store:
        store._connection.execute("UPDATE measurement SET stage = 'x' WHERE result = 1")
    assert numbers(typed) == [1, 2]
    said = typed("results")
    assert "results-damaged" in said.out.splitlines()[1]
    assert typed("results", "show", 1).code == 6
    assert typed("results", "prune", 1, "--yes").code == 0
    assert list(kept()) == [2]


@pytest.mark.parametrize("one", [profiled(1), result(1), replace(result(2), candidate=None)])
def test_a_page_shows_all_of_a_result_in_80_columns(typed: Typed, one: Result) -> None:
    keep(one)
    said = typed("results", "show", 1)
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    page = " ".join(said.out.split())
    assert "another machine" in page
    if one.sections is not None:
        for word in (
            "p50",
            "mJ",
            "spread",
            "missed",
            "cold start",
            "onnxruntime 1.23.0",
            "order 1",
        ):
            assert word in page
    found = json.loads(typed("results", "show", 1, "--json").out)
    assert found["result"]["measurements"][0]["samples_ns"] == list(one.measurements[0].samples_ns)


def test_words_of_foreign_results_cannot_drive_a_terminal(typed: Typed, tmp_path: Path) -> None:
    evil = "\x1b[2J\x07"
    one = profiled(2)
    assert one.sections is not None
    assert one.sections.evidence is not None
    evidence = replace(one.sections.evidence, bundle=f"{evil} 1", versions={evil: evil})
    one = replace(
        one,
        device=with_(DEVICE, name=evil),
        backend_version=evil,
        sections=replace(one.sections, evidence=evidence),
    )
    path = tmp_path / "a.json"
    path.write_bytes(encode(one))
    for words in (("import", path), ("list",), ("show", 1)):
        said = typed("results", *words)
        assert (said.code, "\x1b" in said.out) == (0, False)


def imported(typed: Typed, *files: Path) -> tuple[int, list[tuple[str, int | None, str | None]]]:
    said = typed("results", "import", *files, "--json")
    found = json.loads(said.out)
    assert found["exit_code"] == said.code
    outcomes = [(one["outcome"], one["result"], one["rule"]) for one in found["documents"]]
    return said.code, outcomes


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_what_is_exported_comes_back_equal(typed: Typed, tmp_path: Path, form: str) -> None:
    many = [here(profiled(1)), elsewhere(profiled(2)), result(3)]
    keep(*many)
    path = tmp_path / "out"
    assert typed("results", "export", 1, 2, 3, "--format", form, "-o", path).code == 0
    first = path.read_bytes()
    assert typed("results", "prune", 1, 2, 3, "--yes").code == 0
    expected = [("added", number, None) for number in (4, 5, 6)]
    assert imported(typed, path) == (0, expected)
    assert list(kept().values()) == many
    assert typed("results", "export", 4, 5, 6, "--format", form, "-o", path).code == 0
    assert path.read_bytes() == first


def test_one_exported_result_is_one_document(typed: Typed) -> None:
    keep(profiled(1))
    assert decode(typed("results", "export", 1).out.encode(), "a") == profiled(1)


def test_what_is_there_is_not_added_again_and_bad_files_do_not_stop_good_ones(
    typed: Typed, tmp_path: Path
) -> None:
    keep(result(1))
    paths = [tmp_path / name for name in ("old", "bad", "new")]
    raws = (encode(result(1)), encode(result(2)).replace(b"avx2", b"avx3"), encode(result(2)))
    for path, raw in zip(paths, raws, strict=True):
        path.write_bytes(raw)
    refused = ("refused", None, "document-damaged")
    missing = ("refused", None, "not-found")
    found = imported(typed, *paths, tmp_path / "none", paths[2])
    expected = [
        ("already-there", 1, None), refused, ("added", 2, None), missing, ("already-there", 2, None)
    ]  # fmt: skip
    assert found == (3, expected)
    assert kept() == {1: result(1), 2: result(2)}
    page = typed("results", "import", paths[1]).out
    assert "refused:" in page
    assert "document-damaged" in page


def test_results_of_other_machines_are_marked(typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode(here(result(1))) + encode(elsewhere(result(2))))
    page = " ".join(typed("results", "import", path).out.split())
    assert "added as 1 of this machine" in page
    assert "added as 2 of another machine: Cortex-A78AE" in page


def test_a_spreadsheet_has_one_row_a_stage_or_a_sample(typed: Typed) -> None:
    keep(profiled(1), result(2))
    said = typed("results", "export", 1, 2, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [row["stage"] for row in rows] == ["infer", "file-to-decision", "infer", "decode"]
    assert float(rows[0]["energy_net_mj"]) > 0
    assert (rows[2]["energy_net_mj"], rows[2]["p99_high_ns"]) == ("", "")
    said = typed("results", "export", 1, "--format", "csv", "--samples")
    times = [int(row["time_ns"]) for row in csv.DictReader(io.StringIO(said.out))]
    assert times == [ns for taken in profiled(1).measurements for ns in taken.samples_ns]
    assert typed("results", "export", 1, "--samples").code == 2


def test_pytest_benchmark_compares_what_was_exported(typed: Typed, tmp_path: Path) -> None:
    """The tool itself reads it: as a table, and between files."""
    keep(profiled(1), profiled(2, 5.5))
    for number in (1, 2):
        path = tmp_path / f"{number}.json"
        words = ("--format", "pytest-benchmark", "-o", path)
        assert typed("results", "export", number, *words).code == 0
    tool = Path(sys.executable).with_name("pytest-benchmark")
    for options in ("--csv=out.csv", "--between=median"):
        done = subprocess.run(
            [tool, "compare", "1.json", "2.json", options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Failed to load" not in done.stdout + done.stderr
        assert "infer[onnxruntime-int8]" in done.stdout
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 4
    medians = sorted(float(row["median"]) for row in rows)
    assert medians[0] == pytest.approx(4.992e-3, rel=1e-3)


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 6, 7, 101])
def test_figures_for_pytest_benchmark_are_those_it_computes_itself(samples: int) -> None:
    one = profiled(3, samples=samples)
    for entry in pytest_benchmark([(1, one)], "0.1.0")["benchmarks"]:
        theirs = Stats()
        for value in entry["stats"]["data"]:
            theirs.update(value)
        for name, value in theirs.as_dict().items():
            assert entry["stats"][name] == pytest.approx(value), name


@pytest.mark.parametrize(
    "words",
    [(), ("1", "--keep", "1"), ("--keep", "1", "--older-than", "1d"), ("--keep", "-1"),
     ("--older-than", "never"), ("9", "--yes"), ("1",), ("--keep", "0")],
)  # fmt: skip
def test_nothing_is_removed_by_mistake(typed: Typed, words: tuple[str, ...]) -> None:
    keep(result(1), result(2))
    said = typed("results", "prune", *words)
    assert (said.code, said.out) == (2, "")
    assert list(kept()) == [1, 2]


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("1", "3"), [2, 4]),
        (("--keep", "1"), [4]),
        (("--keep", "0"), []),
        (("--keep", "9"), [1, 2, 3, 4]),
        (("--older-than", "2026-01-01"), [1, 2, 4]),
        (("--older-than", "2024-06-01"), [1, 2, 3, 4]),
    ],
)
def test_what_was_named_is_removed_and_said(
    typed: Typed, words: tuple[str, ...], left: list[int]
) -> None:
    keep(*(result(seed, 2000) for seed in (1, 2)))
    keep(replace(result(3, 2000), taken="2025-01-01T00:00:00Z"), result(4, 2000))
    found = json.loads(typed("results", "prune", *words, "--yes", "--json").out)
    assert found["removed"] == [number for number in (1, 2, 3, 4) if number not in left]
    assert list(kept()) == left
    if found["removed"]:
        assert found["after_bytes"] < found["before_bytes"]
    page = typed("results", "prune", "--keep", "4", "--yes").out
    assert "none" in page


def answer(text: str) -> Said:
    """Type the command at a terminal, and answer its question."""
    leader, follower = pty.openpty()
    command = [str(TOOL), "results", "prune", "--keep", "1"]
    with subprocess.Popen(command, stdin=follower, stdout=subprocess.PIPE, stderr=follower) as done:
        os.close(follower)
        os.write(leader, text.encode())
        assert done.stdout is not None
        out = done.stdout.read().decode()
        err = b""
        try:
            while some := os.read(leader, 4096):
                err += some
        except OSError:  # how a terminal says that everybody has left
            pass
    os.close(leader)
    return Said(done.returncode, out, err.decode())


def test_a_terminal_is_asked_after_saying_what_goes() -> None:
    keep(result(1), result(2))
    said = answer("n\n")
    assert (said.code, said.out) == (0, "")
    assert "Remove 1 results for good?" in said.err
    assert "nothing was removed" in said.err
    assert list(kept()) == [1, 2]
    assert answer("y\n").code == 0
    assert list(kept()) == [2]
