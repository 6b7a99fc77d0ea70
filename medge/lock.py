"""A toolchain's lock: what to install first, in words, and requirements that pip reads."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from medge.errors import BackendError, UsageError
from medge.profiles.support import FOLDER, sources
from medge.profiles.toolchain import Ladder, Route, Step

BASE = FOLDER / "base.txt"
NVIDIA_INDEX = "https://pypi.nvidia.com"  # TensorRT's packages fetch their libraries from there


def choose_route(found: Ladder, asked: str | None) -> Route:
    """Return the route that was asked for, else the first that is possible.

    Raises
    ------
    UsageError
        The device has no such route.
    BackendError
        The route, or every route, is impossible; the message gives the reason.
    """
    if asked is None:
        route = next((each for each in found.routes if each.possible), None)
        if route is None:
            raise BackendError(
                "toolchain",
                f"{found.name}: the support tables hold no software for {found.hardware}. "
                "Run medge on the CPU beside it, which has an entry of its own.",
            )
        return route
    route = next((each for each in found.routes if each.id == asked), None)
    if route is None:
        known = ", ".join(each.id for each in found.routes)
        raise UsageError(
            "route", f"{found.target} has no route {asked[:40]!r}; choose one of {known or 'none'}."
        )
    if not route.possible:
        others = ", ".join(each.id for each in found.routes if each.possible)
        raise BackendError(
            "toolchain",
            f"{found.name}, {route.title}: {route.reason}. Routes that work: {others or 'none'}.",
        )
    return route


def lock_text(found: Ladder, route: Route) -> str:
    """Return a requirements file; what pip cannot install stands in its comments, in order."""
    return "\n".join((*_head(found, route), *_requirements(route))) + "\n"


def lock_object(found: Ladder, route: Route) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "schema": "medge.lock/1",
        "target": found.target,
        "route": route.id,
        "tested": False,
        "tables_read": _read().isoformat(),
        "system": [
            {"part": step.part, "title": step.title, "version": step.version, "shown": step.shown}
            for step in _system(route)
        ],
        "runner": route.runner,
        "index": _index(route),
        "extra_index": _extra_index(route),
        "requirements": [pin for step in route.steps for pin in step.pins]
        if _packages(route)
        else [],
        "base": _base() if _packages(route) else [],
    }


def _head(found: Ladder, route: Route) -> Iterator[str]:
    yield f"# medge toolchain lock 1: {found.target}, route {route.id}"
    yield f"# {found.name} ({found.hardware}), {route.title}."
    yield f"# From published support tables read {_read().isoformat()}; not tried on this device."
    yield "#"
    yield "# Not by pip, in this order:"
    for step in _system(route):
        yield f"#   {step.title}: {step.shown if step.version in step.shown else _both(step)}"
    yield "#"
    if not _packages(route):
        yield "# medge needs Python 3.10. Here the stand-alone runner of a build bundle runs; it"
        yield "# needs nothing but the above."
        return
    yield "# Then, in an environment of that Python, this file and medge itself:"
    yield "#   pip install -r THIS_FILE"
    alone = "--no-deps" if route.gpu_wheel else "-c THIS_FILE"
    yield f"#   pip install {alone} FOLDER_OF_MEDGE"
    if route.gpu_wheel:
        yield "# (--no-deps, else pip adds onnxruntime, which hides onnxruntime-gpu)"


def _requirements(route: Route) -> Iterator[str]:
    if not _packages(route):
        return
    index, extra = _index(route), _extra_index(route)
    if index:
        yield f"--index-url {index}"
    if extra:
        yield f"--extra-index-url {extra}"
    for step in route.steps:
        yield from step.pins
    yield "# The rest of medge's base, as its tests hold it:"
    yield from _base()


def _system(route: Route) -> list[Step]:
    return [step for step in route.steps if not step.pins and step.part != "medge"]


def _packages(route: Route) -> bool:
    return not route.runner


def _both(step: Step) -> str:
    return f"{step.shown}, {step.version} or later in it"


def _index(route: Route) -> str:
    return next((step.index for step in route.steps if step.index), "")


def _extra_index(route: Route) -> str:
    """Return a further index: NVIDIA's for TensorRT, PyPI beside PyTorch's own."""
    if _index(route):
        return "https://pypi.org/simple"
    fetches = any(step.part == "tensorrt" and step.pins for step in route.steps)
    return NVIDIA_INDEX if fetches else ""


def _base() -> list[str]:
    lines = BASE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _read() -> datetime.date:
    return max(source.read for source in sources().values())
