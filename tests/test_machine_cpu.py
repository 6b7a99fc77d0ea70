"""What is said of a CPU, from captured kernel files; expected values are the vendors' figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from captured_machines import NAMES, machine
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles import microarchitecture as uarch
from medge.profiles.cpu import cpu_facts, cpu_problems, last_level_cache_bytes
from medge.profiles.device import describe, identity
from medge.profiles.facts import Fact, Facts

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(256)))


def values(facts: Facts) -> dict[str, object]:
    return {name: fact.value for name, fact in facts.items()}


@pytest.mark.parametrize(
    ("name", "told", "also"),
    [
        ("xeon_gold_6230", ("GenuineIntel", "Cascade Lake", "avx512-vnni"), ["avx512_vnni"]),
        (
            "xeon_platinum_8480",
            ("GenuineIntel", "Sapphire Rapids", "amx"),
            ["amx_bf16", "avx512_bf16", "avx512_fp16", "avx_vnni"],
        ),
        ("vm_xeon_cascade_lake", ("GenuineIntel", "Cascade Lake", "avx512-vnni"), ["fma"]),
        ("core_i7_1370p", ("GenuineIntel", "Raptor Lake", "avx2-vnni"), ["avx_vnni"]),
        ("core_ultra_285", ("GenuineIntel", "Arrow Lake", "avx2-vnni"), ["avx_vnni"]),
        ("wsl_core_i7_1360p", ("GenuineIntel", "Raptor Lake", "avx2-vnni"), ["avx_vnni"]),
        ("atom_x5_z8350", ("GenuineIntel", "Airmont", "sse4"), ["sse4_1"]),
        ("epyc_7301", ("AuthenticAMD", "Zen", "avx2"), ["fma"]),
        ("epyc_9654", ("AuthenticAMD", "Zen 4", "avx512-vnni"), ["avx512_bf16"]),
        ("ryzen_9950x", ("AuthenticAMD", "Zen 5", "avx512-vnni"), ["avx_vnni"]),
        ("jetson_agx_xavier", ("NVIDIA", "Carmel", "neon"), ["fphp"]),
        ("jetson_nano", ("Arm", "Cortex-A57", "neon"), ["asimd"]),
        ("synthetic_jetson_orin_nano_super", ("Arm", "Cortex-A78AE", "neon-dot"), ["asimddp"]),
        ("raspberry_pi_5", ("Arm", "Cortex-A76", "neon-dot"), ["asimddp"]),
        ("dgx_gb10", ("Arm", "Cortex-A725 and Cortex-X925", "sve"), ["bf16", "i8mm", "sve2"]),
    ],
)
def test_a_captured_cpu_is_known_by_its_numbers_and_flags(
    tmp_path: Path, name: str, told: tuple[str, ...], also: list[str]
) -> None:
    facts = cpu_facts(machine(name, tmp_path))
    names = ("vendor", "microarchitecture", "tier")
    assert tuple(facts[name].value for name in names) == told
    shown = facts["instruction_sets"].value
    assert isinstance(shown, tuple)
    assert set(also) <= set(shown)


def test_counts_and_caches_are_those_of_the_data_sheets(tmp_path: Path) -> None:
    xeon = machine("xeon_gold_6230", tmp_path / "xeon")  # two sockets of 20 cores
    found = values(cpu_facts(xeon))
    assert (found["online_cpus"], found["online_cores"], found["smt"]) == (80, 40, True)
    assert (found["l2_cache"], found["l3_cache"]) == (1 * MIB, 27.5 * MIB)
    assert last_level_cache_bytes(xeon) == 2 * 27.5 * MIB
    core = machine("core_i7_1370p", tmp_path / "core")  # 6 cores of two threads, 8 of one
    found = values(cpu_facts(core))
    assert (found["online_cpus"], found["online_cores"]) == (20, 14)
    assert (found["l1d_cache"], found["l3_cache"]) == (48 * KIB, 24 * MIB)
    assert (found["frequency_max"], found["governor"]) == (5000.0, "powersave")
    spark = machine("dgx_gb10", tmp_path / "spark")  # clusters of 8 and 16 MB
    assert last_level_cache_bytes(spark) == 24 * MIB


def test_where_sysfs_is_hidden_cpus_are_counted_in_cpuinfo(tmp_path: Path) -> None:
    facts = cpu_facts(machine("raspberry_pi_5", tmp_path))
    assert facts["online_cpus"] == Fact(4, "", "/proc/cpuinfo")
    assert "online_cores" not in facts


def test_limits_of_a_container_are_told_with_their_files(tmp_path: Path) -> None:
    first = cpu_facts(machine("synthetic_container_cgroup_1", tmp_path / "1"))
    assert first["cpuset"] == Fact("0-3", "", "/sys/fs/cgroup/cpuset/cpuset.effective_cpus")
    quota = "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"
    assert first["quota_cpus"] == Fact(2.5, "", quota)
    assert first["allowed_cpus"].value == 2
    second = cpu_facts(machine("synthetic_container_cgroup_2", tmp_path / "2"))
    pod = "/sys/fs/cgroup/kubepods/burstable/pod1f/4f3a"
    assert second["cpuset"] == Fact("2,4-5", "", f"{pod}/cpuset.cpus.effective")
    assert second["quota_cpus"] == Fact(1.5, "", f"{pod}/cpu.max")
    assert second["allowed_cpus"].value == 1


def test_only_what_slows_this_cpu_is_a_problem(tmp_path: Path) -> None:
    def rules(name: str) -> list[str]:
        facts = cpu_facts(machine(name, tmp_path / name))
        return [problem.rule for problem in cpu_problems(facts)]

    assert rules("atom_x5_z8350") == ["no-avx2"]
    assert rules("core_i7_1370p") == []  # intel_pstate: "powersave" follows the load there
    assert rules("jetson_nano") == []
    facts = {"governor": Fact("powersave", "", "x"), "frequency_driver": Fact("acpi", "", "x")}
    assert [problem.rule for problem in cpu_problems(facts)] == ["governor"]


def test_a_machine_that_hides_everything_has_only_what_calls_tell(tmp_path: Path) -> None:
    found = cpu_facts(machine("nothing", tmp_path))
    assert values(found) == {"affinity_cpus": 256, "allowed_cpus": 256, "allowed_cores": 256}
    assert last_level_cache_bytes(tmp_path) is None
    assert list(cpu_problems(found)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_says_where_it_was_read_and_the_file_is_there(tmp_path: Path, name: str) -> None:
    root = machine(name, tmp_path)
    for fact in cpu_facts(root).values():
        first = fact.source.split(";")[0].split(",")[0]
        if first.startswith("/") and "*" not in first and "cpu.cfs" not in fact.source:
            assert (root / first.lstrip("/")).is_file(), fact


def test_the_table_of_microarchitectures_has_one_row_for_each_cpu() -> None:
    seen: dict[tuple[object, ...], str] = {}
    for row in uarch.table():
        assert row.name
        assert "/" in row.source
        assert (row.family is None) == (row.vendor in uarch.ARM)
        assert row.models
        for model in numbers(row.models):
            for stepping in numbers(row.steppings) if row.steppings else range(16):
                key = (row.vendor, row.family, model, stepping)
                assert key not in seen, f"{row.name} and {seen[key]} both claim {key}"
                seen[key] = row.name


def numbers(ranges: tuple[tuple[int, int], ...]) -> Iterator[int]:
    for first, last in ranges:
        assert first <= last
        yield from range(first, last + 1)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"vendor_id": "GenuineIntel", "cpu family": "6", "model": "9999"},
        {"vendor_id": "GenuineIntel", "cpu family": "6", "model": "85"},  # which stepping?
        {"vendor_id": "GenuineIntel", "cpu family": "6", "model": "85", "stepping": "12"},
        {"vendor_id": "GenuineIntel", "cpu family": "six", "model": "0x"},
        {"CPU implementer": "0x41", "CPU part": "0xfff"},
        {"CPU implementer": "0x99", "CPU part": "0xd03"},
    ],
)
def test_an_unknown_cpu_has_no_microarchitecture(facts: dict[str, str]) -> None:
    assert uarch.microarchitecture(facts) is None


KEYS = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features"),
    *("CPU implementer", "CPU part", "cpu MHz", "processor"),
)


@settings(max_examples=60, deadline=None)
@given(
    cpuinfo=st.one_of(
        st.text(max_size=300),
        st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=20)), max_size=12).map(
            lambda pairs: "\n".join(f"{key}\t: {value}" for key, value in pairs)
        ),
    ),
    group=st.text(alphabet="0123456789:,/.\ncpuset max-", max_size=80),
    online=st.text(max_size=20),
)
def test_no_text_of_the_kernel_crashes_or_makes_up_a_fact(
    tmp_path_factory: pytest.TempPathFactory, cpuinfo: str, group: str, online: str
) -> None:
    root = tmp_path_factory.mktemp("machine")
    for name, text in (
        ("proc/cpuinfo", cpuinfo),
        ("proc/self/cgroup", group),
        ("sys/devices/system/cpu/online", online),
        ("sys/fs/cgroup/cpu.max", group),
        ("sys/devices/system/cpu/cpu0/cache/index0/size", online),
        ("sys/devices/system/cpu/cpu0/cache/index0/level", group),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8", errors="replace")
    facts = cpu_facts(root)
    last_level_cache_bytes(root)
    assert describe(root).name
    assert identity(root)
    words = set(cpuinfo.replace(":", " ").split())
    told = facts.get("instruction_sets")
    if told is not None:
        assert isinstance(told.value, tuple)
        assert set(told.value) <= words
    if "model" in facts:
        assert str(facts["model"].value) in cpuinfo
    if "microarchitecture" in facts:
        assert "vendor_id" in cpuinfo or "CPU implementer" in cpuinfo


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares x86 facts")
def test_this_machine_is_described_like_describe_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    facts, device = values(cpu_facts()), describe()
    assert facts["tier"] == device.tier
    assert facts["model"] == device.name
    assert (facts["allowed_cpus"], facts["allowed_cores"]) == (device.cpus, device.cores)
