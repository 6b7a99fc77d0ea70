"""NVIDIA GPUs through NVML, or what driver, device nodes and device tree tell without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medge.profiles import pci
from medge.profiles.facts import Problem
from medge.profiles.gpu import Gpu, Nvidia
from medge.profiles.jetson import COMPATIBLE, soc
from medge.profiles.kernel_files import ROOT, entries, read_text
from medge.profiles.nvml import PACKAGE, installed, pynvml, through_nvml
from medge.profiles.surroundings import os_release, surroundings

# How distributions install the driver; others have a page for it.
_INSTALL_DRIVER = {
    "ubuntu": "sudo ubuntu-drivers install",
    "debian": "sudo apt-get install nvidia-driver",
}


def gpus(root: Path = ROOT) -> tuple[Gpu, ...]:
    """Return this machine's NVIDIA GPUs: name, compute capability and what else can be read."""
    return nvidia(root).gpus


def nvidia(root: Path = ROOT, library: Callable[[], Any] | None = None) -> Nvidia:
    """Return what is known of NVIDIA GPUs; no error where there is none.

    Parameters
    ----------
    library
        Returns the module pynvml; default: the installed one, if ``root`` is this machine.
    """
    if library is None and root == ROOT and installed():
        library = pynvml
    driver_version = _driver_version(root)
    cards = [each for each in pci.adapters(root) if each.vendor == pci.NVIDIA]
    nodes = entries(root / "dev", "nvidia[0-9]*")
    through_windows = (root / "dev/dxg").exists() and bool(
        entries(root / "usr/lib/wsl/lib", "libnvidia-ml.so*")
    )
    chip = soc(root)
    if not (cards or driver_version or nodes or through_windows or chip):
        return Nvidia(state="absent")
    in_the_way = _without_driver(root, cards, driver_version, bool(nodes))
    if in_the_way is not None and not through_windows and chip is None:
        return in_the_way
    if library is None:
        return _without_package(root, driver_version)
    told = through_nvml(library(), driver_version)
    if told.state != "ready" and chip is not None:  # before JetPack 7 a Jetson has no NVML
        return _board(root, driver_version)
    return told


def _without_driver(
    root: Path, cards: list[pci.Adapter], driver_version: str | None, nodes: bool
) -> Nvidia | None:
    """Return the state where NVML cannot work, None where it may."""
    container = surroundings(root).get("container")
    if driver_version is None:
        held = next((card.driver for card in cards if card.driver), None)
        found = f"the kernel's driver {held} holds" if held else "no driver holds"
        where = " on the host of this container" if container else ""
        command = "" if container else _INSTALL_DRIVER.get(os_release(root).get("ID", ""), "")
        return Nvidia(
            state="no-driver",
            gpus=tuple(_unread(card) for card in cards),
            problem=Problem(
                "nvidia-driver",
                f"There is an NVIDIA GPU, and {found} it.",
                f"Install NVIDIA's driver{where} and restart (docs.nvidia.com, Driver Installation "
                "Guide).",
                command,
            ),
        )
    if nodes:
        return None
    if container:
        step = "Start the container with the NVIDIA Container Toolkit and its GPUs."
        command = "docker run --gpus all ..."
    else:
        step = "Make the nodes, which the driver's own tool does."
        command = "sudo nvidia-modprobe --unified --create-nvidia-device-file=0"
    return Nvidia(
        state="no-device-node",
        gpus=_of_driver(root),
        driver_version=driver_version,
        problem=Problem(
            "nvidia-device-node",
            f"NVIDIA's driver {driver_version} is loaded, and /dev has no GPU of it.",
            step,
            command,
        ),
    )


def _without_package(root: Path, driver_version: str | None) -> Nvidia:
    if soc(root) is not None:
        return _board(root, driver_version)
    return Nvidia(
        state="no-package",
        gpus=_of_driver(root),
        driver_version=driver_version,
        problem=Problem(
            "nvidia-package",
            f"The package {PACKAGE} is not installed: compute capability, memory and clocks of "
            "the GPU cannot be read.",
            "Install it.",
            'python -m pip install "medge[nvidia]"',
        ),
    )


def _board(root: Path, driver_version: str | None) -> Nvidia:
    """Return the GPU of a Jetson, whose chip tells what it is."""
    chip = soc(root)
    if chip is None:
        return Nvidia(state="absent")
    gpu = Gpu(
        name=f"{chip.name} integrated GPU",
        compute_capability=chip.compute_capability,
        integrated=True,
        source=COMPATIBLE,
    )
    return Nvidia(state="ready", gpus=(gpu,), driver_version=driver_version)


def _driver_version(root: Path) -> str | None:
    """Return the version of the loaded driver: "... Kernel Module  535.129.03  Thu ..."."""
    text = read_text(root / "proc/driver/nvidia/version")
    found = re.search(r"Kernel Module\s.{0,64}?\s(\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)\s", text)
    return found[1] if found else None


def _of_driver(root: Path) -> tuple[Gpu, ...]:
    """Return the GPUs that the driver names in files, which tell no compute capability."""
    found = []
    for file in entries(root / "proc/driver/nvidia/gpus", "*/information"):
        name = re.search(r"^Model:\s*(\S.{0,127}?)\s*$", read_text(file), re.MULTILINE)
        if name:
            found.append(Gpu(name=name[1], source=f"/{file.relative_to(root)}"))
    return tuple(found)


def _unread(card: pci.Adapter) -> Gpu:
    return Gpu(name=f"NVIDIA GPU, PCI device {card.device}", source=card.source)
