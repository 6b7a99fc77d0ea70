"""Clocks of CPUs, how often x86 CPUs slowed down for heat, and what holds any CPU back now."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from medge.profiles.device import first_cpu, flags_of
from medge.profiles.kernel_files import ROOT, cpu_list, entries, read_number, read_text, read_word
from medge.profiles.sensors.source import (
    Found,
    NumberFile,
    Source,
    file_source,
    refusal,
    sum_source,
)
from medge.profiles.sensors.trace import Channel

CPUS = "sys/devices/system/cpu"
MOST_CLOCKS = 8  # each costs a call of the kernel, some of them an interrupt of that CPU
COOLERS = ("Processor", "cpufreq", "devfreq", "thermal-cpufreq", "thermal-devfreq")

_MHZ = re.compile(r"^cpu MHz\s*: (\d{1,7}\.\d{1,6})$", re.MULTILINE)


def cpu(root: Path) -> Found:
    """Return the clocks of this process's CPUs, and what slowed CPUs down."""
    found = Found()
    cpus = _cpus(root)
    _clocks(found, root, cpus)
    throttles = [*_throttle_counters(root, cpus), *_held_back(root), *_raspberry_pi(root)]
    found.sources.extend(throttles)
    if not throttles:
        found.reasons["throttle"] = (
            "the kernel tells neither thermal_throttle of a CPU nor a cooling device that slows one"
        )
    return found


def _cpus(root: Path) -> list[int]:
    """Return the CPUs that a candidate may run on, those of a captured tree all of them."""
    online = cpu_list(read_text(root / CPUS / "online"))
    if online is None:
        names = [folder.name[3:] for folder in entries(root / CPUS, "cpu[0-9]*")]
        online = frozenset(int(name) for name in names if name.isdecimal())
    if root == ROOT:
        online &= os.sched_getaffinity(0)
    return sorted(online)


def _clocks(found: Found, root: Path, cpus: list[int]) -> None:
    """Add a channel for each clock domain, a few of them on large machines, or say why not."""
    refused: list[str] = []
    for number in _spread([*_domains(root, cpus)]):
        file = root / CPUS / f"cpu{number}/cpufreq/scaling_cur_freq"
        channel = Channel(
            quantity="clock",
            part=f"cpu{number}",
            unit="MHz",
            source=f"/{file.relative_to(root)}",
        )
        try:
            source = file_source(channel, file, 1000)
        except OSError as error:
            refused.append(refusal(error))
            continue
        if source.read() is None:
            source.close()
            refused.append("it gives no value")
        else:
            found.sources.append(source)
    if found.sources:
        return
    source_of_all = _cpuinfo_clock(root)
    if source_of_all is not None:
        found.sources.append(source_of_all)
    elif refused:
        found.reasons["clock"] = f"scaling_cur_freq of the CPUs: {refused[0]}"
    elif _MHZ.search(read_text(root / "proc/cpuinfo")):
        found.reasons["clock"] = (
            "no cpufreq, and the CPU shows no flag aperfmperf, as in most virtual machines: "
            "cpu MHz in /proc/cpuinfo is then the nominal clock, which is no measurement"
        )
    else:
        found.reasons["clock"] = "no cpufreq of any CPU, and no cpu MHz in /proc/cpuinfo"


def _domains(root: Path, cpus: Iterable[int]) -> Iterator[int]:
    """Yield the first CPU of each clock domain that can be read."""
    seen: set[int] = set()
    for number in cpus:
        folder = root / CPUS / f"cpu{number}/cpufreq"
        if number in seen or not (folder / "scaling_cur_freq").exists():
            continue
        words = read_text(folder / "related_cpus").split()
        seen.update(int(word) for word in words if re.fullmatch(r"[0-9]{1,6}", word))
        yield number


def _spread(numbers: list[int]) -> list[int]:
    """Return at most ``MOST_CLOCKS`` of the CPUs, evenly among them."""
    if len(numbers) <= MOST_CLOCKS:
        return numbers
    return [numbers[place * len(numbers) // MOST_CLOCKS] for place in range(MOST_CLOCKS)]


def _cpuinfo_clock(root: Path) -> Source | None:
    """Return the highest clock of /proc/cpuinfo, None where that would be the nominal one.

    Without the counters APERF and MPERF the kernel prints the rate of its time stamp counter
    (Linux arch/x86/kernel/cpu/aperfmperf.c and proc.c).
    """
    file = root / "proc/cpuinfo"
    if "aperfmperf" not in flags_of(first_cpu(root)):
        return None

    def read() -> float | None:
        return max(map(float, _MHZ.findall(read_text(file, 4 << 20))), default=None)

    channel = Channel(
        quantity="clock", part="cpu", unit="MHz", source="/proc/cpuinfo cpu MHz, the highest"
    )
    return None if read() is None else Source(channel, read, lambda: None)


def _throttle_counters(root: Path, cpus: list[int]) -> Iterator[Source]:
    """Yield how often packages and cores were slowed down for heat since the machine started."""
    packages: dict[int, Path] = {}
    cores: list[Path] = []
    for number in cpus:
        folder = root / CPUS / f"cpu{number}"
        package = read_number(folder / "topology/physical_package_id") or 0
        packages.setdefault(package, folder / "thermal_throttle/package_throttle_count")
        cores.append(folder / "thermal_throttle/core_throttle_count")
    for package, file in sorted(packages.items()):
        channel = Channel(
            quantity="throttle",
            part=f"package-{package}",
            unit="events",
            source=f"/{file.relative_to(root)}",
        )
        with suppress(OSError):  # as on CPUs of AMD and Arm, and in virtual machines
            yield file_source(channel, file)
    chosen = [cores[place] for place in _spread([*range(len(cores))])]
    channel = Channel(
        quantity="throttle",
        part="cores",
        unit="events",
        source=f"/{CPUS}/cpu*/thermal_throttle/core_throttle_count of {len(chosen)} CPUs, added up",
    )
    counted = sum_source(channel, chosen)
    if counted is not None:
        yield counted


def _held_back(root: Path) -> Iterator[Source]:
    """Yield how far the kernel holds CPUs and GPUs back to cool them (Arm boards, ACPI).

    There is one cooling device for each CPU on some machines: those of one kind are added up.
    """
    kinds: dict[str, list[Path]] = {}
    for folder in entries(root / "sys/class/thermal", "cooling_device*"):
        kind = read_word(folder / "type") or ""
        if kind.startswith(COOLERS) and (folder / "cur_state").exists():
            kinds.setdefault(kind, []).append(folder / "cur_state")
    for kind, files in kinds.items():
        chosen = [files[place] for place in _spread([*range(len(files))])]
        said = f"/{chosen[0].relative_to(root)}"
        if len(files) > 1:
            said += f" and {len(chosen) - 1} of the {len(files) - 1} others, added up"
        channel = Channel(quantity="throttle", part=kind, unit="level", source=said)
        source = sum_source(channel, chosen)
        if source is not None:
            yield source


def _raspberry_pi(root: Path) -> Iterator[Source]:
    """Yield what the firmware of a Raspberry Pi does to its clocks, which cpufreq does not tell.

    Bits 0 to 3 are now: low voltage, clock capped, throttled, soft limit of temperature; the higher
    ones since the start (Raspberry Pi documentation, vcgencmd get_throttled).
    """
    for file in entries(root / "sys/devices/platform", "soc*/*firmware/get_throttled"):
        channel = Channel(
            quantity="throttle",
            part="firmware",
            unit="reasons",
            source=f"/{file.relative_to(root)} & 15",
        )
        with suppress(OSError):  # no channel then, and the chain says which reason is left
            opened = NumberFile(file, base=16)
            yield Source(channel, partial(_low_bits, opened), opened.close)


def _low_bits(file: NumberFile) -> float | None:
    number = file.read()
    return None if number is None else float(number & 15)
