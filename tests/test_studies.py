"""The 80 studies of the review: each row is valid, joins the catalog, and adds up to its counts."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from medge.errors import UsageError
from medge.profiles.study import Study, find_study, gpus_of, impossible, studies, studies_on
from medge.profiles.target import targets

SURVEY = Path(__file__).parents[2] / "shared/review/studies.csv"


def all_studies() -> list[Study]:
    return list(studies().values())


def test_every_reference_of_the_review_is_there_once() -> None:
    assert list(studies()) == list(range(28, 108))


def test_every_device_of_a_study_is_in_the_catalog_and_names_it_back() -> None:
    for study in all_studies():
        named = {*study.gpus, *([study.cpu] if study.cpu else [])}
        assert {*named, *study.gpu_alternatives} <= set(targets())
        assert {target.id for target in targets().values() if study.ref in target.refs} == named


def test_kinds_are_not_mixed_up() -> None:
    for study in all_studies():
        assert all(gpu.kind == "gpu" for gpu in gpus_of(study))
        assert study.cpu is None or targets()[study.cpu].kind == "cpu"


@pytest.mark.parametrize(
    ("fact", "count"),
    [  # the table "Hardware" of the survey of the review
        (lambda study: study.hardware_named, 50),
        (lambda study: bool(study.gpus), 45),
        (lambda study: bool(study.cpu or study.cpu_stated), 25),
        (lambda study: study.cpu is not None, 10),
        (lambda study: study.ram_gb_stated is not None, 27),
        (lambda study: study.gpu_memory_gb_stated is not None, 26),
        (lambda study: study.training_h_low is not None or study.inference_ms is not None, 7),
        (lambda study: (study.gpu_count or 0) > 1, 5),
        (lambda study: not study.frameworks, 24),
    ],
)
def test_the_hardware_named_adds_up(fact: object, count: int) -> None:
    assert callable(fact)
    assert sum(map(fact, all_studies())) == count


def test_studies_with_hardware_but_no_named_gpu() -> None:
    found = [study.ref for study in all_studies() if study.hardware_named and not study.gpus]
    assert found == [40, 50, 87, 101, 107]


def test_the_architectures_of_the_gpus_add_up() -> None:
    counts = Counter(
        name for study in all_studies() for name in {gpu.architecture for gpu in gpus_of(study)}
    )
    assert counts == {
        "Kepler": 2,
        "Maxwell": 7,
        "Pascal": 21,
        "Volta": 5,
        "Turing": 10,
        "Ampere": 1,
    }


def test_the_real_memory_of_the_gpus_adds_up() -> None:
    largest = Counter(
        max(gpu.memory_gb or 0 for gpu in gpus_of(study)) for study in all_studies() if study.gpus
    )
    assert largest == {2: 4, 4: 2, 5: 2, 6: 1, 8: 7, 11: 7, 12: 11, 16: 8, 24: 2, 32: 1}


def test_every_stated_memory_that_the_card_does_not_have_is_told_as_impossible() -> None:
    told = {row.ref: row for row in impossible() if row.field == "gpu_memory"}
    assert set(told) == {37, 41, 75, 86, 89, 92, 93, 98}
    for study in all_studies():
        if not study.gpus or study.gpu_memory_gb_stated is None:
            continue
        [gpu] = gpus_of(study)
        assert (gpu.memory_gb == study.gpu_memory_gb_stated) == (study.ref not in told)
        if study.ref in told:
            assert told[study.ref].stated == f"{study.gpu_memory_gb_stated:g} GB"
            assert told[study.ref].real == f"{gpu.memory_gb:g} GB"
            assert told[study.ref].device == gpu.id


def test_every_impossible_statement_belongs_to_a_study() -> None:
    for row in impossible():
        study = find_study(row.ref)
        assert row.device is None or row.device in {*study.gpus, study.cpu}


def test_studies_are_found_by_their_device() -> None:
    assert [study.ref for study in studies_on(targets()["nvidia-tesla-t4"])] == [62, 105]


@pytest.mark.parametrize("typed", ["27", "108", "-28", "twenty", "", "٧٣", "9" * 9000])
def test_a_number_that_is_no_study_is_refused_with_the_range(typed: str) -> None:
    with pytest.raises(UsageError, match="28 to 107") as caught:
        find_study(typed)
    assert caught.value.rule == "study"


def test_no_column_repeats_the_words_of_the_reviews_table() -> None:
    if not SURVEY.exists():
        pytest.skip("the survey of the review is not beside this checkout")
    shipped = (Path(__file__).parents[1] / "profiles/data/studies.csv").read_text("utf-8")
    with SURVEY.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for name in ("gpu_raw", "cpu_raw", "training_time_raw", "inference_time_raw"):
                cell = row[name]
                if len(cell.split()) >= 4 and cell not in {
                    row["gpu"],
                    row["cpu"],
                }:  # names of products
                    assert cell not in shipped, row["ref"]
