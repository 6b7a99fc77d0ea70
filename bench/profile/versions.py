"""Versions of all that takes part in a measurement, for whoever wants to repeat it."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("medge", "numpy", "msgspec", "pydicom", "pillow")


def versions(backend: str, backend_version: str) -> dict[str, str]:
    """Return the versions of Python, packages, runtime, C library and kernel."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    found[backend] = backend_version
    libc, libc_version = platform.libc_ver()
    if libc_version:
        found[libc] = libc_version
    found[platform.system().lower() or "system"] = platform.release() or "unknown"
    return found
