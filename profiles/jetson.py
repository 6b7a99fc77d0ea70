"""NVIDIA Jetson boards: module, L4T and JetPack, power mode and power rails, from their files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

from medge.profiles.facts import Fact, Facts
from medge.profiles.kernel_files import ROOT, entries, read_text, read_word

TABLE = Path(__file__).parent / "data" / "jetpack.csv"
COMPATIBLE = "/proc/device-tree/compatible"
RELEASE = "/etc/nv_tegra_release"
POWER_MODES = "/etc/nvpmodel.conf"
POWER_MODE = "/var/lib/nvpmodel/status"


class Soc(Struct, frozen=True):
    """A Tegra chip: its name and the compute capability of its GPU."""

    name: str
    compute_capability: str


# Chips of Linux Documentation/devicetree/bindings/arm/tegra.yaml; capabilities of NVIDIA's list
# "CUDA GPU compute capability", where Thor is 11.0 since CUDA 13.
SOCS = {
    "tegra210": Soc("Tegra X1", "5.3"),
    "tegra186": Soc("Tegra X2", "6.2"),
    "tegra194": Soc("Xavier", "7.2"),
    "tegra234": Soc("Orin", "8.7"),
    "tegra264": Soc("Thor", "11.0"),
}


def soc(root: Path = ROOT) -> Soc | None:
    """Return the Tegra chip of this board, None on anything else."""
    for word in _compatible(root):
        maker, _, chip = word.partition(",")
        if maker == "nvidia" and chip in SOCS:
            return SOCS[chip]
    return None


def jetson_facts(root: Path = ROOT) -> Facts:
    """Return what a Jetson tells of itself; empty on anything else."""
    facts: Facts = {}
    chip = soc(root)
    if chip is None:
        return facts
    model = read_word(root / "proc/device-tree/model")
    if model is not None:
        facts["module"] = Fact(model, "", "/proc/device-tree/model")
    facts["soc"] = Fact(chip.name, "", COMPATIBLE)
    facts["compatible"] = Fact(tuple(_compatible(root)), "", COMPATIBLE)
    facts.update(_release(root))
    facts.update(_power_mode(root))
    rails = tuple(_rails(root))
    if rails:
        source = "/sys/bus/i2c/devices/*/hwmon/*/in*_label of the INA3221"
        facts["power_rails"] = Fact(rails, "", source)
    return facts


def _compatible(root: Path) -> list[str]:
    words = read_text(root / "proc/device-tree/compatible").split("\0")
    return [word.strip() for word in words if word.strip()]


def _release(root: Path) -> Iterator[tuple[str, Fact]]:
    """Yield L4T ("# R36 (release), REVISION: 4.3, ..." is 36.4.3) and the JetPack that has it."""
    text = read_text(root / "etc/nv_tegra_release")
    found = re.match(r"# R(\d{1,4}) \(release\), REVISION: (\d{1,4}(?:\.\d{1,4}){0,2})\b", text)
    if found is None:
        return
    l4t = f"{found[1]}.{found[2]}"
    yield "l4t", Fact(l4t, "", RELEASE)
    row = jetpacks().get(l4t.removesuffix(".0"))
    if row is not None:
        yield "jetpack", Fact(row[0], "", f"{RELEASE}; {row[1]}")


@cache
def jetpacks() -> Mapping[str, tuple[str, str]]:
    """Return JetPack's version and its source for each version of L4T, without a last ".0"."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        return {row["l4t"]: (row["jetpack"], row["source"]) for row in rows}


def _power_mode(root: Path) -> Iterator[tuple[str, Fact]]:
    """Yield the mode that nvpmodel set, by number and name, and those that it could."""
    text = read_text(root / "etc/nvpmodel.conf")
    found = re.findall(r"^< POWER_MODEL ID=(\d{1,3}) NAME=([\w.+-]{1,32}) >", text, re.MULTILINE)
    modes = {int(number): name for number, name in found}
    set_to = re.match(r"pmode:(\d{1,4})\b", read_text(root / "var/lib/nvpmodel/status"))
    preset = re.search(r"^< PM_CONFIG DEFAULT=(\d{1,3}) >", text, re.MULTILINE)
    for match, source in ((set_to, POWER_MODE), (preset, f"{POWER_MODES} PM_CONFIG DEFAULT")):
        if match is not None:
            number = int(match[1])
            name = modes.get(number)
            said = f"{number}" if name is None else f"{number} {name}"
            yield "power_mode", Fact(said, "", source)
            break
    if modes:
        said_all = tuple(f"{number} {name}" for number, name in sorted(modes.items()))
        yield "power_modes", Fact(said_all, "", POWER_MODES)


def _rails(root: Path) -> Iterator[str]:
    """Yield the names of the rails whose power can be read.

    Kernel 5 has them as labels of a hwmon device, kernel 4 as ``rail_name_N`` of an iio device.
    Channels that lead nowhere are named NC.
    """
    devices = root / "sys/bus/i2c/devices"
    for folder in entries(devices):
        if "ina3221" not in (read_word(folder / "name") or ""):
            continue
        for file in (
            *entries(folder, "hwmon/hwmon*/in*_label"),
            *entries(folder, "iio*/rail_name_*"),
        ):
            name = read_word(file)
            if name is not None and name not in ("NC", "sum of shunt voltages"):
                yield name
