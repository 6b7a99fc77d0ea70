"""What this board tells of itself: its kernel's files, clocks and temperatures (Python 3.6)."""

import glob
import os
import platform
from typing import Any, Dict

BOARD_FILES = (
    *("proc/device-tree/model", "proc/device-tree/compatible", "etc/nv_tegra_release"),
    *("etc/nvpmodel.conf", "var/lib/nvpmodel/status"),
)
CPU_KEYS = (
    *("model name", "Features", "flags", "vendor_id", "cpu family", "model", "stepping"),
    *("CPU implementer", "CPU part", "CPU variant", "CPU revision"),
)
STATE_FILES = (
    *("sys/class/devfreq/*/cur_freq", "sys/class/devfreq/*/min_freq"),
    *("sys/class/devfreq/*/max_freq", "sys/class/devfreq/*/governor"),
    *("sys/class/thermal/thermal_zone*/type", "sys/class/thermal/thermal_zone*/temp"),
    *("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",),
    *("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",),
)
FILE_CAP_BYTES = 1 << 16  # nvpmodel.conf of a board with eight modes has most of 16 KiB

Json = Dict[str, Any]


def board(root: str) -> Json:
    """Return what this board says of itself: no serial number is among it."""
    texts = {name: _text(root, name) for name in BOARD_FILES}
    cpu = _text(root, "proc/cpuinfo").split("\n\n")[0]
    lines = [line for line in cpu.splitlines() if line.partition(":")[0].strip() in CPU_KEYS]
    return {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpuinfo": "\n".join(lines),
        "files": {name: text for name, text in texts.items() if text},
    }


def states(root: str) -> Json:
    """Return clocks and temperatures as the kernel tells them."""
    found = {}
    for pattern in STATE_FILES:
        for path in sorted(glob.glob(os.path.join(root, pattern))):
            name = os.path.relpath(path, root)
            found[name] = _text(root, name).strip()
    return found


def _text(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), "rb") as stream:
            return stream.read(FILE_CAP_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""  # not every board has every file; what is not there is not told
