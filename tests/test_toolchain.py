"""Toolchain ladder: no set outside the tables, no newer lead would fit, known answers."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import support_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

import medge
from medge.errors import BackendError
from medge.lock import choose_route
from medge.profiles.support import host_of, parts, precisions, routes, sources, within
from medge.profiles.target import Target, targets
from medge.profiles.toolchain import INSTALLED, Ladder, Route, ladder

ROOT = Path(__file__).parent.parent
IDS = sorted(targets())


def kinds() -> list[str]:
    """One device of each hardware that the tables tell apart."""
    found: dict[object, str] = {}
    for target in targets().values():
        found.setdefault((host_of(target), target.kind), target.id)
    return sorted(found.values())


def route_of(found: Ladder, route: str) -> Route:
    return next(each for each in found.routes if each.id == route)


def as_rows(route: Route, target: Target) -> dict[str, reference.Row]:
    """The rows of the tables behind the steps of a route."""
    chosen = {}
    for step in route.steps:
        rows = reference.table(step.part)["release"]
        chosen[step.part] = next(
            row
            for row in rows
            if row["version"] == step.version
            and row.get("label", row["version"]) == step.shown
            and tuple(row.get("pins", ())) == step.pins
            and reference.platform(target) in row["platforms"]
        )
    return chosen


def leads_of(route: Route) -> list[str]:
    rules = reference.table("routes")["route"]
    return next(rule["leads"] for rule in rules if rule["title"] == route.title)


@pytest.mark.parametrize("target_id", IDS)
def test_no_set_is_outside_the_cited_tables(target_id: str) -> None:
    target = targets()[target_id]
    for route in ladder(target).routes:
        chosen = as_rows(route, target)
        assert reference.faults(chosen) == []
        for name, row in chosen.items():
            assert reference.listed(row, target), f"{name} {row['version']}"
            assert not row.get("archive", False)
            assert set(row["sources"]) <= set(reference.table("sources"))


@pytest.mark.parametrize("target_id", IDS)
def test_every_device_has_a_way_to_run_a_bundle_and_a_reason_for_each_that_it_has_not(
    target_id: str,
) -> None:
    found = ladder(targets()[target_id])
    assert any(route.possible for route in found.routes)
    for route in found.routes:
        assert route.possible is bool(route.steps)
        assert route.possible is not bool(route.reason)
        assert {"medge"} <= {step.part for step in route.steps} or not route.possible


@pytest.mark.parametrize("target_id", kinds())
def test_no_newer_lead_would_have_fitted(target_id: str) -> None:
    target = targets()[target_id]
    for route in ladder(target).routes:
        leads = leads_of(route)
        chosen = as_rows(route, target).get(leads[0])
        for row in reference.installable(leads[0], target):
            if row == chosen:
                break
            assert next(reference.every_set(leads, target, row), None) is None, row["version"]


@pytest.mark.parametrize("target_id", kinds())
def test_steps_come_in_an_order_in_which_they_can_be_installed(target_id: str) -> None:
    for route in ladder(targets()[target_id]).routes:
        order = [step.part for step in route.steps]
        assert order == sorted(order, key=INSTALLED.index)
        for part, *before in (("cuda", "driver"), ("numpy", "python"), ("medge", "python")):
            assert all(order.index(b) < order.index(part) for b in before if {part, b} <= {*order})


# From the literature, not from the tables: release notes, wheels, NVIDIA's pages.
KNOWN: list[tuple[str, str, dict[str, str] | None]] = [
    # TensorRT 8.5.2 notes: last for Kepler; R470 and CUDA 11 are its last too (driver matrix).
    ("nvidia-tesla-k80", "tensorrt", {"tensorrt": "8.5", "driver": "470", "cuda": "11"}),
    ("nvidia-tesla-k80", "onnxruntime-cuda", None),  # 1.15 dropped sm_37, medge needs 1.17
    ("nvidia-tesla-k80", "tensorrt-rtx", None),
    # NVIDIA/TensorRT#3826: 10.x says "Unsupported SM: 0x601"; CUDA 13 drops Pascal.
    ("nvidia-gtx-1080", "tensorrt", {"tensorrt": "8.6", "driver": "580", "cuda": "12"}),
    ("nvidia-gtx-1080", "onnxruntime-cuda", {"onnxruntime-gpu": "1.26", "cuda": "12"}),
    ("nvidia-gtx-1080", "torch", {"torch": "2.14", "cuda": "12.6", "cudnn": "9.10"}),
    ("nvidia-gtx-960", "onnxruntime-cuda", {"onnxruntime-gpu": "1.20"}),  # 1.21 dropped sm_52
    # TensorRT 10.5 notes: Volta removed; cuDNN 9.11 dropped it.
    ("nvidia-tesla-v100-16gb", "tensorrt", {"tensorrt": "10.4", "cuda": "12"}),
    ("nvidia-tesla-v100-16gb", "onnxruntime-tensorrt", {"onnxruntime-gpu": "1.20"}),
    ("nvidia-tesla-v100-16gb", "onnxruntime-cuda", {"cudnn": "9.10", "onnxruntime-gpu": "1.26"}),
    ("nvidia-tesla-t4", "tensorrt", {"tensorrt": "11", "cuda": "13"}),
    ("nvidia-tesla-t4", "onnxruntime-cuda", {"onnxruntime-gpu": "1.31", "cuda": "13"}),
    ("nvidia-a100-80gb-sxm", "tensorrt", {"tensorrt": "11"}),
    ("nvidia-rtx-3090", "tensorrt-rtx", {"tensorrt-rtx": "1.7"}),
    ("nvidia-rtx-4090", "onnxruntime-cuda", {"onnxruntime-gpu": "1.31"}),
    ("nvidia-h100-sxm", "tensorrt-rtx", None),  # its matrix names RTX cards only
    ("nvidia-h100-sxm", "torch", {"torch": "2.15", "cuda": "13.2"}),
    ("nvidia-rtx-5090", "onnxruntime-cuda", {"onnxruntime-gpu": "1.31", "cuda": "13"}),
    # JetPack's own tables; Python of Ubuntu 18.04, 20.04, 22.04, 24.04.
    ("nvidia-jetson-nano", "jetpack", {"jetpack": "4.6", "tensorrt": "8.2.1", "python": "3.6"}),
    ("nvidia-jetson-tx2", "jetpack", {"jetpack": "4.6", "cuda": "10.2"}),
    ("nvidia-jetson-xavier-nx", "jetpack", {"jetpack": "5.1", "tensorrt": "8.5.2"}),
    ("nvidia-jetson-xavier-nx", "onnxruntime", None),  # Python 3.8
    ("nvidia-jetson-orin-nano-8gb", "jetpack", {"jetpack": "7.2", "cuda": "13.2"}),
    ("nvidia-jetson-thor-t5000", "jetpack", {"jetpack": "7.2", "python": "3.12"}),
    ("nvidia-jetson-thor-t5000", "onnxruntime-cuda", None),  # no sm_110 in the aarch64 wheel
    ("intel-xeon-platinum-8480plus", "openvino", {"openvino": "2026.4"}),
    ("intel-core-i7-8700k", "openvino", {"openvino": "2026.4"}),
    ("intel-core-i5-5200u", "openvino", None),  # 5th generation: not in the requirements
    ("intel-n100", "onnxruntime", {"onnxruntime": "1.31"}),
    ("intel-core-ultra-7-155h", "openvino-npu", {"npu-driver": "1.39", "openvino": "2026.4"}),
    ("intel-n100", "openvino-npu", None),  # Alder Lake-N has no NPU
    ("raspberry-pi-5", "onnxruntime", {"onnxruntime": "1.31"}),
]


@pytest.mark.parametrize(("target_id", "route", "expected"), KNOWN)
def test_known_answers(target_id: str, route: str, expected: dict[str, str] | None) -> None:
    found = route_of(ladder(targets()[target_id]), route)
    assert found.possible is (expected is not None)
    versions = {step.part: step.version for step in found.steps}
    for part, version in (expected or {}).items():
        assert f"{versions[part]}.".startswith(f"{version}.")


@pytest.mark.parametrize("target_id", ["nvidia-jetson-nano", "nvidia-jetson-agx-xavier"])
def test_jetpack_4_and_5_get_the_stand_alone_runner(target_id: str) -> None:
    found = route_of(ladder(targets()[target_id]), "jetpack")
    assert found.runner
    assert not any(step.pins for step in found.steps)
    assert not route_of(ladder(targets()["nvidia-jetson-agx-orin-64gb"]), "jetpack").runner


def test_a_reason_says_what_was_the_last_and_what_asks_for_more() -> None:
    reason = route_of(ladder(targets()["nvidia-tesla-k80"]), "onnxruntime-cuda").reason
    assert "ONNX Runtime GPU 1.14.1 was the last for sm_37" in reason
    assert "medge 0.1.0 needs ONNX Runtime GPU >=1.17" in reason


# TensorRT's and CUDA's tables of precisions; Intel's and Arm's instruction sets.
@pytest.mark.parametrize(
    ("target_id", "faster"),
    [
        ("nvidia-tesla-k80", set()),
        ("nvidia-gtx-titan-x", set()),
        ("nvidia-gtx-1080", {"int8"}),
        ("nvidia-tesla-p100-pcie-16gb", {"fp16"}),
        ("nvidia-jetson-tx2", {"fp16"}),
        ("nvidia-tesla-v100-16gb", {"fp16", "int8"}),
        ("nvidia-tesla-t4", {"fp16", "int8"}),
        ("nvidia-rtx-3090", {"fp16", "bf16", "tf32", "int8"}),
        ("nvidia-rtx-5090", {"fp16", "bf16", "tf32", "int8"}),
        ("intel-core-i7-6700", set()),
        ("intel-n100", {"int8"}),
        ("intel-xeon-w-2104", set()),
        ("intel-core-i5-1145g7e", {"int8"}),
        ("intel-xeon-gold-6430", {"int8", "bf16"}),
        ("intel-arc-b580", {"fp16", "int8"}),
        ("raspberry-pi-5", {"fp16", "int8"}),
        ("nvidia-jetson-nano-cpu", set()),
    ],
)
def test_precisions_that_the_hardware_speeds_up(target_id: str, faster: set[str]) -> None:
    found = ladder(targets()[target_id])
    assert {speed.precision for speed in found.speeds if speed.faster} == faster
    for route in found.routes:
        assert set(route.precisions) <= faster


def test_hardware_that_no_table_knows_has_no_route_and_says_so() -> None:
    radeon = msgspec.structs.replace(
        targets()["intel-arc-b580"], id="radeon", vendor="AMD", architecture="RDNA 3"
    )
    found = ladder(radeon)
    assert (found.routes, found.newest) == ((), ())
    with pytest.raises(BackendError, match="the support tables hold no software for RDNA 3"):
        choose_route(found, None)


def test_a_cpu_that_openvino_does_not_list_runs_onnxruntime() -> None:
    ryzen = msgspec.structs.replace(
        targets()["intel-core-i7-8700k"], id="ryzen", vendor="AMD", architecture="Zen 3"
    )
    assert [route.id for route in ladder(ryzen).routes if route.possible] == ["onnxruntime"]
    assert choose_route(ladder(ryzen), None).id == "onnxruntime"


def test_every_source_is_cited_and_every_citation_is_a_source() -> None:
    rows = [row for name in parts() for row in parts()[name].release]
    cited = {name for row in (*rows, *precisions(), *routes()) for name in row.sources}
    assert cited == set(sources())


@pytest.mark.parametrize("name", reference.part_names())
def test_ranges_and_pins_agree_with_the_parts_that_they_name(name: str) -> None:
    for row in reference.table(name)["release"]:
        for other, wanted in {**row.get("needs", {}), **row.get("limits", {})}.items():
            assert other in reference.part_names()
            assert reference.table(other)["release"]
            reference.inside("1.0", wanted)  # a range that PEP 440 reads
        for pin in row.get("pins", ()):
            bounds = Requirement(pin).specifier
            assert any(Version(row["version"]) in bounds or text.startswith(row["version"])
                       for text in (str(bound.version) for bound in bounds))  # fmt: skip


def test_what_medge_asks_for_is_what_pyproject_says() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    floors = dict(re.findall(r'"([a-z-]+)>=([\d.]+)"', text))
    rows = parts()["medge"].release
    assert rows[0].version == medge.__version__
    assert rows[0].needs["python"] == re.findall(r'requires-python = "(.*)"', text)[0]
    asked = {name: bound for row in rows[:2] for name, bound in {**row.needs, **row.limits}.items()}
    for name, bound in asked.items():
        package = name.removesuffix("-gpu")
        if name != "python":
            assert bound == f">={floors[package]}"


def test_base_packages_are_held_to_what_the_tests_run_with() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    lines = (reference.FOLDER / "base.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert set(pins) <= set(constraints)
    for part, pin in (("numpy", "numpy"), ("onnxruntime", "onnxruntime"), ("openvino", "openvino")):
        newest = parts()[part].release[0]
        assert any(line.startswith(f"{pin}=={newest.version}") for line in constraints)


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(
    lambda found: ".".join(str(number) for number in found)
)
bounds = st.lists(
    st.tuples(st.sampled_from([">=", "<", "=="]), numbers).map("".join), min_size=1, max_size=3
).map(",".join)


def test_ranges_are_read_as_pep_440_reads_them() -> None:
    @settings(deadline=None)
    @given(numbers, bounds)
    def same(version: str, wanted: str) -> None:
        # Tables write releases in full: 8.9 is not 8.9.0 here, so both sides get four numbers.
        full = ".".join([*version.split("."), "0", "0", "0"][:4])
        assert within(full, wanted) == reference.inside(full, wanted)

    same()
