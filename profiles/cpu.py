"""The CPU: make, cores, instruction sets, caches and clocks, each with where it was read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from medge.profiles.cgroup import allowed_cpu_list, cpu_quotas
from medge.profiles.device import allowed_cores, allowed_cpus, first_cpu, flags_of, tier_of
from medge.profiles.facts import Fact, Facts, Problem
from medge.profiles.kernel_files import (
    ROOT,
    cpu_list,
    entries,
    read_number,
    read_text,
    read_word,
    size_bytes,
)
from medge.profiles.microarchitecture import ARM, microarchitecture

CPUINFO = "/proc/cpuinfo"
CPU = "/sys/devices/system/cpu"

# What runtimes choose kernels by; those beside the tier are facts, for they speed up one precision.
SHOWN_FLAGS = (
    *("sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_vnni_int8"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16"),
    *("sme", "sme2"),
)
_MOST_CPUINFO_BYTES = 4 << 20  # a line of flags for each of a thousand CPUs
_SCALES_BY_ITSELF = ("intel_pstate", "amd-pstate-epp")  # there "powersave" follows the load


def cpu_facts(root: Path = ROOT) -> Facts:
    """Return what the kernel tells of the CPU; what it does not tell is left out."""
    first = first_cpu(root)
    facts: Facts = {}
    facts.update(_make(root, first))
    facts.update(_counts(root))
    facts.update(_instruction_sets(first))
    facts.update(_caches(root))
    facts.update(_clocks(root, first))
    return facts


def cpu_problems(facts: Facts) -> Iterator[Problem]:
    """Yield what makes this CPU slow, or its times vary."""
    flags = facts["instruction_sets"].value if "instruction_sets" in facts else ()
    x86 = isinstance(flags, tuple) and "sse4_1" in flags
    if x86 and isinstance(flags, tuple) and "avx2" not in flags:
        yield Problem(
            "no-avx2",
            "This CPU has no AVX2, or its virtual machine hides it: networks run several times "
            "slower.",
            "In a virtual machine, let the guest see the host's CPU (QEMU: -cpu host).",
        )
    governor, driver = (facts.get(name) for name in ("governor", "frequency_driver"))
    slow = governor is not None and governor.value in ("powersave", "conservative")
    if slow and (driver is None or driver.value not in _SCALES_BY_ITSELF):
        yield Problem(
            "governor",
            f"The frequency governor is {governor.value if governor else ''}: the clock stays low "
            "or rises late, and latency varies.",
            "Let the clock rise before measuring.",
            "sudo cpupower frequency-set -g performance",
        )


def _make(root: Path, first: Mapping[str, str]) -> Iterator[tuple[str, Fact]]:
    """Yield vendor, names and numbers."""
    implementer = first.get("CPU implementer", "").lower()
    vendor = first.get("vendor_id") or ARM.get(implementer) or implementer
    if vendor:
        yield "vendor", Fact(vendor, "", CPUINFO)
    if first.get("model name"):
        yield "model", Fact(first["model name"], "", CPUINFO)
    numbers = ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    said = tuple(f"{key} {first[key]}" for key in (*numbers, "CPU revision") if key in first)
    if said:
        yield "numbers", Fact(said, "", CPUINFO)
    names = {row.name: row.source for row in map(microarchitecture, _kinds(root)) if row}
    if names:
        source = f"{CPUINFO}; {next(iter(names.values()))}"
        yield "microarchitecture", Fact(" and ".join(names), "", source)


def _kinds(root: Path) -> list[dict[str, str]]:
    """Return one CPU of each kind: on ARM a system may have several."""
    kinds: dict[tuple[str | None, ...], dict[str, str]] = {}
    for block in _blocks(root):
        key = tuple(map(block.get, ("vendor_id", "model", "CPU implementer", "CPU part")))
        if any(key):
            kinds.setdefault(key, block)
    return list(kinds.values())


def _blocks(root: Path) -> Iterator[dict[str, str]]:
    """Yield what /proc/cpuinfo says of each CPU."""
    for paragraph in re.split(r"\n\s*\n", _whole_cpuinfo(root)):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        yield {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _whole_cpuinfo(root: Path) -> str:
    try:
        with (root / "proc/cpuinfo").open("rb") as stream:
            return stream.read(_MOST_CPUINFO_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _counts(root: Path) -> Iterator[tuple[str, Fact]]:
    """Yield how many CPUs there are, and how many this process may use."""
    cpu = root / "sys/devices/system/cpu"
    online = cpu_list(read_text(cpu / "online"))
    if online is not None:
        yield "online_cpus", Fact(len(online), "", f"{CPU}/online")
        siblings = {read_word(cpu / f"cpu{n}/topology/thread_siblings_list") for n in online}
        if None not in siblings:
            source = f"{CPU}/cpu*/topology/thread_siblings_list"
            yield "online_cores", Fact(len(siblings), "", source)
    else:
        listed = sum("processor" in block for block in _blocks(root))
        if listed:
            yield "online_cpus", Fact(listed, "", CPUINFO)
    yield "affinity_cpus", Fact(len(os.sched_getaffinity(0)), "", "sched_getaffinity(2)")
    group = allowed_cpu_list(root)
    if group is not None and cpu_list(group[0]) is not None:
        yield "cpuset", Fact(group[0], "", _shown(root, group[1]))
    quotas = [(quota / period, file) for quota, period, file in cpu_quotas(root)]
    if quotas:
        least, file = min(quotas)
        yield "quota_cpus", Fact(round(least, 3), "", _shown(root, file))
    both = "sched_getaffinity(2), cgroup CPU quota"
    yield "allowed_cpus", Fact(allowed_cpus(root), "", both)
    yield "allowed_cores", Fact(allowed_cores(root), "", f"{both}, {CPU}/*/topology")
    smt = read_word(cpu / "smt/active")
    if smt in ("0", "1"):
        yield "smt", Fact(smt == "1", "", f"{CPU}/smt/active")


def _instruction_sets(first: Mapping[str, str]) -> Iterator[tuple[str, Fact]]:
    tier = tier_of(first)
    if tier is not None:
        yield "tier", Fact(tier, "", CPUINFO)
    flags = flags_of(first)
    shown = tuple(flag for flag in SHOWN_FLAGS if flag in flags)
    if shown:
        yield "instruction_sets", Fact(shown, "", CPUINFO)


def _caches(root: Path) -> Iterator[tuple[str, Fact]]:
    """Yield the caches of the first CPU, each with its size and how many CPUs share it."""
    for folder in entries(root / "sys/devices/system/cpu/cpu0/cache", "index*"):
        level, kind = read_word(folder / "level"), read_word(folder / "type")
        size = size_bytes(read_text(folder / "size"))
        if level is None or not re.fullmatch(r"[1-4]", level) or size is None:
            continue
        letter = {"Data": "d", "Instruction": "i"}.get(kind or "", "")
        source = _shown(root, folder / "size")
        yield f"l{level}{letter}_cache", Fact(size, "bytes", source)
        sharing = cpu_list(read_text(folder / "shared_cpu_list"))
        if sharing is not None and len(sharing) > 1:
            source = _shown(root, folder / "shared_cpu_list")
            yield f"l{level}{letter}_cache_cpus", Fact(len(sharing), "", source)


def last_level_cache_bytes(root: Path = ROOT) -> int | None:
    """Return the size of all last-level caches of the machine, None where the kernel is silent."""
    found: Counter[tuple[str, str]] = Counter()
    for folder in entries(root / "sys/devices/system/cpu", "cpu*/cache/index*"):
        level, shared = read_word(folder / "level"), read_word(folder / "shared_cpu_list")
        size = size_bytes(read_text(folder / "size"))
        if level is not None and shared is not None and size is not None:
            found[level, shared] = size
    if not found:
        return None
    last = max(level for level, _ in found)
    return sum(size for (level, _), size in found.items() if level == last)


def _clocks(root: Path, first: Mapping[str, str]) -> Iterator[tuple[str, Fact]]:
    """Yield governor and frequencies; a virtual machine often shows only the present clock."""
    cpu = root / "sys/devices/system/cpu"
    policies = entries(cpu / "cpufreq", "policy*") or entries(cpu, "cpu0/cpufreq")
    for name, file in (("governor", "scaling_governor"), ("frequency_driver", "scaling_driver")):
        said = dict.fromkeys(filter(None, (read_word(policy / file) for policy in policies)))
        if said:
            yield name, Fact(", ".join(said), "", _shown(root, policies[0] / file))
    for name, file, pick in (
        ("frequency_min", "cpuinfo_min_freq", min),
        ("frequency_max", "cpuinfo_max_freq", max),
        ("frequency", "scaling_cur_freq", max),
    ):
        khz = [found for policy in policies if (found := read_number(policy / file)) is not None]
        if khz:
            yield name, Fact(pick(khz) / 1000.0, "MHz", _shown(root, policies[0] / file))
    clock = first.get("cpu MHz", "")
    if not policies and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", clock, re.ASCII):
        yield "frequency", Fact(float(clock), "MHz", CPUINFO)


def _shown(root: Path, path: Path) -> str:
    """Return a path as it is on the machine itself."""
    return f"/{path.relative_to(root)}"
