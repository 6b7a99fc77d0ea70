"""`medge studies`: the studies as a list, one of them whole, and the review's shares."""

from __future__ import annotations

import csv
import io
import json

import pytest
from command_line import Typed


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def listed(typed: Typed, *words: str) -> list[int]:
    said = typed("studies", *words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["schema"] == "medge.studies/1"
    assert "10.1186/s12880-025-01701-5" in found["source"]
    return [study["ref"] for study in found["studies"]]


def test_without_a_verb_every_study_is_listed_in_order(typed: Typed) -> None:
    assert listed(typed) == list(range(28, 108))


@pytest.mark.parametrize(
    "words", [(), ("show", "105"), ("show", "95"), ("show", "40"), ("summary",)]
)
def test_every_page_fits_80_columns(typed: Typed, words: tuple[str, ...]) -> None:
    said = typed("studies", *words)
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80


def test_filters_narrow_the_list_together(typed: Typed) -> None:
    assert len(listed(typed, "--modality", "mri")) == 29
    assert len(listed(typed, "--organ", "Lungs")) == 27
    assert listed(typed, "--model", "efficientnetb0") == [98]
    assert listed(typed, "--model", "VGG16", "--modality", "ultrasound") == [84, 85]
    assert listed(typed, "--disease", "tuberculosis") == [51, 94, 95, 96]
    assert len(listed(typed, "--model", "hybrid")) == 17


def test_filters_that_no_study_fits_are_refused_with_what_each_finds(typed: Typed) -> None:
    said = typed("studies", "--disease", "glioma", "--organ", "liver")
    assert (said.code, said.out) == (2, "")
    assert "--disease 'glioma' alone 2, --organ 'liver' alone 5" in said.err


def test_a_spreadsheet_gets_every_column(typed: Typed) -> None:
    rows = list(csv.DictReader(io.StringIO(typed("studies", "--format", "csv").out)))
    row = next(row for row in rows if row["ref"] == "105")
    assert row["gpus"] == "nvidia-tesla-t4;nvidia-tesla-p100-pcie-16gb"


@pytest.mark.parametrize(
    "told",
    [
        "Ma H, 2021",
        "Ultrasound, mammary gland",
        "NVIDIA GeForce GTX 1080 Ti",
        "with 11 GB",
        "Intel Core i7-8700K",
        "stated 16 GB, really 11 GB",
        "92 %",
        "BMC Medical Imaging",
    ],
)
def test_a_study_is_shown_with_what_is_stated_and_what_is_real(typed: Typed, told: str) -> None:
    said = typed("studies", "show", "86", "--format", "csv")
    assert said.code == 0
    assert told in said.out


def test_a_study_with_two_gpus_names_both(typed: Typed) -> None:
    found = json.loads(typed("studies", "show", "105", "--json").out)
    assert found["schema"] == "medge.study/1"
    assert [target["id"] for target in found["targets"]] == [
        "nvidia-tesla-t4",
        "nvidia-tesla-p100-pcie-16gb",
    ]


def test_an_ambiguous_gpu_names_the_other_reading(typed: Typed) -> None:
    assert "nvidia-titan-x-pascal" in typed("studies", "show", "64", "--format", "csv").out


@pytest.mark.parametrize("ref", ["5", "x", "28.0"])
def test_an_unknown_study_is_refused_with_the_range(typed: Typed, ref: str) -> None:
    said = typed("studies", "show", ref)
    assert (said.code, said.out) == (2, "")
    assert "28 to 107" in said.err


def test_the_summary_shows_counts_beside_the_printed_shares(typed: Typed) -> None:
    said = typed("studies", "summary", "--format", "csv").out
    rows = {(row["group"], row["what"]): row for row in csv.DictReader(io.StringIO(said))}
    assert rows["modality", "MRI"]["counted"] == "29/80, 36.2 %"
    assert rows["modality", "MRI"]["review"] == "35 %, 28"
    assert rows["modality", "MRI"]["difference"].startswith("differs. ")
    assert rows["organ", "lungs"]["difference"] == ""


def test_a_program_gets_every_share_with_its_studies(typed: Typed) -> None:
    found = json.loads(typed("studies", "summary", "--json").out)
    assert found["schema"] == "medge.study-summary/1"
    pascal = next(share for share in found["shares"] if share["what"] == "Pascal")
    assert (pascal["count"], pascal["of"], len(pascal["refs"])) == (21, 45, 21)
    assert pascal["agrees"] is None
