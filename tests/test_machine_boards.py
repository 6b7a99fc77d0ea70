"""Memory, surroundings, Jetson boards and adapters, from captured and hand-made kernel files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from captured_machines import NAMES, machine
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles.facts import Fact, Facts
from medge.profiles.intel import intel_problems
from medge.profiles.jetson import SOCS, jetpacks, jetson_facts, soc
from medge.profiles.kernel_files import cpu_list, read_number, read_text, size_bytes
from medge.profiles.memory import (
    bandwidth_fact,
    measure_bandwidth,
    memory_facts,
    memory_problems,
)
from medge.profiles.pci import INTEL, adapters
from medge.profiles.surroundings import surroundings


def values(facts: Facts) -> dict[str, object]:
    return {name: fact.value for name, fact in facts.items()}


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8", errors="replace")


def test_memory_is_told_in_bytes_and_a_limit_only_where_it_binds(tmp_path: Path) -> None:
    xeon = memory_facts(machine("xeon_gold_6230", tmp_path / "xeon"))
    assert xeon["total"] == Fact(1558982816 * 1024, "bytes", "/proc/meminfo MemTotal")
    assert "limit" not in xeon
    assert list(memory_problems(xeon)) == []
    first = memory_facts(machine("synthetic_container_cgroup_1", tmp_path / "1"))
    file = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert first["limit"] == Fact(768 << 20, "bytes", file)
    second = memory_facts(machine("synthetic_container_cgroup_2", tmp_path / "2"))
    assert second["limit"].value == 512 << 20
    assert [problem.rule for problem in memory_problems(second)] == ["little-memory"]
    write(tmp_path / "none", "proc/self/cgroup", "3:memory:/\n")
    write(tmp_path / "none", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_facts(tmp_path / "none") == {}


def test_bandwidth_is_that_of_copies_far_larger_than_the_cache() -> None:
    found = measure_bandwidth(16 << 20, threads=2, available_bytes=None)
    assert found is not None
    assert found.buffer_bytes == 32 << 20
    assert found.repeats >= 2
    assert 0.05e9 < found.bytes_s < 5e12  # any machine that can run a test
    told = bandwidth_fact(found)
    assert told.unit == "GB/s"
    assert told.value == round(found.bytes_s / 1e9, 2)
    assert all(word in told.source for word in ("measured", "2 threads", "34 MB"))


def test_without_memory_for_such_buffers_no_bandwidth_is_told() -> None:
    assert measure_bandwidth(64 << 20, 1, available_bytes=256 << 20) is None
    assert measure_bandwidth(1 << 30, 1, available_bytes=None) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xeon_gold_6230", {"board": "Dell Inc. PowerEdge R740"}),
        ("core_i7_1370p", {"board": "HP EliteBook 840 14 inch G10 Notebook PC"}),
        ("vm_xeon_cascade_lake", {"hypervisor": "yes, unnamed"}),
        ("wsl_core_i7_1360p", {"hypervisor": "yes, unnamed"}),
        ("synthetic_wsl_2", {"wsl": "WSL 2", "hypervisor": "yes, unnamed"}),
        ("synthetic_wsl_1", {"wsl": "WSL 1"}),
        ("synthetic_container_cgroup_1", {"container": "Docker"}),
        ("synthetic_container_cgroup_2", {"container": "Kubernetes"}),
        ("synthetic_jetson_xavier_nx", {"board": "NVIDIA Jetson Xavier NX Developer Kit"}),
        ("nothing", {}),
    ],
)
def test_what_a_system_runs_in_is_told(tmp_path: Path, name: str, expected: dict[str, str]) -> None:
    found = values(surroundings(machine(name, tmp_path)))
    shown = {key: found[key] for key in ("board", "wsl", "hypervisor", "container") if key in found}
    assert shown == expected


@pytest.mark.parametrize(
    ("files", "hypervisor"),
    [
        ({"sys_vendor": "QEMU", "product_name": "Standard PC"}, "KVM or QEMU"),
        ({"sys_vendor": "VMware, Inc.", "product_name": "VMware7,1"}, "VMware"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, "Hyper-V"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro"}, None),
        ({"sys_vendor": "Amazon EC2", "product_name": "c7i.large"}, "Amazon EC2"),
        ({"sys_vendor": "Amazon EC2", "product_name": "c7i.metal-24xl"}, None),
        ({"sys_vendor": "Amazon EC2", "product_name": "c5.metal"}, None),
    ],
)
def test_a_virtual_machine_is_known_by_its_maker(
    tmp_path: Path, files: dict[str, str], hypervisor: str | None
) -> None:
    for name, text in files.items():
        write(tmp_path, f"sys/class/dmi/id/{name}", text + "\n")
    assert values(surroundings(tmp_path)).get("hypervisor") == hypervisor


@pytest.mark.parametrize(
    ("group", "container"),
    [
        ("0::/system.slice/docker-4f3a.scope\n", "Docker"),
        ("0::/machine.slice/libpod-4f3a.scope\n", "Podman"),
        ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-4f3a.scope\n", "Kubernetes"),
        ("4:memory:/lxc.payload.bedside\n", "LXC"),
        ("0::/system.slice/docker.service\n", None),  # the engine, not one of its containers
        ("0::/user.slice/user-1000.slice\n", None),
    ],
)
def test_a_container_is_known_by_its_control_group(
    tmp_path: Path, group: str, container: str | None
) -> None:
    write(tmp_path, "proc/self/cgroup", group)
    assert values(surroundings(tmp_path)).get("container") == container


def test_a_jetson_tells_board_release_mode_and_rails(tmp_path: Path) -> None:
    orin = jetson_facts(machine("jetson_orin_nano", tmp_path / "orin"))
    assert orin["soc"].value == "Orin"
    assert orin["l4t"] == Fact("35.3.1", "", "/etc/nv_tegra_release")
    assert orin["jetpack"].value == "5.1.1"
    assert "power_mode" not in orin
    found = values(jetson_facts(machine("synthetic_jetson_orin_nano_super", tmp_path / "super")))
    assert (found["l4t"], found["jetpack"]) == ("36.4.3", "6.2")
    assert found["power_mode"] == "2 MAXN_SUPER"
    assert found["power_rails"] == ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    nano = values(jetson_facts(machine("synthetic_jetson_nano_jetpack_4", tmp_path / "nano")))
    assert (nano["soc"], nano["jetpack"], nano["power_mode"]) == ("Tegra X1", "4.6.1", "0 MAXN")
    assert nano["power_rails"] == ("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU")


def test_a_release_that_is_in_no_table_has_no_jetpack_and_a_mode_without_names_its_number(
    tmp_path: Path,
) -> None:
    found = values(jetson_facts(machine("synthetic_jetson_xavier_nx", tmp_path)))
    assert found["l4t"] == "35.99.9"
    assert "jetpack" not in found
    assert found["power_mode"] == "8"


@pytest.mark.parametrize("name", [name for name in NAMES if "jetson_" not in name])
def test_only_a_jetson_is_one(tmp_path: Path, name: str) -> None:
    root = machine(name, tmp_path)
    assert soc(root) is None
    assert jetson_facts(root) == {}


def test_every_row_of_jetpack_has_versions_and_a_source() -> None:
    assert len(jetpacks()) >= 30
    for l4t, (jetpack, source) in jetpacks().items():
        assert not l4t.endswith(".0")
        major = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}[int(l4t.split(".")[0])]
        assert jetpack.startswith(f"{major}.")
        assert source
    assert {chip.compute_capability for chip in SOCS.values()} == {
        *("5.3", "6.2", "7.2", "8.7", "11.0"),
    }


def test_an_intel_gpu_and_npu_are_seen_and_what_is_missing_is_said_in_order(
    tmp_path: Path,
) -> None:
    root = machine("synthetic_intel_gpu_and_npu", tmp_path)
    found = adapters(root)
    assert [(each.kind, each.vendor_name, each.driver) for each in found] == [
        ("gpu", "Intel", "xe"),
        ("npu", "Intel", "intel_vpu"),
    ]
    assert list(intel_problems(found, ("cpu", "GPU", "NPU"), root)) == []
    assert list(intel_problems(found, ("cpu", "GPU.0", "GPU.1", "NPU"), root)) == []
    gpu, npu = intel_problems(found, ("cpu",), root)
    assert gpu.rule == "intel-gpu"
    assert gpu.command == "sudo apt-get install intel-opencl-icd"
    assert npu.rule == "intel-npu"
    write(root, "run/systemd/container", "docker\n")
    (root / "dev/accel/accel0").unlink()
    npu_in_container = list(intel_problems(found, ("GPU",), root))
    assert npu_in_container[0].command == "docker run --device /dev/accel ..."
    write(root, "sys/bus/pci/devices/0000:00:02.0/uevent", "DRIVER=vfio-pci\n")
    held = next(intel_problems(adapters(root), ("cpu", "NPU"), root))
    assert "vfio-pci" in held.found
    assert held.command == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every file")
def test_a_user_without_the_right_group_is_told_which(tmp_path: Path) -> None:
    root = machine("synthetic_intel_gpu_and_npu", tmp_path)
    (root / "dev/dri/renderD128").chmod(0)
    problem = next(intel_problems(adapters(root), ("cpu", "NPU"), root))
    assert problem.command == "sudo usermod -aG render $USER"


def test_without_a_pci_bus_adapters_are_those_of_the_kernels_classes(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/drm/card0/device/vendor", "0x8086\n")
    write(tmp_path, "sys/class/drm/card0-HDMI-A-1/device/vendor", "0x8086\n")
    (card,) = adapters(tmp_path)
    assert (card.kind, card.vendor, card.driver) == ("gpu", INTEL, None)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8\n", {0, 1, 2, 3, 8}),
        ("0", {0}),
        ("", None),
        ("0-", None),
        ("3-1", None),
        ("0-99999999", None),
        ("٣", None),  # a digit, but none of the kernel's
        ("0,,1", None),
    ],
)
def test_a_list_of_cpus_is_read_or_refused(text: str, cpus: set[int] | None) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [("32K\n", 32768), ("1M", 1 << 20), ("17", 17), ("K", None), ("", None), ("-1K", None)],
)
def test_a_cache_size_is_read_or_refused(text: str, expected: int | None) -> None:
    assert size_bytes(text) == expected


def test_a_hidden_or_strange_file_is_no_text(tmp_path: Path) -> None:
    assert read_text(tmp_path / "absent") == ""
    assert read_text(tmp_path) == ""  # a folder
    assert read_text(tmp_path / "nul\0name") == ""
    write(tmp_path, "number", "-1\n")
    assert read_number(tmp_path / "number") is None


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), words=st.text(alphabet="pmode:0123456789R()# release,REVISION."))
def test_no_text_of_a_board_crashes_or_makes_up_a_fact(
    tmp_path_factory: pytest.TempPathFactory, text: str, words: str
) -> None:
    root = tmp_path_factory.mktemp("board")
    for name in ("proc/meminfo", "proc/version", "etc/os-release", "etc/nvpmodel.conf"):
        write(root, name, text)
    for name in ("etc/nv_tegra_release", "var/lib/nvpmodel/status", "proc/self/cgroup"):
        write(root, name, words)
    write(root, "proc/device-tree/compatible", "nvidia,tegra234\0" + text)
    write(root, "sys/bus/pci/devices/0/class", text)
    write(root, "sys/bus/pci/devices/0/vendor", words)
    found = jetson_facts(root)
    assert found["soc"].value == "Orin"
    if "l4t" in found:
        assert str(found["l4t"].value).split(".")[0] in words
    if "power_mode" in found:
        assert any(character.isdigit() for character in words + text)
    memory_facts(root)
    surroundings(root)
    adapters(root)
