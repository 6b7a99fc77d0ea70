"""Energy that CPUs and memory took, counted by the CPU itself (RAPL) and told by powercap."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medge.profiles.facts import Problem
from medge.profiles.kernel_files import entries, read_number, read_word
from medge.profiles.sensors.source import Found, file_source, refusal
from medge.profiles.sensors.trace import Channel

POWERCAP = "sys/class/powercap"
UPDATE_NS = 1_000_000  # about every millisecond (Intel SDM volume 3, energy status of the domains)
PERMIT = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"

# Numbers are hexadecimal (Linux drivers/powercap/powercap_sys.c names zones "%s:%x").
_ZONE = re.compile(r"(intel-rapl(?:-mmio)?):([0-9a-f]{1,4})(?::([0-9a-f]{1,4}))?")


def rapl(root: Path) -> Found:
    """Return the energy counters of packages, and of the memory beside them.

    ``core`` and ``uncore`` lie within their package; ``dram`` does not. ``psys`` is left out: what
    it counts is up to the maker of the board. The same package is often there twice, through
    registers of the CPU and through memory (``intel-rapl-mmio``): the first is taken.
    """
    found = Found()
    found.reasons["power"] = "RAPL counts energy; power is its rise over time"
    zones = list(_zones(root))
    if not zones:
        found.reasons["energy"] = (
            "/sys/class/powercap has no energy counter: the kernel knows none for this CPU, or a "
            "virtual machine or container hides it"
        )
        found.reasons["power"] = found.reasons["energy"]
        return found
    refused: list[str] = []
    for folder, part, within in zones:
        range_uj = read_number(folder / "max_energy_range_uj")
        channel = Channel(
            quantity="energy",
            part=part,
            unit="J",
            source=f"/{folder.relative_to(root)}/energy_uj (RAPL)",
            update_ns=UPDATE_NS,
            wraps_at=None if range_uj is None else range_uj / 1e6,
            within=within,
        )
        try:
            found.sources.append(file_source(channel, folder / "energy_uj", 1_000_000))
        except OSError as error:
            refused.append(f"{part}: {refusal(error)}")
    if not found.sources:
        problem = Problem(
            "energy-unreadable",
            f"RAPL counts the CPU's energy, but energy_uj cannot be read ({refused[0]}): since "
            "Linux 5.10 only root may (CVE-2020-8694).",
            "Permit it until the next start; docs/sensors.md has a rule that lasts.",
            PERMIT,
        )
        found.problems.append(problem)
        reason = f"{problem.found} {problem.next_step} {problem.command}"
        found.reasons["energy"] = found.reasons["power"] = reason
    return found


def _zones(root: Path) -> Iterator[tuple[Path, str, str | None]]:
    """Yield each zone's folder, its part, and the part that it lies within."""
    top = root / POWERCAP
    names: dict[tuple[str, int, int | None], tuple[Path, str]] = {}
    for folder in (*entries(top, "intel-rapl*:*"), *entries(top, "intel-rapl*/intel-rapl*:*")):
        place, name = _ZONE.fullmatch(folder.name), read_word(folder / "name")
        if place is None or name is None or not (folder / "energy_uj").exists():
            continue
        inner = None if place[3] is None else int(place[3], 16)
        names.setdefault((place[1], int(place[2], 16), inner), (folder, name))
    kinds = {kind for kind, _, inner in names if inner is None}
    kind = "intel-rapl" if "intel-rapl" in kinds else "intel-rapl-mmio"
    for (of, number, inner), (folder, name) in sorted(
        names.items(),
        key=lambda each: (*each[0][:2], -1 if each[0][2] is None else each[0][2]),
    ):
        outer = names.get((of, number, None))
        if of != kind or name == "psys" or outer is None or not outer[1].startswith("package"):
            continue
        if inner is None:
            yield folder, name, None
        else:
            yield folder, f"{outer[1]} {name}", None if name == "dram" else outer[1]
