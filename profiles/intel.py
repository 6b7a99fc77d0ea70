"""Intel GPUs and NPUs that are in the machine and that a runtime does not see: what is missing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from medge.profiles.facts import Problem
from medge.profiles.kernel_files import ROOT, entries
from medge.profiles.pci import INTEL, Adapter
from medge.profiles.surroundings import surroundings

_DRIVERS = {"gpu": ("i915", "xe"), "npu": ("intel_vpu",)}
_NODES = {"gpu": ("dev/dri", "renderD*"), "npu": ("dev/accel", "accel*")}


def intel_problems(
    adapters: Sequence[Adapter], devices: Collection[str], root: Path = ROOT
) -> Iterator[Problem]:
    """Yield why OpenVINO does not see a GPU or NPU that the kernel sees.

    The order is that of OpenVINO's "Configurations for Intel GPUs" and "... NPUs": driver of the
    kernel, device node, right to open it, user-space driver.

    Parameters
    ----------
    devices
        What OpenVINO lists: "cpu", "GPU", "GPU.1", "NPU".
    """
    for kind in ("gpu", "npu"):
        present = [each for each in adapters if (each.kind, each.vendor) == (kind, INTEL)]
        if present and not any(device.startswith(kind.upper()) for device in devices):
            yield _unseen(kind, present, root)


def _unseen(kind: str, present: Sequence[Adapter], root: Path) -> Problem:
    rule, name = f"intel-{kind}", kind.upper()
    held = {each.driver for each in present if each.driver}
    if not held & set(_DRIVERS[kind]):
        by = f"the driver {', '.join(sorted(held))} holds" if held else "no driver holds"
        return Problem(
            rule,
            f"There is an Intel {name}, and {by} it.",
            f"It needs the kernel's driver {' or '.join(_DRIVERS[kind])}: use a newer kernel, or "
            "give it back if it was given to a virtual machine.",
        )
    folder, pattern = _NODES[kind]
    nodes = entries(root / folder, pattern)
    if not nodes and "container" in surroundings(root):
        return Problem(
            rule,
            f"There is an Intel {name}, and this container does not have /{folder}.",
            "Start the container with it.",
            f"docker run --device /{folder} ...",
        )
    if nodes and not any(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        return Problem(
            rule,
            f"There is an Intel {name}, and this user may not open /{nodes[0].relative_to(root)}.",
            "Give the user its group, and log in again.",
            "sudo usermod -aG render $USER",
        )
    if kind == "npu":
        return Problem(
            rule,
            "There is an Intel NPU, and OpenVINO does not see it.",
            "Install its user-space driver: the packages of github.com/intel/linux-npu-driver.",
        )
    return Problem(
        rule,
        "There is an Intel GPU, and OpenVINO does not see it.",
        "Install its compute driver.",
        "sudo apt-get install intel-opencl-icd",
    )
