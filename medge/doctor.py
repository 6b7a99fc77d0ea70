"""The examination of this machine: what it is, what runs on it, what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from msgspec import Struct

import medge
from medge.engine.decoders import packages
from medge.engine.kept import kept_facts, kept_problems
from medge.engine.probe import Runtime, runtimes
from medge.engine.select import GPU_ONLY
from medge.profiles.cpu import cpu_facts, cpu_problems, last_level_cache_bytes
from medge.profiles.device import allowed_cores
from medge.profiles.device_names import ordinal
from medge.profiles.facts import Fact, Facts, Problem
from medge.profiles.gpu import Gpu, Nvidia
from medge.profiles.intel import intel_problems
from medge.profiles.jetson import jetson_facts
from medge.profiles.memory import bandwidth_fact, measure_bandwidth, memory_facts, memory_problems
from medge.profiles.nvidia import nvidia
from medge.profiles.pci import INTEL, Adapter, adapters
from medge.profiles.sensors import open_sensors
from medge.profiles.sensors.chain import sensor_facts
from medge.profiles.surroundings import surroundings

PIP = "importlib.metadata"
_ADDED_BY = {"openvino": "openvino"}  # backend: the extra of medge that brings it


class Examination(Struct, frozen=True, kw_only=True):
    """What was found.

    Parameters
    ----------
    sections
        Facts by section and name, in the order in which people read them.
    problems
        What is broken or in the way.
    additions
        What would be of use on this hardware and is not installed.
    """

    sections: dict[str, Facts]
    runtimes: tuple[Runtime, ...]
    problems: tuple[Problem, ...]
    additions: tuple[Problem, ...]

    @property
    def runs(self) -> bool:
        """Whether any backend runs networks here."""
        return any(runtime.runs for runtime in self.runtimes)


def examine(*, measure: bool = True) -> Examination:
    """Examine this machine; takes some seconds, most of them the runtimes' own starts.

    Parameters
    ----------
    measure
        Whether memory bandwidth is measured, which loads all allowed cores for half a second.
    """
    cpu, memory, gpus, found = cpu_facts(), memory_facts(), nvidia(), adapters()
    shown = runtimes()
    kept = kept_facts()
    with open_sensors() as sensors:
        pass  # which of them answer is seen as they are opened
    problems = [
        *_runtime_problems(shown),
        *([gpus.problem] if gpus.problem else []),
        *_unused(gpus, shown),
        *intel_problems(found, _devices_of(shown, "openvino")),
        *cpu_problems(cpu),
        *memory_problems(memory),
        *_busy(),
        *kept_problems(kept),
    ]
    if measure:  # last: nothing else of the examination runs any more
        memory.update(_bandwidth(memory))
    sections = {
        "machine": surroundings(),
        "cpu": cpu,
        "memory": memory,
        **_nvidia_sections(gpus),
        "jetson": jetson_facts(),
        "adapters": _adapter_facts(found),
        "sensors": sensor_facts(sensors),
        "runtimes": _runtime_facts(shown),
        "codecs": _codec_facts(),
        "medge": {**_own_facts(), **kept},
    }
    return Examination(
        sections={name: facts for name, facts in sections.items() if facts},
        runtimes=shown,
        problems=tuple(problems),
        additions=(*_missing_runtimes(shown, found), *_missing_codecs(), *sensors.problems),
    )


def _bandwidth(memory: Facts) -> Facts:
    sizes = [memory[name].value for name in ("available", "limit") if name in memory]
    available_bytes = min((size for size in sizes if isinstance(size, int)), default=None)
    found = measure_bandwidth(last_level_cache_bytes(), allowed_cores(), available_bytes)
    return {} if found is None else {"bandwidth": bandwidth_fact(found)}


def _nvidia_sections(found: Nvidia) -> dict[str, Facts]:
    """Return one section for the driver and one for each GPU."""
    if found.state == "absent":
        return {}
    driver: Facts = {"state": Fact(found.state, "", "this examination")}
    if found.driver_version is not None:
        driver["driver"] = Fact(found.driver_version, "", found.driver_source)
    if found.cuda_version is not None:
        driver["cuda"] = Fact(found.cuda_version, "", "NVML, the newest that the driver runs")
    sections = {"nvidia": driver}
    for number, gpu in enumerate(found.gpus):
        sections[f"gpu {number}"] = _gpu_facts(gpu)
    return sections


def _gpu_facts(gpu: Gpu) -> Facts:
    told: dict[str, tuple[object, str]] = {
        "name": (gpu.name, ""),
        "compute_capability": (gpu.compute_capability, ""),
        "memory": (gpu.memory_bytes, "bytes"),
        "power_limit": (gpu.power_limit_w, "W"),
        "sm_clock": (gpu.sm_clock_mhz, "MHz"),
        "sm_clock_max": (gpu.max_sm_clock_mhz, "MHz"),
        "memory_clock": (gpu.memory_clock_mhz, "MHz"),
        "mig": (gpu.mig, ""),
        "integrated": (gpu.integrated or None, ""),
    }
    return {
        name: Fact(value, unit, gpu.source)
        for name, (value, unit) in told.items()
        if isinstance(value, bool | int | float | str)
    }


def _adapter_facts(found: tuple[Adapter, ...]) -> Facts:
    facts: Facts = {}
    for number, each in enumerate(found):
        held = "no driver" if each.driver is None else f"driver {each.driver}"
        said = f"{each.vendor_name} {each.device}, {held}"
        facts[f"{each.kind}_{number}"] = Fact(said, "", each.source)
    return facts


def _runtime_facts(shown: tuple[Runtime, ...]) -> Facts:
    facts: Facts = {}
    for each in shown:
        if each.version is not None:
            facts[each.backend] = Fact(each.version, "", PIP)
        for device, precisions in each.devices.items():
            source = f"{each.backend}'s own list of devices and capabilities"
            facts[f"{each.backend}_{device}"] = Fact(precisions, "", source)
    return facts


def _codec_facts() -> Facts:
    return {name: Fact(_version(name) or "not installed", "", PIP) for name in packages()}


def _own_facts() -> Facts:
    return {
        "version": Fact(medge.__version__, "", "medge"),
        "python": Fact(platform.python_version(), "", "sys.version"),
    }


def _runtime_problems(shown: tuple[Runtime, ...]) -> Iterator[Problem]:
    """Yield what keeps an installed runtime from running; the default one has to be installed."""
    for each in shown:
        optional = each.backend in _ADDED_BY or each.backend in GPU_ONLY
        if each.runs or (optional and not each.installed):
            continue
        found = f"{each.backend} {each.version or ''}".strip() + f": {each.message}"
        step = "Install it again, or another version."
        if not each.command:  # no package helps, and the message has said what does
            step = "Until then networks run on the CPU."
        yield Problem(each.rule, found, step, each.command)


def _unused(found: Nvidia, shown: tuple[Runtime, ...]) -> Iterator[Problem]:
    """Yield that a GPU stands idle, unless a runtime for it is here and says itself why."""
    served = any(each.installed and each.backend in GPU_ONLY for each in shown)
    served |= any(ordinal(device) is not None for each in shown for device in each.devices)
    if found.gpus and not served:
        yield Problem(
            "nvidia-unused",
            "There is an NVIDIA GPU, and nothing that is installed runs networks on it.",
            "Install a runtime for it; until then networks run on the CPU.",
            'python -m pip install "medge[nvidia]"',
        )


def _busy() -> Iterator[Problem]:
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > cpus:
        yield Problem(
            "busy",
            f"The machine is busy: {load:.1f} tasks want its {cpus} CPUs (load average of a "
            "minute). What is measured now is too slow.",
            "End what else runs before you measure.",
        )


def _missing_runtimes(shown: tuple[Runtime, ...], found: tuple[Adapter, ...]) -> Iterator[Problem]:
    for each in shown:
        if not each.installed and each.backend in _ADDED_BY:
            kinds = {card.kind.upper() for card in found if card.vendor == INTEL}
            use = f" and for the Intel {' and '.join(sorted(kinds))}" if kinds else ""
            yield Problem(
                "runtime-missing",
                f"{each.backend} is not installed: a second runtime for this CPU{use}, which "
                "`medge compile` times against the others.",
                "Install it.",
                f'python -m pip install "medge[{_ADDED_BY[each.backend]}]"',
            )


def _missing_codecs() -> Iterator[Problem]:
    """Yield one addition for each extra of medge whose codecs are not all installed."""
    missing: dict[str, list[str]] = {}
    for name, (extra, _) in packages().items():
        if _version(name) is None:
            missing.setdefault(extra, []).append(name)
    reads = {name: syntaxes[0] for name, (_, syntaxes) in packages().items()}
    for extra, names in missing.items():
        yield Problem(
            "codec-missing",
            f"Files in {' or '.join(reads[name] for name in names)} and the like cannot be read: "
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not installed.",
            "Install what such files need.",
            f'python -m pip install "medge[{extra}]"',
        )


def _devices_of(shown: tuple[Runtime, ...], backend: str) -> tuple[str, ...]:
    """Return what a backend lists; all devices where it does not run, which is told already."""
    for each in shown:
        if each.backend == backend and each.runs:
            return tuple(each.devices)
    return ("GPU", "NPU")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
