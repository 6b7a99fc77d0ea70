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


@pytest.mark.parametrize(
    "target", [t for t in catalog() if t.headline_fp32_tflops], ids=lambda target: target.id
)
def test_a_gpu_agrees_with_its_vendor_within_3_percent(target: Target) -> None:
    assert target.headline_source
    assert target.fp32_tflops == pytest.approx(target.headline_fp32_tflops, rel=0.03)


# Against FP32: FP16 without matrix units, FP16 with them, INT8 (docs/targets.md, "Rates").
RATES: dict[str, tuple[float | None, float | None, float | None]] = {
    "3.7": (None, None, None),
    "5.0": (None, None, None),
    "5.2": (None, None, None),
    "5.3": (2, None, None),
    "6.0": (2, None, None),
    "6.1": (1 / 64, None, 4),
    "6.2": (2, None, None),
    "7.0": (2, 8, 4),
    "7.2": (2, 8, 16),
    "7.5": (2, 8, 16),
    "8.0": (4, 16, 32),
    "8.6": (1, 4, 8),
    "8.7": (2, 8, 16),
    "8.9": (1, 4, 8),
    "9.0": (2, 16, 32),
    "11.0": (None, 32, 64),
    "12.0": (1, 4, 8),
}
WITHOUT_MATRIX_UNITS = {"nvidia-t400-4gb", "nvidia-t1000-8gb"}  # TU117
MATRIX_CLOCK = {"nvidia-h100-sxm": 1830 / 1980, "nvidia-h200": 1830 / 1980}  # as NVIDIA counts


@pytest.mark.parametrize(
    "target", [t for t in computing_gpus() if t.compute_capability], ids=lambda target: target.id
)
def test_the_other_rates_follow_from_the_compute_capability(target: Target) -> None:
    assert target.compute_capability is not None
    assert target.fp32_tflops is not None
    fp16, matrix, int8 = RATES[target.compute_capability]
    if target.id in WITHOUT_MATRIX_UNITS:
        matrix, int8 = None, 4
    clock = MATRIX_CLOCK.get(target.id, 1)
    found = (target.fp16_tflops, target.tensor_fp16_tflops, target.int8_tops)
    rates = (fp16, matrix and matrix * clock, int8 and int8 * clock)
    for value, rate in zip(found, rates, strict=True):
        expected = None if rate is None else pytest.approx(target.fp32_tflops * rate, rel=0.005)
        assert value == expected
    full = target.tensor_fp16_tflops
    assert target.tensor_fp16_fp32acc_tflops in (
        (None,) if full is None else (pytest.approx(full), pytest.approx(full / 2, rel=0.002))
    )


@pytest.mark.parametrize("target", catalog(), ids=lambda target: target.id)
def test_a_row_is_plausible(target: Target) -> None:
    if target.kind == "gpu":
        assert target.boost_clock_mhz is not None
        assert 300 <= target.boost_clock_mhz <= 3000
        assert target.threads is None
        assert (target.compute_capability is not None) == (target.vendor == "NVIDIA")
    else:
        assert target.threads is not None
        assert target.cores <= target.threads <= 2 * target.cores
        assert target.isa
        assert 1000 <= (target.boost_clock_mhz or 0) <= 6500
    assert (target.base_clock_mhz or 0) <= (target.boost_clock_mhz or 0)
    assert target.memory_bandwidth_gb_s is not None
    assert 5 <= target.memory_bandwidth_gb_s <= 8000
    assert target.fp32_tflops is not None
    assert 0.01 <= target.fp32_tflops <= 200
    assert 1 <= (target.tdp_w or 100) <= 1000


@pytest.mark.parametrize(
    "wanted",
    [
        *("nvidia-jetson-orin-nano-4gb", "nvidia-jetson-orin-nano-4gb-super"),
        *("nvidia-jetson-orin-nx-8gb", "nvidia-jetson-orin-nx-16gb-super"),
        *("nvidia-jetson-agx-orin-32gb", "nvidia-jetson-agx-orin-64gb-15w"),
        *("nvidia-jetson-agx-orin-64gb-30w", "nvidia-jetson-agx-orin-64gb-50w"),
        *("nvidia-jetson-thor-t4000", "nvidia-jetson-thor-t5000"),
        *("intel-core-ultra-7-155h", "intel-arc-155h", "intel-core-ultra-7-258v"),
        *("intel-arc-140v-258v", "intel-core-ultra-7-255h", "intel-arc-140t-255h"),
        *("intel-n100", "intel-n97", "intel-core-i3-n305", "intel-atom-x7433re"),
        *("intel-iris-xe-i5-1145g7e", "intel-arc-a380", "intel-arc-a770-16gb", "intel-arc-b580"),
        *("nvidia-l4", "nvidia-a2", "nvidia-rtx-a2000-6gb", "nvidia-rtx-4060", "nvidia-rtx-5090"),
        *("nvidia-rtx-a400", "nvidia-rtx-a1000", "nvidia-rtx-2000-ada", "nvidia-l40s"),
    ],
)
def test_what_integrators_buy_now_is_there(wanted: str) -> None:
    assert find_target(wanted).id == wanted


def test_a_jetsons_modes_are_parts_of_one_module() -> None:
    modes = [target for target in catalog() if target.module == "jetson-agx-orin-64gb"]
    assert {target.tdp_w for target in modes} == {15, 30, 50, 60}
    assert {target.kind for target in modes} == {"gpu", "cpu"}


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
