"""`medge targets`: the list, one device with its source, and what is near this machine."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Typed

from medge.profiles.target import targets


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def listed(typed: Typed, *words: str) -> list[str]:
    said = typed("targets", *words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["schema"] == "medge.targets/1"
    assert found["count"] == len(found["targets"])
    return [target["id"] for target in found["targets"]]


def test_without_a_verb_every_device_is_listed(typed: Typed) -> None:
    assert sorted(listed(typed)) == sorted(targets())
    assert listed(typed) == listed(typed, "list")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--in-review",),
        ("show", "nvidia-gtx-1080-ti"),
        ("show", "nvidia-jetson-agx-orin-64gb"),
        ("match",),
    ],
)
def test_every_page_fits_80_columns(typed: Typed, words: tuple[str, ...]) -> None:
    said = typed("targets", *words)
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80


def test_an_id_in_the_list_is_whole_so_that_it_can_be_copied(typed: Typed) -> None:
    ids = [line.split()[0] for line in typed("targets").out.splitlines()[2:]]
    assert set(targets()) <= set(ids)


def test_the_list_says_that_its_figures_are_published(typed: Typed) -> None:
    assert "published" in typed("targets").out
    assert json.loads(typed("targets", "--json").out)["figures"].startswith("published")


def test_filters_narrow_the_list(typed: Typed) -> None:
    turing = listed(typed, "--arch", "turing")
    assert {targets()[one].architecture for one in turing} == {"Turing"}
    assert set(listed(typed, "--arch", "7.5")) == set(turing)
    large = listed(typed, "--min-memory", "24", "--kind", "gpu")
    assert all((targets()[one].memory_gb or 0) >= 24 for one in large)
    assert "nvidia-l4" in large
    assert len(listed(typed, "--in-review")) == 37
    assert len(listed(typed, "--in-review", "--kind", "cpu")) == 9
    assert {targets()[one].vendor for one in listed(typed, "--vendor", "intel")} == {"Intel"}


def test_devices_of_one_architecture_stand_together_gpus_first(typed: Typed) -> None:
    order = [
        (targets()[one].kind, targets()[one].vendor, targets()[one].architecture)
        for one in listed(typed)
    ]
    seen = list(dict.fromkeys(order))
    assert order == sorted(order, key=seen.index)
    assert seen[0] == ("gpu", "NVIDIA", "Kepler")


def test_a_spreadsheet_gets_every_column(typed: Typed) -> None:
    rows = list(csv.DictReader(io.StringIO(typed("targets", "--format", "csv").out)))
    row = next(row for row in rows if row["id"] == "nvidia-gtx-1080-ti")
    assert (row["cores"], row["memory_gb"], row["refs"]) == ("3584", "11.0", "48;79;81;82;86")
    assert row["confidence"] == "high"


@pytest.mark.parametrize("option", [("--arch", "Fermi"), ("--vendor", "Voodoo")])
def test_a_filter_that_nothing_has_is_refused_with_what_there_is(
    typed: Typed, option: tuple[str, str]
) -> None:
    said = typed("targets", *option)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("E2 filter: ")
    assert "Choose one of them" in said.err


@pytest.mark.parametrize(
    "words",
    [("--min-memory", "5000"), ("--arch", "Volta", "--kind", "cpu")],
)
def test_filters_that_no_device_fits_are_refused(typed: Typed, words: tuple[str, ...]) -> None:
    said = typed("targets", *words)
    assert (said.code, said.out) == (2, "")
    assert "None of the" in said.err


@pytest.mark.parametrize(
    "told",
    [
        "NVIDIA GeForce GTX 1080 Ti",
        "11.34 TFLOPS",
        "11 GB",
        "484.4 GB/s",
        "NVIDIA Turing",
        "high, as of",
        "Ma H 2021",
        "stated 16 GB, really 11 GB",
    ],
)
def test_a_device_is_shown_with_its_source_and_who_used_it(typed: Typed, told: str) -> None:
    said = typed("targets", "show", "nvidia-gtx-1080-ti", "--format", "csv")
    assert said.code == 0
    assert told in said.out


def test_a_program_gets_one_device_with_its_studies(typed: Typed) -> None:
    found = json.loads(typed("targets", "show", "nvidia-gtx-1080-ti", "--json").out)
    assert found["schema"] == "medge.target/1"
    assert found["target"]["fp32_tflops"] == 11.34
    assert [study["ref"] for study in found["studies"]] == [48, 79, 81, 82, 86]
    assert [row["ref"] for row in found["impossible"]] == [79, 86]


def test_a_part_of_a_module_names_the_others(typed: Typed) -> None:
    found = json.loads(typed("targets", "show", "intel-arc-155h", "--json").out)
    assert found["same_module"] == ["intel-core-ultra-7-155h"]


def test_an_unknown_device_is_refused_with_the_nearest(typed: Typed) -> None:
    said = typed("targets", "show", "jetson-orin-nx")
    assert (said.code, said.out) == (2, "")
    assert "nvidia-jetson-orin-nx-16gb" in said.err
    assert "`medge targets` lists all" in said.err


@pytest.mark.parametrize(
    "words", [("bogus",), ("show",), ("--min-memory", "much"), ("--kind", "x")]
)
def test_a_wrong_word_is_a_usage_error(typed: Typed, words: tuple[str, ...]) -> None:
    assert typed("targets", *words).code == 2


def test_this_machine_is_matched_part_by_part(typed: Typed) -> None:
    found = json.loads(typed("targets", "match", "--json").out)
    assert found["schema"] == "medge.match/1"
    cpu = found["parts"][0]
    assert cpu["part"] == "cpu"
    assert cpu["found"]["name"]
    for match in cpu["matches"]:
        assert match["id"] in targets()
        assert match["exact"] == ("name" in match["same"])
    assert "this machine" in typed("targets", "match").out


def test_a_page_can_be_written_to_a_file(typed: Typed, tmp_path: Path) -> None:
    said = typed("targets", "show", "nvidia-l4", "--json", "-o", tmp_path / "page.json")
    assert (said.code, said.out) == (0, "")
    assert json.loads((tmp_path / "page.json").read_text())["target"]["id"] == "nvidia-l4"


@pytest.mark.parametrize("form", ["md", "csv", "jsonl"])
def test_other_formats_hold_the_same(typed: Typed, form: str) -> None:
    assert "nvidia-l4" in typed("targets", "--format", form).out
    assert "300.1" in typed("targets", "show", "nvidia-l4", "--format", form).out
