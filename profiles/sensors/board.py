"""Sensors of NVIDIA Jetson boards: power rails, the GPU's clock and load, and over-current."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from medge.profiles.kernel_files import entries, read_number, read_word
from medge.profiles.sensors.source import (
    Found,
    Source,
    file_source,
    product_source,
    refusal,
    sum_source,
)
from medge.profiles.sensors.trace import Channel, Quantity

DEVICES = "sys/bus/i2c/devices"
TOTALS = ("VIN", "VDD_IN", "POM_5V_IN")  # what feeds all others, best first
# The memory's supply of a Jetson AGX Orin is taken from its 5 V rail, so both show 5 V.
INNER = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
NOT_RAILS = ("NC", "sum of shunt voltages")
CHANNELS = (1, 2, 3)  # the INA3221 has three; its seventh of hwmon is a sum of voltages
GPU_NAMES = ("*gpu*", "*.ga10b", "*.gv11b", "*.gp10b")  # of the chip's GPU in /sys/class/devfreq
LOADS = ("sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load")

Rail = tuple[Channel, tuple[Path, ...], int]


def board(root: Path) -> Found:
    """Return what the files of a Jetson tell; the caller knows that this is one."""
    found = Found()
    found.reasons["energy"] = "the rails tell power; energy is its sum over time"
    refused = [*_open_rails(found, root)]
    if not found.sources:
        found.reasons["power"] = found.reasons["energy"] = (
            f"the power monitor of this board cannot be read ({refused[0]})"
            if refused
            else "no INA3221 or INA238 with named rails below /sys/bus/i2c/devices"
        )
    others: tuple[tuple[Quantity, Source | None, str], ...] = (
        ("clock", _gpu_clock(root), "no GPU below /sys/class/devfreq"),
        ("load", _gpu_load(root), "no file load of the GPU below /sys/devices"),
        ("throttle", _over_current(root), "no hwmon device soctherm_oc, which Orin and Thor have"),
    )
    for quantity, source, reason in others:
        if source is None:
            found.reasons[quantity] = reason
        else:
            found.sources.append(source)
    return found


def _open_rails(found: Found, root: Path) -> Iterator[str]:
    """Add a source for each rail that gives a value; yield what refused."""
    opened: list[Source] = []
    for channel, paths, per in (*_hwmon_rails(root), *_iio_rails(root)):
        try:
            source = product_source(channel, paths, per)
        except OSError as error:
            yield f"{channel.part}: {refusal(error)}"
            continue
        if source.read() is None:  # EINVAL: the chip is off, or this input is disabled
            source.close()
            yield f"{channel.part}: it gives no value"
        else:
            opened.append(source)
    names = {source.channel.part for source in opened}
    total = next((name for name in TOTALS if name in names), None)
    for source in opened:
        name = source.channel.part
        outer = INNER.get(name) if total is None else total
        within = outer if outer in names and outer != name else None
        found.sources.append(replace(source, channel=_within(source.channel, within)))


def _within(channel: Channel, within: str | None) -> Channel:
    return msgspec.structs.replace(channel, within=within)


def _hwmon_rails(root: Path) -> Iterator[Rail]:
    """Yield rails of kernel 5 and later: volts and amperes in thousandths, or watts in millionths.

    The INA3221 of Orin and before has labels; the INA238 of Thor's carrier board is its input VIN.
    """
    for folder in entries(root / DEVICES):
        chip = read_word(folder / "name") or ""
        for hwmon in entries(folder, "hwmon/hwmon*"):
            place = f"/{hwmon.relative_to(root)}"
            interval_ms = read_number(hwmon / "update_interval")
            update_ns = interval_ms * 1_000_000 if interval_ms else None
            if "ina238" in chip and (hwmon / "power1_input").exists():
                name = read_word(hwmon / "power1_label") or "VIN"
                channel = _rail(name, f"{place}/power1_input (INA238)", update_ns)
                yield channel, (hwmon / "power1_input",), 1_000_000
            elif "ina3221" in chip:
                for number in CHANNELS:
                    label = read_word(hwmon / f"in{number}_label")
                    if label is None or label in NOT_RAILS:
                        continue
                    files = (hwmon / f"in{number}_input", hwmon / f"curr{number}_input")
                    said = f"{place}/in{number}_input x curr{number}_input (INA3221)"
                    yield _rail(label, said, update_ns), files, 1_000_000


def _iio_rails(root: Path) -> Iterator[Rail]:
    """Yield rails of kernel 4 (JetPack 4), in milliwatts."""
    for folder in entries(root / DEVICES):
        if "ina3221" not in (read_word(folder / "name") or ""):
            continue
        for file in entries(folder, "iio*/rail_name_*"):
            name, number = read_word(file), file.name.removeprefix("rail_name_")
            if name is None or name in NOT_RAILS or not number.isdecimal():
                continue
            power = file.parent / f"in_power{number}_input"
            said = f"/{power.relative_to(root)} (INA3221)"
            yield _rail(name, said, None), (power,), 1000


def _rail(name: str, source: str, update_ns: int | None) -> Channel:
    return Channel(quantity="power", part=name, unit="W", source=source, update_ns=update_ns)


def _gpu_clock(root: Path) -> Source | None:
    """Return the clock of the integrated GPU; Thor has two domains, of which gpc computes."""
    top = root / "sys/class/devfreq"
    found = [folder for pattern in GPU_NAMES for folder in entries(top, pattern)]
    for folder in sorted(found, key=lambda each: ("gpc" not in each.name, each.name)):
        channel = Channel(
            quantity="clock",
            part="gpu0",
            unit="MHz",
            source=f"/{folder.relative_to(root)}/cur_freq",
        )
        source = _opened(channel, folder / "cur_freq", 1_000_000)
        if source is not None:
            return source
    return None


def _gpu_load(root: Path) -> Source | None:
    devfreq = [
        each for name in GPU_NAMES for each in entries(root / "sys/class/devfreq", f"{name}/device")
    ]
    for file in (*(root / place for place in LOADS), *(each / "load" for each in devfreq)):
        channel = Channel(
            quantity="load", part="gpu0", unit="ratio", source=f"/{file.relative_to(root)}"
        )
        source = _opened(channel, file, 1000)
        if source is not None:
            return source
    return None


def _over_current(root: Path) -> Source | None:
    """Return how often the board slowed itself down for its supply (Orin and Thor).

    OC1 is under-voltage, OC2 the average and OC3 the momentary current (NVIDIA, Jetson Linux
    Developer Guide, Platform Power and Performance).
    """
    for hwmon in entries(root / "sys/class/hwmon"):
        if read_word(hwmon / "name") != "soctherm_oc":
            continue
        files = [
            file
            for file in entries(hwmon, "oc*_event_cnt")
            if re.fullmatch(r"oc\d{1,2}_event_cnt", file.name)
        ]
        channel = Channel(
            quantity="throttle",
            part="board",
            unit="events",
            source=f"/{hwmon.relative_to(root)}/oc*_event_cnt, added up",
        )
        source = sum_source(channel, files)
        if source is not None:
            return source
    return None


def _opened(channel: Channel, path: Path, per: int) -> Source | None:
    try:
        source = file_source(channel, path, per)
    except OSError:
        return None
    if source.read() is None:
        source.close()
        return None
    return source
