"""medge doctor --target: the page, the lock that pip reads, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import toolchain_table
from command_line import Typed
from packaging.requirements import Requirement

from medge.profiles.target import targets
from medge.profiles.toolchain import ladder

POSSIBLE = {
    (name, route.id)
    for name, target in targets().items()
    for route in ladder(target).routes
    if route.possible
}


def test_the_page_says_order_reasons_speeds_and_sources_in_80_columns(typed: Typed) -> None:
    said = typed("doctor", "--target", "nvidia-gtx-1080")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "nothing was\nmeasured" in said.out
    assert re.search(r"1 NVIDIA driver +R580.*\n.*\n *2 CUDA +12.1", said.out)
    assert re.search(r"Faster than fp32\n +int8 +dp4a", said.out)
    assert "8.6.1; the last for sm_61" in said.out
    assert "Impossible\n  TensorRT-RTX\n" in said.out
    marks = {int(n) for found in re.findall(r"\[([\d\s]+)\]", said.out) for n in found.split()}
    assert marks == set(range(1, max(marks) + 1))


@pytest.mark.parametrize("target_id", ["nvidia-tesla-k80", "intel-n100", "nvidia-jetson-nano"])
def test_every_line_of_any_page_fits(typed: Typed, target_id: str) -> None:
    assert max(map(len, typed("doctor", "--target", target_id).out.splitlines())) <= 80


def test_the_object_holds_every_source_that_it_cites(typed: Typed) -> None:
    said = json.loads(typed("doctor", "--target", "nvidia-tesla-v100-16gb", "--json").out)
    assert said["schema"] == "medge.ladder/1"
    found = said["ladder"]
    rows = [*found["speeds"], *found["newest"], *(s for r in found["routes"] for s in r["steps"])]
    assert {name for row in rows for name in row["sources"]} <= set(said["sources"])
    assert all(source["title"] and source["read"] for source in said["sources"].values())


@pytest.mark.parametrize("form", ["csv", "md"])
def test_rows_for_spreadsheets_have_a_source_each(typed: Typed, form: str) -> None:
    said = typed("doctor", "--target", "nvidia-tesla-t4", "--format", form)
    assert said.code == 0
    assert "PyPI wheels onnxruntime-gpu" in said.out


@pytest.mark.parametrize(("target_id", "route"), sorted(POSSIBLE)[::23])
def test_a_lock_is_a_requirements_file(typed: Typed, target_id: str, route: str) -> None:
    lines = typed("doctor", "--target", target_id, "--lock", "--route", route).out.splitlines()
    pins = [line for line in lines if not line.startswith(("#", "--"))]
    names = [Requirement(line).name for line in pins]
    assert len(set(names)) == len(names) - names.count("pillow") // 2
    runner = ladder(targets()[target_id]).routes[0].runner and route == "jetpack"
    assert bool(pins) is not runner
    assert ("onnxruntime" in names) + ("onnxruntime-gpu" in names) == (0 if runner else 1)


def test_a_lock_says_what_comes_first_and_that_nobody_tried_it(typed: Typed) -> None:
    out = typed("doctor", "--target", "nvidia-gtx-1080", "--lock").out
    assert "not tried on this device" in out
    assert out.index("NVIDIA driver: R580") < out.index("CUDA: 12.1") < out.index("Python: 3.11")
    assert "--extra-index-url https://pypi.nvidia.com" in out
    assert "\ntensorrt==8.6.1.post1\n" in out


def test_a_lock_for_jetpack_4_says_that_only_the_runner_runs(typed: Typed) -> None:
    out = typed("doctor", "--target", "nvidia-jetson-nano", "--lock").out
    assert "JetPack: 4.6.6" in out
    assert "stand-alone runner" in out
    assert all(line.startswith("#") for line in out.splitlines())


def test_a_lock_with_the_gpu_wheel_keeps_the_other_away(typed: Typed) -> None:
    words = ("doctor", "--target", "nvidia-tesla-t4", "--lock", "--route", "onnxruntime-cuda")
    assert "pip install --no-deps" in typed(*words).out
    said = json.loads(typed(*words, "--json").out)
    assert said["schema"] == "medge.lock/1"
    assert said["tested"] is False
    assert "onnxruntime-gpu==1.31.1" in said["requirements"]
    assert not any(line.startswith("onnxruntime==") for line in said["requirements"])
    assert [step["part"] for step in said["system"]] == ["driver", "cuda", "python"]


def test_a_lock_goes_into_a_file(typed: Typed, tmp_path: Path) -> None:
    said = typed("doctor", "--target", "intel-n100", "--lock", "-o", tmp_path / "lock.txt")
    assert (said.code, said.out) == (0, "")
    assert "openvino==2026.4.1" in (tmp_path / "lock.txt").read_text()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--lock",), 2, "--target"),
        (("--target", "intel-n100", "--route", "openvino"), 2, "--lock"),
        (("--target", "intel-n100", "--lock", "--format", "csv"), 2, "--json"),
        (("--target", "intel-n10"), 2, "intel-n100"),
        (
            ("--target", "intel-n100", "--lock", "--route", "cuda"),
            2,
            "openvino, openvino-npu, onnxruntime",
        ),
        (
            ("--target", "nvidia-tesla-k80", "--lock", "--route", "onnxruntime-cuda"),
            5,
            "1.14.1 was the last for sm_37",
        ),
    ],
)
def test_what_is_refused_says_the_next_step(
    typed: Typed, words: tuple[str, ...], code: int, text: str
) -> None:
    said = typed("doctor", *words)
    assert said.code == code
    assert text in said.err
    assert said.out == ""


def test_the_tables_of_the_documentation_are_those_of_the_data() -> None:
    text = toolchain_table.PAGE.read_text(encoding="utf-8")
    assert text == toolchain_table.page(), "run: python examples/toolchain_table.py --write"
