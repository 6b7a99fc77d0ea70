"""The machine medge runs on: each fact with where it was read."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medge.profiles.cgroup import cpu_quotas
from medge.profiles.cuda_driver import CudaGpu
from medge.profiles.kernel_files import ROOT, read_text

# Best first; the tier is the first of which every flag is there.
X86_TIERS = (
    ("amx", {"amx_tile", "amx_bf16", "amx_int8"}),
    ("avx512-vnni", {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}),
    ("avx512", {"avx512f", "avx512bw", "avx512vl"}),
    ("avx2-vnni", {"avx2", "fma", "avx_vnni"}),
    ("avx2", {"avx2", "fma"}),
    ("sse4", {"sse4_1"}),
)
ARM_TIERS = (("sve", {"sve"}), ("neon-dot", {"asimd", "asimddp"}), ("neon", {"asimd"}))

_X86_KEYS = ("vendor_id", "cpu family", "model", "stepping")
_ARM_KEYS = ("CPU implementer", "CPU part", "CPU variant", "CPU revision")
# Flags of x86 and ARM that runtimes choose their kernels by; others come and go with the kernel.
_INSTRUCTION_SETS = (
    *("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi", "gfni", "vaes", "vpclmul", "popcnt"),
    *("asimd", "sve", "sme", "fp", "i8mm", "bf16", "crc32", "atomics"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """The CPU as this process may use it, and the GPU that a network ran on.

    ``cpus`` are logical, ``cores`` physical; both respect the affinity mask and the cgroup quota.
    ``tier`` is the widest instruction set that runtimes use, None where the kernel does not tell.
    ``sources`` maps each field to the file or call that it was read from. ``gpu`` is None where no
    NVIDIA GPU took part.
    """

    name: str
    cpus: int
    cores: int
    tier: str | None
    sources: Mapping[str, str]
    gpu: CudaGpu | None = None


def describe(root: Path = ROOT) -> Device:
    """Return what is known of this machine's CPU; takes well under a millisecond."""
    facts = first_cpu(root)
    name, name_source = name_of(root, facts)
    return Device(
        name=name,
        cpus=allowed_cpus(root),
        cores=allowed_cores(root),
        tier=tier_of(facts),
        sources={
            "name": name_source,
            "cpus": "sched_getaffinity(2), cgroup cpu quota",
            "cores": "/sys/devices/system/cpu/*/topology/thread_siblings_list",
            "tier": "/proc/cpuinfo",
        },
    )


def device_tier(root: Path = ROOT) -> str:
    """Return the tier of this machine that decisions hold for; other tiers compute otherwise."""
    return tier_of(first_cpu(root)) or f"unknown-{platform.machine()}"


def allowed_cpus(root: Path = ROOT) -> int:
    """Return how many logical CPUs this process may keep busy: affinity mask and cgroup quota.

    A quota of 2.5 CPUs gives 2: a third thread would use the quota up before the period ends, and
    then a frame waits for the next one, up to 100 ms.
    """
    return _within_quota(len(os.sched_getaffinity(0)), root)


def allowed_cores(root: Path = ROOT) -> int:
    """Return how many physical cores this process may keep busy.

    Two threads of one core share its vector units, so more threads than cores gain nothing.
    """
    allowed = os.sched_getaffinity(0)
    cpu = root / "sys/devices/system/cpu"
    if read_text(cpu / "smt/active").strip() != "1":
        return _within_quota(len(allowed), root)
    siblings = {
        read_text(cpu / f"cpu{number}/topology/thread_siblings_list") or str(number)
        for number in allowed
    }
    return _within_quota(len(siblings), root)


def _within_quota(cpus: int, root: Path) -> int:
    for quota_us, period_us, _ in cpu_quotas(root):
        cpus = min(cpus, quota_us // period_us)
    return max(1, cpus)


def identity(root: Path = ROOT) -> str:
    """Return what has to be equal for something built or measured on one CPU to hold on another.

    Maker, family, model, stepping (on ARM: implementer, part, variant, revision), the tier, a short
    digest of the instruction sets that the kernel shows, because virtual machines hide some of
    them, and the name.
    """
    facts = first_cpu(root)
    parts = [facts[key] for key in (*_X86_KEYS, *_ARM_KEYS) if key in facts]
    flags = sorted(flag for flag in flags_of(facts) if flag.startswith(_INSTRUCTION_SETS))
    digest = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:12]
    numbers = "-".join(parts) or platform.machine()
    return f"{numbers} {tier_of(facts) or 'no known tier'} {digest} {name_of(root, facts)[0]}"


def cpu_name(root: Path = ROOT) -> str:
    """Return the CPU's name, on boards whose CPU has none the board's."""
    return name_of(root, first_cpu(root))[0]


def name_of(root: Path, facts: Mapping[str, str]) -> tuple[str, str]:
    """Return a name and where it was read."""
    if facts.get("model name"):
        return facts["model name"], "/proc/cpuinfo"
    board = read_text(root / "proc/device-tree/model").strip("\0\n ")
    if board:
        return board, "/proc/device-tree/model"
    if "CPU part" in facts:
        implementer = facts.get("CPU implementer", "?")
        return f"CPU implementer {implementer} part {facts['CPU part']}", "/proc/cpuinfo"
    return platform.machine() or "unknown CPU", "uname(2)"


def tier_of(facts: Mapping[str, str]) -> str | None:
    """Return the widest instruction set that runtimes use, None where the kernel does not tell."""
    flags = flags_of(facts)
    tiers = X86_TIERS if "flags" in facts else ARM_TIERS
    return next((name for name, needed in tiers if needed <= flags), None)


def flags_of(facts: Mapping[str, str]) -> set[str]:
    """Return the instruction sets that a CPU has, as the kernel names them."""
    return set(facts.get("flags", "").split()) or set(facts.get("Features", "").split())


def first_cpu(root: Path = ROOT) -> dict[str, str]:
    """Return what /proc/cpuinfo says of the first CPU.

    One read, one page: the kernel gathers the clock of every CPU that is asked for.
    """
    pairs: dict[str, str] = {}
    for line in read_text(root / "proc/cpuinfo", 8192).splitlines():
        key, separator, value = line.partition(":")
        if not separator and pairs:
            break
        pairs[key.strip()] = value.strip()
    return pairs
