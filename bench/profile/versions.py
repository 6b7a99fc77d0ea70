"""Versions of all that takes part in a measurement, for whoever wants to repeat it."""

from __future__ import annotations

import platform
from importlib import metadata

from medge.profiles.device_names import ordinal
from medge.profiles.nvidia import nvidia

PACKAGES = ("medge", "numpy", "msgspec", "pydicom", "pillow")


def versions(backend: str, backend_version: str, device: str = "cpu") -> dict[str, str]:
    """Return the versions of Python, packages, runtime, C library, kernel and GPU driver."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    found[backend] = backend_version
    libc, libc_version = platform.libc_ver()
    if libc_version:
        found[libc] = libc_version
    found[platform.system().lower() or "system"] = platform.release() or "unknown"
    return found | driver_versions(device)


def driver_versions(device: str) -> dict[str, str]:
    """Return the version of NVIDIA's driver for a device of its, nothing for others."""
    if ordinal(device) is None:
        return {}
    version = nvidia().driver_version
    return {"nvidia-driver": version or "unknown"}
