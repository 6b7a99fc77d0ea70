"""`medge estimate`: every number is labelled, and what cannot be told says why."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import Typed

from medge.profiles.target import targets


@pytest.fixture
def medge(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("COLUMNS", "80")
    return Typed(monkeypatch, capfd)


def measured(folder: Path, *rows: str, head: str = "") -> Path:
    path = folder / "rows.csv"
    head = head or "network,batch,precision,runtime,latency_ms"
    path.write_text("\n".join((head, *rows)) + "\n", encoding="utf-8")
    return path


def test_a_network_on_a_device_is_one_page_of_labelled_figures(medge: Typed) -> None:
    said = medge("estimate", "resnet50", "--target", "nvidia-quadro-p5000")
    assert said.code == 0
    for told in ("estimated", "80 % interval", "bound by", "at least", "upper bound", "toolchain"):
        assert told in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_a_built_in_bundle_is_estimated_from_its_own_layers(medge: Typed) -> None:
    said = medge("estimate", "chest-x-ray", "--target", "nvidia-jetson-orin-nano-8gb", "--json")
    found = json.loads(said.out)
    assert found["figures"] == "estimated"
    assert found["networks"][0]["name"].startswith("chest-x-ray")
    (one,) = found["estimates"]
    assert one["target"] == "nvidia-jetson-orin-nano-8gb"
    low, high = one["interval_80_ms"]
    assert 0 < low < one["latency_ms"] < high


def test_a_network_far_from_all_that_was_measured_has_a_reason_and_no_number(
    medge: Typed, tmp_path: Path
) -> None:
    said = medge("estimate", tiny_bundle(tmp_path), "--target", "nvidia-l4")
    assert said.code == 0
    assert "no estimate" in said.out
    assert "far beyond" in " ".join(said.out.split())
    assert " ms" not in said.out


def test_study_73_without_a_bundle_is_vgg16_on_a_quadro_p5000_and_here(medge: Typed) -> None:
    said = medge("estimate", "--study", "73", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert [one["name"] for one in found["networks"]] == ["VGG-16"]
    assert {one["target"] for one in found["estimates"]} >= {"nvidia-quadro-p5000"}
    where = {
        one.get("target", one.get("what"))
        for part in ("estimates", "abstentions")
        for one in found[part]
    }
    assert "this-machine" in where


def test_a_study_with_a_bundle_is_that_bundle_on_the_studys_hardware(medge: Typed) -> None:
    found = json.loads(medge("estimate", "resnet18", "--study", "73", "--json").out)
    assert [one["name"] for one in found["networks"]] == ["ResNet-18"]
    assert "nvidia-quadro-p5000" in {one["target"] for one in found["estimates"]}


def test_a_study_of_its_own_network_abstains_with_the_reason(medge: Typed) -> None:
    said = medge("estimate", "--study", "46")
    assert said.code == 0
    assert "genetic-dcnn: its layers were found by a search" in " ".join(said.out.split())
    assert "80 % interval" not in said.out


def test_an_assumption_about_a_study_is_told(medge: Typed) -> None:
    said = medge("estimate", "--study", "80")
    assert "ResNet-50 stands for it" in " ".join(said.out.split())


def test_all_devices_are_there_once_the_fastest_first(medge: Typed) -> None:
    said = medge("estimate", "resnet50", "--all", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert sorted(row["target"] for row in rows) == sorted(targets())
    timed = [float(row["latency_ms"]) for row in rows if row["latency_ms"]]
    assert timed == sorted(timed)
    for row in rows:
        assert (row["figures"] == "estimated") == bool(row["latency_ms"])
        assert bool(row["reason"]) != bool(row["latency_ms"])
        if row["latency_ms"]:
            low, middle, high = (float(row[name]) for name in ("low_ms", "latency_ms", "high_ms"))
            assert low < middle < high


def test_the_table_of_all_devices_fits_a_narrow_screen(medge: Typed) -> None:
    said = medge("estimate", "resnet50", "--all", "--fps", "100")
    assert max(map(len, said.out.splitlines())) <= 80
    assert "100 fps" in said.out
    assert "Estimated, not measured" in said.out
    lines = said.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("device"))
    assert all(lines[first + 1 + i].split()[0] in targets() for i in range(100))


def test_a_runtime_by_name_leaves_the_reasons_of_the_others(medge: Typed) -> None:
    said = medge("estimate", "resnet50", "--all", "--runtime", "tensorrt", "--format", "md")
    assert "No estimate:" in said.out
    assert "tensorrt does not run on a Intel cpu" in " ".join(said.out.split())


def test_measured_rows_shift_and_narrow_the_estimate(medge: Typed, tmp_path: Path) -> None:
    words = ("estimate", "resnet50", "--target", "intel-core-i7-8700k", "--runtime", "openvino")
    (plain,) = json.loads(medge(*words, "--json").out)["estimates"]
    slow = 2.0 * plain["latency_ms"]
    rows = measured(tmp_path, f"resnet50,1,fp32,openvino,{slow}")
    (found,) = json.loads(medge(*words, "--calibrate", rows, "--json").out)["estimates"]
    assert plain["latency_ms"] < found["latency_ms"] <= slow
    assert found["measured_rows"] == 1
    assert "1 row measured" in medge(*words, "--calibrate", rows).out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--target ID, --all, --study REF"),
        (("--all", "--study", "73"), "--target ID, --all, --study REF"),
        (("--target", "nvidia-l4", "--all"), "--target ID, --all, --study REF"),
        (("--all", "--calibrate", "x.csv"), "--calibrate needs --target"),
        (("--target", "nvidia-quadro-p500"), "nvidia-quadro-p5000"),
        (("--study", "12"), "28 to 107"),
        (("resnet50", "--target", "nvidia-l4", "--precision", "bf16"), "estimate-precision"),
        (("resnet50", "--target", "nvidia-l4", "--runtime", "cafe"), "estimate-runtime"),
        (("resnet50", "--target", "nvidia-l4", "--batch", "0"), "--batch"),
        (("resnet50", "--target", "nvidia-l4", "--fps", "0"), "--fps"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_next_step(
    medge: Typed, words: tuple[str, ...], told: str
) -> None:
    said = medge("estimate", *words)
    assert said.code == 2
    assert told in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("head", "row", "rule"),
    [
        ("network,batch,latency_ms", "resnet50,1,3", "measured-columns"),
        ("batch,precision,runtime,latency_ms", "1,fp32,openvino,3", "measured-columns"),
        ("", "resnet50,one,fp32,openvino,3", "measured-row"),
        ("", "resnet50,1,fp32,openvino", "measured-row"),
        ("", ",1,fp32,openvino,3", "measured-row"),
        ("", "resnet50,1,fp32,openvino,-3", "estimate-measured"),
        ("", "resnet50,1,fp32,openvino,nan", "estimate-measured"),
    ],
)
def test_rows_that_calibrate_nothing_are_refused(
    medge: Typed, tmp_path: Path, head: str, row: str, rule: str
) -> None:
    rows = measured(tmp_path, row, head=head)
    said = medge("estimate", "resnet50", "--target", "intel-core-i7-8700k", "--calibrate", rows)
    assert said.code == 2
    assert said.err.startswith(f"E2 {rule}:")


def test_a_file_of_rows_that_is_none_is_refused(medge: Typed, tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (tmp_path / "absent.csv", "No such file"),
        (binary, "not UTF-8"),
        (measured(tmp_path), "no row below"),
    ):
        said = medge("estimate", "resnet50", "--target", "nvidia-l4", "--calibrate", path)
        assert said.code == 2
        assert reason in said.err


def test_an_unknown_bundle_is_refused_as_everywhere(medge: Typed) -> None:
    said = medge("estimate", "resnet5", "--all")
    assert said.code == 4
    assert "not-found" in said.err
