"""Sensors of NVIDIA GPUs, through NVML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_args

from medge.profiles.nvml import NVML
from medge.profiles.sensors.source import Found, Source
from medge.profiles.sensors.trace import Channel, Quantity

# nvml.h: since Ampere, GA100 left out, power is the mean over a second; before, a momentary one.
POWER_UPDATE_NS = 1_000_000_000
# Yang, Adamek and Armour, "Part-time Power Measurements: nvidia-smi's Lack of Attention", 2023:
# 20 to 100 ms lie between two values, by the model of the GPU.
ENERGY_UPDATE_NS = 100_000_000
# nvml.h, clocks event reasons: power cap 4, hardware 8, software and hardware thermal 32 and 64,
# power brake 128, board limit 512, reliability 1024. An idle GPU (1) and clocks that somebody set
# (2, 16, 256) slow nothing down that was promised.
SLOWED = 4 | 8 | 32 | 64 | 128 | 512 | 1024

Question = tuple[Channel, Callable[[], float]]


def gpu(nvml: Any) -> tuple[Found, Callable[[], None]]:
    """Return what NVML tells of every GPU, and the call that lets go of its library.

    Parameters
    ----------
    nvml
        The module pynvml, whose library has answered before.
    """
    found = Found()
    try:
        nvml.nvmlInit()
        handles = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
    except nvml.NVMLError as error:
        reason = f"{NVML} fails with error {int(error.value)}"
        found.reasons.update(dict.fromkeys(get_args(Quantity), reason))
        return found, _nothing
    for index, handle in enumerate(handles):
        for channel, ask in _questions(nvml, handle, f"gpu{index}"):
            code = _refused(nvml, ask)
            if code is None:
                found.sources.append(Source(channel, _reader(nvml, ask), _nothing))
            else:
                reason = f"{channel.source} of {channel.part} fails with error {code}"
                found.reasons.setdefault(channel.quantity, reason)

    def close() -> None:
        with suppress(nvml.NVMLError):  # what it told holds, however it ends
            nvml.nvmlShutdown()

    return found, close


def _questions(nvml: Any, handle: Any, part: str) -> Iterator[Question]:
    def channel(quantity: Any, unit: Any, call: str, update_ns: int | None = None) -> Channel:
        return Channel(
            quantity=quantity, part=part, unit=unit, source=f"{NVML} {call}", update_ns=update_ns
        )

    yield (
        channel("energy", "J", "nvmlDeviceGetTotalEnergyConsumption", ENERGY_UPDATE_NS),
        lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
    )
    yield (
        channel("power", "W", "nvmlDeviceGetPowerUsage", POWER_UPDATE_NS),
        lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
    )
    yield (
        channel("clock", "MHz", "nvmlDeviceGetClockInfo SM"),
        lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
    )
    yield (
        channel("temperature", "C", "nvmlDeviceGetTemperature GPU"),
        lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
    )
    yield (
        channel("throttle", "reasons", f"nvmlDeviceGetCurrentClocksEventReasons & {SLOWED}"),
        lambda: _event_reasons(nvml, handle) & SLOWED,
    )
    yield (
        channel("load", "ratio", "nvmlDeviceGetUtilizationRates"),
        lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0,
    )


def _event_reasons(nvml: Any, handle: Any) -> int:
    """Return why clocks are as they are; drivers before 535 know the call by its older name."""
    try:
        return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _refused(nvml: Any, ask: Callable[[], float]) -> int | None:
    """Return the error with which NVML refuses a question, None where it answers."""
    try:
        ask()
    except nvml.NVMLError as error:
        return int(error.value)
    return None


def _reader(nvml: Any, ask: Callable[[], float]) -> Callable[[], float | None]:
    def read() -> float | None:
        try:
            return float(ask())
        except nvml.NVMLError:  # as after a GPU fell off the bus
            return None

    return read


def _nothing() -> None:
    """Let go of nothing: what was opened belongs to somebody else."""
