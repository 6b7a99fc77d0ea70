"""The machine medge runs on: each fact with where it was read."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")

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
    """The CPU as this process may use it.

    ``cpus`` are logical, ``cores`` physical; both respect the affinity mask and the cgroup quota.
    ``tier`` is the widest instruction set that runtimes use, None where the kernel does not tell.
    ``sources`` maps each field to the file or call that it was read from.
    """

    name: str
    cpus: int
    cores: int
    tier: str | None
    sources: Mapping[str, str]


def describe(root: Path = ROOT) -> Device:
    """Return what is known of this machine's CPU; takes well under a millisecond."""
    facts = _cpuinfo(root)
    name, name_source = _name(root, facts)
    return Device(
        name=name,
        cpus=allowed_cpus(root),
        cores=allowed_cores(root),
        tier=_tier(facts),
        sources={
            "name": name_source,
            "cpus": "sched_getaffinity(2), cgroup cpu quota",
            "cores": "/sys/devices/system/cpu/*/topology/thread_siblings_list",
            "tier": "/proc/cpuinfo",
        },
    )


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
    if _text(cpu / "smt/active").strip() != "1":
        return _within_quota(len(allowed), root)
    siblings = {
        _text(cpu / f"cpu{number}/topology/thread_siblings_list") or str(number)
        for number in allowed
    }
    return _within_quota(len(siblings), root)


def _within_quota(cpus: int, root: Path) -> int:
    for quota_us, period_us in _quotas(root):
        cpus = min(cpus, quota_us // period_us)
    return max(1, cpus)


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Yield every CPU quota above this process as (quota, period) in microseconds."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2, alone or beside version 1
            for folder in (*_upwards(base, path), *_upwards(base / "unified", path)):
                yield from _quota(_text(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for name in {controllers, "cpu"}:
                for folder in _upwards(base / name, path):
                    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    yield from _quota([_text(folder / file).strip() for file in files])


def _quota(words: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the pair unless there is no limit: "max" in version 2, -1 in version 1."""
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
        yield int(words[0]), int(words[1])


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a cgroup and of all its parents.

    In a container the path may be the host's, of which only the base can be seen.
    """
    group = PurePosixPath(path.lstrip("/"))
    if ".." not in group.parts:
        for part in (group, *group.parents):
            yield base / part
    yield base


def identity(root: Path = ROOT) -> str:
    """Return what has to be equal for something built or measured on one CPU to hold on another.

    Maker, family, model, stepping (on ARM: implementer, part, variant, revision), the tier, a short
    digest of the instruction sets that the kernel shows, because virtual machines hide some of
    them, and the name.
    """
    facts = _cpuinfo(root)
    parts = [facts[key] for key in (*_X86_KEYS, *_ARM_KEYS) if key in facts]
    flags = sorted(flag for flag in _flags(facts) if flag.startswith(_INSTRUCTION_SETS))
    digest = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:12]
    numbers = "-".join(parts) or platform.machine()
    return f"{numbers} {_tier(facts) or 'no known tier'} {digest} {_name(root, facts)[0]}"


def cpu_name(root: Path = ROOT) -> str:
    """Return the CPU's name, on boards whose CPU has none the board's."""
    return _name(root, _cpuinfo(root))[0]


def _name(root: Path, facts: Mapping[str, str]) -> tuple[str, str]:
    """Return a name and where it was read."""
    if "model name" in facts:
        return facts["model name"], "/proc/cpuinfo"
    board = _text(root / "proc/device-tree/model").strip("\0\n ")
    if board:
        return board, "/proc/device-tree/model"
    if "CPU part" in facts:
        implementer = facts.get("CPU implementer", "?")
        return f"CPU implementer {implementer} part {facts['CPU part']}", "/proc/cpuinfo"
    return platform.machine() or "unknown CPU", "uname(2)"


def _tier(facts: Mapping[str, str]) -> str | None:
    flags = _flags(facts)
    tiers = X86_TIERS if "flags" in facts else ARM_TIERS
    return next((name for name, needed in tiers if needed <= flags), None)


def _flags(facts: Mapping[str, str]) -> set[str]:
    return set(facts.get("flags", "").split()) or set(facts.get("Features", "").split())


def _cpuinfo(root: Path) -> dict[str, str]:
    """Return the facts of the first CPU.

    One read, one page: the kernel gathers the clock of every CPU that is asked for.
    """
    pairs: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo", 8192).splitlines():
        key, separator, value = line.partition(":")
        if not separator and pairs:
            break
        pairs[key.strip()] = value.strip()
    return pairs


def _text(path: Path, limit_bytes: int = 65536) -> str:
    """Return a small kernel file, empty where it does not exist or is hidden from us."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(handle, limit_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(handle)
