"""The machine: how many CPUs may be used, and what they are, from recorded kernel files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from medge.profiles.device import allowed_cores, allowed_cpus, cpu_name, describe, identity

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse sse4_1 avx fma avx2 avx512f avx512bw avx512vl avx512_vnni{more}

processor\t: 1
model name\t: another
"""
CORTEX_A78 = """processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd42
"""
BOARD = "NVIDIA Jetson Orin Nano Developer Kit\0"
CGROUP2 = "0::/user.slice/session.scope\n"
CGROUP1 = "5:cpuset:/\n4:cpu,cpuacct:/docker/4f3a\n1:name=systemd:/x\n"
GROUP = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))


def recorded(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"proc/self/cgroup": CGROUP2}, 8),
        ({"proc/self/cgroup": CGROUP2, f"{GROUP}/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "200000 100000\n"}, 2),
        (
            {"proc/self/cgroup": CGROUP2, f"{GROUP}/user.slice/cpu.max": "350000 100000\n"},
            3,
        ),
        (
            {
                "proc/self/cgroup": CGROUP2,
                f"{GROUP}/user.slice/cpu.max": "600000 100000\n",
                f"{GROUP}/user.slice/session.scope/cpu.max": "40000 20000\n",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "9900000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/../../x\n", f"{GROUP}/cpu.max": "400000 100000\n"}, 4),
        (
            {
                "proc/self/cgroup": CGROUP1,
                f"{GROUP}/cpu,cpuacct/docker/4f3a/cpu.cfs_quota_us": "300000\n",
                f"{GROUP}/cpu,cpuacct/docker/4f3a/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (  # in the container its own group is the root of the mount
            {
                "proc/self/cgroup": CGROUP1,
                f"{GROUP}/cpu/cpu.cfs_quota_us": "250000\n",
                f"{GROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": CGROUP1,
                f"{GROUP}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{GROUP}/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "garbage\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "100000 0\n"}, 8),
    ],
)
def test_cpus_are_those_of_the_mask_within_every_quota_above(
    tmp_path: Path, files: dict[str, str], cpus: int
) -> None:
    assert allowed_cpus(recorded(tmp_path, files)) == cpus


def test_cores_count_siblings_once(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    siblings = {
        f"{cpu}/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)
    }
    on = recorded(tmp_path / "on", {f"{cpu}/smt/active": "1\n"} | siblings)
    off = recorded(tmp_path / "off", {f"{cpu}/smt/active": "0\n"})
    assert (allowed_cpus(on), allowed_cores(on)) == (8, 4)
    assert (allowed_cpus(off), allowed_cores(off)) == (8, 8)
    recorded(on, {"proc/self/cgroup": "0::/\n", f"{GROUP}/cpu.max": "200000 100000\n"})
    assert allowed_cores(on) == 2


@pytest.mark.parametrize(
    ("files", "name", "tier"),
    [
        (
            {"proc/cpuinfo": XEON.format(more="")},
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "avx512-vnni",
        ),
        (
            {"proc/cpuinfo": XEON.format(more=" amx_bf16 amx_tile amx_int8")},
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "amx",
        ),
        (
            {"proc/cpuinfo": "model name: Core\nflags: avx2 fma avx_vnni sse4_1\n"},
            "Core",
            "avx2-vnni",
        ),
        ({"proc/cpuinfo": CORTEX_A78}, "CPU implementer 0x41 part 0xd42", "neon-dot"),
        (
            {"proc/cpuinfo": CORTEX_A78, "proc/device-tree/model": BOARD},
            "NVIDIA Jetson Orin Nano Developer Kit",
            "neon-dot",
        ),
    ],
)
def test_the_name_and_tier_are_those_that_the_kernel_tells(
    tmp_path: Path, files: dict[str, str], name: str, tier: str
) -> None:
    device = describe(recorded(tmp_path, files))
    assert (device.name, device.tier) == (name, tier)
    assert cpu_name(tmp_path) == name
    assert set(device.sources) == {"name", "cpus", "cores", "tier"}


def test_an_identity_changes_with_what_code_is_built_for_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    def of(name: str, text: str) -> str:
        return identity(recorded(tmp_path / name, {"proc/cpuinfo": text}))

    xeon = XEON.format(more=" stepping")
    assert of("a", xeon) == of("b", xeon)
    assert of("kernel", XEON.format(more=" md_clear flush_l1d")) == of("c", XEON.format(more=""))
    others = {
        of("flag", XEON.format(more=" avx512_bf16")),
        of("maker", xeon.replace("GenuineIntel", "AuthenticAMD")),
        of("name", xeon.replace("8481C", "8488C")),
        of("stepping", xeon.replace("vendor_id", "stepping\t: 8\nvendor_id")),
        of("arm", CORTEX_A78),
        of("arm revision", CORTEX_A78.replace("CPU part", "CPU revision\t: 9\nCPU part")),
        of("nothing", ""),
    }
    assert len(others | {of("a", xeon)}) == 8
    assert "avx512-vnni" in of("a", xeon)


def test_a_machine_that_tells_nothing_has_a_name_and_no_tier(tmp_path: Path) -> None:
    device = describe(tmp_path)
    assert device.name
    assert device.tier is None


def test_this_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    device = describe()
    assert 1 <= device.cores <= device.cpus <= len(os.sched_getaffinity(0))
