"""Temperatures: thermal zones of the kernel, else the sensors of the CPU itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medge.profiles.kernel_files import entries, read_word
from medge.profiles.sensors.source import Found, Source, file_source
from medge.profiles.sensors.trace import Channel

MOST_ZONES = 16
CPU_ZONES = ("x86_pkg_temp", "cpu", "soc", "tj", "tcpu", "b0d4", "bcm2835_thermal", "bigcore")
CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
CPU_LABELS = ("Package id", "Physical id", "Tctl", "Tdie")


def thermal(root: Path) -> Found:
    """Return the temperatures of thermal zones, and of the CPU where no zone is the CPU's."""
    found = Found()
    found.sources.extend(_zones(root))
    told = [source.channel.part.lower() for source in found.sources]
    if not any(part.startswith(CPU_ZONES) for part in told):
        found.sources.extend(_chips(root))
    if not found.sources:
        found.reasons["temperature"] = (
            "no thermal zone below /sys/class/thermal and no hwmon device of the CPU gives a value"
        )
    return found


def _zones(root: Path) -> Iterator[Source]:
    top = root / "sys/class/thermal"
    names: set[str] = set()
    folders = sorted(entries(top, "thermal_zone*"), key=lambda each: (len(each.name), each.name))
    for folder in folders[:MOST_ZONES]:
        kind = read_word(folder / "type") or folder.name
        name = kind if kind not in names else f"{kind} {folder.name.removeprefix('thermal_zone')}"
        names.add(kind)
        source = _degrees(root, folder / "temp", name)
        if source is not None:
            yield source


def _chips(root: Path) -> Iterator[Source]:
    """Yield the whole package's temperature of each CPU; cores of it are left out."""
    for folder in entries(root / "sys/class/hwmon"):
        chip = read_word(folder / "name") or ""
        if chip not in CPU_CHIPS:
            continue
        for file in entries(folder, "temp*_input"):
            label = read_word(folder / file.name.replace("_input", "_label"))
            if label is None or label.startswith(CPU_LABELS):
                number = folder.name.removeprefix("hwmon")
                said = label or file.name.removesuffix("_input")
                source = _degrees(root, file, f"{chip} {number} {said}")
                if source is not None:
                    yield source


def _degrees(root: Path, file: Path, name: str) -> Source | None:
    """Return a temperature in thousandths of a degree; None where none can be had or be true."""
    channel = Channel(
        quantity="temperature", part=name, unit="C", source=f"/{file.relative_to(root)}"
    )
    try:
        source = file_source(channel, file, 1000)
    except OSError:
        return None
    first = source.read()
    # Sensors that are switched off tell -40, -273 or 0 (acpitz, Tegra's unused zones).
    if first is None or not 0.0 < first < 150.0:
        source.close()
        return None
    return source
