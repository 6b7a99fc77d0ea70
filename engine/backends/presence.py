"""Which runtimes are installed, as pip knows it: nothing is imported to find out."""

from __future__ import annotations

import re
from importlib import metadata

from medge.engine.backends import backend_class
from medge.engine.backends.trt.library import PACKAGES
from medge.errors import BackendError

# These bring the same module; with both, the one that was installed last wins file by file.
RIVALS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
# Any of these brings the module, and the first draws in one of the others.
PARTS = {packages[0]: packages for packages in PACKAGES.values()}
GPU_PACKAGE = {  # which of them runs on NVIDIA GPUs
    "onnxruntime": "onnxruntime-gpu",
    "onnxruntime-tensorrt": "onnxruntime-gpu",
}


def absence(backend: str) -> BackendError | None:
    """Return why a backend cannot be used here, with the command that helps; None if it can."""
    for requirement in backend_class(backend).requires:
        found = _found(requirement)
        if len(found) > 1:
            return BackendError(
                "backend-conflict",
                f"{' and '.join(found)} are both installed under one import name. Keep one: "
                f"{remedy(backend)}",
            )
        if not found:
            return _missing(backend, requirement, "is not installed")
        version = next(iter(found.values()))
        if _numbers(version) < _numbers(requirement.partition(">=")[2]):
            return _missing(backend, requirement, f"is {version}")
    return None


def gpu_absence(backend: str) -> BackendError | None:
    """Return why a backend cannot use NVIDIA GPUs, as far as packages tell; None if it may."""
    missing = absence(backend)
    package = GPU_PACKAGE.get(backend)
    if package is None:
        return missing
    found = [each for each in RIVALS["onnxruntime"] if _version(each) is not None]
    removal = f"python -m pip uninstall -y {' '.join(found)} && " if found else ""
    command = f'{removal}python -m pip install "{package}[cuda,cudnn]"'
    if len(found) > 1:
        return BackendError(
            "backend-conflict",
            f"{' and '.join(found)} are both installed under one import name. For NVIDIA GPUs "
            f"keep {package}: {command}",
        )
    if found == [package]:
        return missing
    how = f"takes the place of {found[0]}" if found else "is not installed"
    return BackendError(
        "backend-missing",
        f"Backend {backend} needs {package} for NVIDIA GPUs, which {how}: {command}",
    )


def remedy(backend: str) -> str:
    """Return the command that makes a backend's runtime usable where ``absence`` says why not.

    Of two packages with one import name the one that is installed stays what it is.
    """
    removals, needed = [], []
    for requirement in backend_class(backend).requires:
        found = _found(requirement)
        if len(found) > 1:
            removals.append(f"python -m pip uninstall -y {' '.join(found)} && ")
        name, separator, version = requirement.partition(">=")
        kept = next(iter(found)) if len(found) == 1 else name
        needed.append(f'"{kept}{separator}{version}"')
    return f"{''.join(removals)}python -m pip install {' '.join(needed)}"


def installed_version(backend: str) -> str | None:
    """Return the version of a backend's runtime as pip knows it, None where it is not installed."""
    for requirement in backend_class(backend).requires:
        for version in _found(requirement).values():
            return version
    return None


def require(backend: str, *, gpu: bool = False) -> None:
    """Raise what ``absence``, or for an NVIDIA GPU ``gpu_absence``, returns, if anything."""
    error = gpu_absence(backend) if gpu else absence(backend)
    if error is not None:
        raise error


def _missing(backend: str, requirement: str, found: str) -> BackendError:
    return BackendError(
        "backend-missing",
        f"Backend {backend} needs {requirement}, which {found}: {remedy(backend)}",
    )


def _found(requirement: str) -> dict[str, str]:
    """Return the installed packages that meet a requirement by name, with their versions."""
    name = requirement.partition(">=")[0]
    names = RIVALS.get(name, PARTS.get(name, (name,)))
    found = {each: version for each in names if (version := _version(each)) is not None}
    return dict(list(found.items())[:1]) if name in PARTS else found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: "2026.4.1.post2" -> (2026, 4, 1)."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
