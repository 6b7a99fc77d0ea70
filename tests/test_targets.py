"""The catalog of devices: every row is whole, plausible, and agrees with itself and the vendors."""

from __future__ import annotations

from pathlib import Path

import pytest

from medge.errors import UsageError
from medge.profiles.target import Target, find_target, read_targets, targets

HEADER = "id,kind,vendor,name,architecture,cores,source,confidence,date"
ROW = "one,gpu,Maker,One,Turing,64,a data sheet,high,2026-11-21"


def catalog() -> list[Target]:
    return list(targets().values())


def computing_gpus() -> list[Target]:
    return [target for target in catalog() if target.kind == "gpu" and target.fp32_tflops]


def test_the_61_devices_of_the_review_are_there() -> None:
    from medge.profiles.target import FOLDER

    rows = [target for _, target in read_targets(FOLDER / "review.csv")]
    assert len(rows) == 61
    assert [row.kind for row in rows].count("gpu") == 46
    assert sum(row.in_review for row in rows) == 37
    assert sum(row.in_review and row.kind == "gpu" for row in rows) == 28


def test_a_device_has_refs_exactly_when_the_review_names_it() -> None:
    for target in catalog():
        assert target.in_review == bool(target.refs), target.id
        assert all(28 <= ref <= 107 for ref in target.refs), target.id


@pytest.mark.parametrize("target", computing_gpus(), ids=lambda target: target.id)
def test_a_gpu_computes_two_operations_a_core_and_clock(target: Target) -> None:
    assert target.boost_clock_mhz is not None
    expected = 2 * target.cores * target.boost_clock_mhz * 1e6 / 1e12
    assert target.fp32_tflops == pytest.approx(expected, rel=0.002)
    if target.fp32_tflops_at_base is not None:
        assert target.base_clock_mhz is not None
        expected = 2 * target.cores * target.base_clock_mhz * 1e6 / 1e12
        assert target.fp32_tflops_at_base == pytest.approx(expected, rel=0.002)


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean nvidia-quadro-p5000") as caught:
        find_target("p5000")
    assert caught.value.rule == "target"


@pytest.mark.parametrize("typed", ["nvidia-quadro-p5000", " NVIDIA-Quadro-P5000"])
def test_an_id_is_found_in_any_case(typed: str) -> None:
    assert find_target(typed).memory_gb == 16


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (ROW.replace(",64,", ",many,"), "int"),
        (ROW.replace(",64,", ",0,"), ">= 1"),
        (ROW.replace("high", "certain"), "certain"),
        (ROW.replace("gpu", "toaster"), "toaster"),
        (ROW.replace("one,", "One device,"), "id"),
        (ROW.replace("a data sheet", ""), "source"),
        (ROW.replace("2026-11-21", "yesterday"), "date"),
        (f"{ROW},surplus", "one.csv:2"),
    ],
)
def test_a_row_that_is_wrong_is_named_with_file_and_line(
    tmp_path: Path, row: str, why: str
) -> None:
    path = tmp_path / "one.csv"
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.csv:2") as caught:
        list(read_targets(path))
    assert why in str(caught.value)


def test_a_column_that_no_one_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(f"{HEADER},colour\n{ROW},green\n", encoding="utf-8")
    with pytest.raises(ValueError, match="colour"):
        list(read_targets(path))
