"""Probe: each runtime shows, in a process of its own, what it can run here; it may crash there."""

from __future__ import annotations

import signal
import subprocess
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from medge.engine.backends import BACKENDS, backend_class
from medge.engine.backends.presence import absence, installed_version, remedy
from medge.engine.child_process import end, started
from medge.engine.select import GPU_ONLY

LIMIT_S = 120.0  # a cold disk and a busy machine may be slow
BUILD_LIMIT_S = 900.0  # TensorRT times kernels on the GPU until it has built; once, it keeps them


class Found(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a runtime told and did in its own process.

    Parameters
    ----------
    devices
        Devices that it can use, each with the precisions that it computes in itself.
    cases
        Golden cases of the built-in bundle that it answered within the tolerance, on the CPU or,
        where it runs on nothing else, on the first GPU.
    rule, message
        The error that stopped it; empty if none did.
    """

    version: str = ""
    devices: dict[str, tuple[str, ...]] = {}
    cases: Annotated[int, Meta(ge=0)] = 0
    rule: str = ""
    message: str = ""


class Runtime(Struct, frozen=True, kw_only=True):
    """One backend of medge on this machine.

    Parameters
    ----------
    runs
        Whether it has just answered golden cases here.
    rule, message, command
        Why it does not run, and the command that helps; empty if it runs or no command does.
    """

    backend: str
    installed: bool
    runs: bool
    version: str | None = None
    devices: dict[str, tuple[str, ...]] = {}
    cases: int = 0
    rule: str = ""
    message: str = ""
    command: str = ""


def runtimes() -> tuple[Runtime, ...]:
    """Return every backend that runs networks, each as it has just shown itself."""
    names = [name for name in BACKENDS if backend_class(name).answers]
    begun: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            if absence(name) is None:
                begun[name] = started("medge.engine.probe_worker", name, asked=False)
        return tuple(_runtime(name, begun.get(name)) for name in names)
    finally:
        for process in begun.values():  # Ctrl-C must not leave one running
            end(process)


def _runtime(name: str, process: subprocess.Popen[bytes] | None) -> Runtime:
    version = installed_version(name)
    limit_s = BUILD_LIMIT_S if name in GPU_ONLY else LIMIT_S
    if process is None:
        missing = absence(name)
        return Runtime(
            backend=name,
            installed=version is not None,
            runs=False,
            version=version,
            rule="" if missing is None else missing.rule,
            message="" if missing is None else missing.message,
            command=remedy(name),
        )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        end(process)
        found = Found(rule="runtime-hangs", message=f"It gave no answer within {limit_s:g} s.")
    else:
        found = _answer(said, process.returncode)
    return Runtime(
        backend=name,
        installed=True,
        runs=found.cases > 0 and not found.rule,
        version=found.version or version,
        devices=found.devices,
        cases=found.cases,
        rule=found.rule,
        message=found.message,
        command=_command(name, found.rule),
    )


def _command(name: str, rule: str) -> str:
    """Return what may help; no package brings a driver, or a GPU that it was not made for."""
    if not rule or rule in ("cuda-driver", "cuda-device", "cuda-failed", "device", "graph"):
        return ""
    return f"{remedy(name)} --force-reinstall"


def _answer(said: bytes, code: int) -> Found:
    """Read the last line, the probe's own: a runtime may have written before it."""
    lines = said.splitlines()
    if code == 0 and lines:
        try:
            return msgspec.json.decode(lines[-1], type=Found)
        except msgspec.DecodeError:
            pass
    if code < 0:
        number = -code
        known = number in set(map(int, signal.Signals))
        name = signal.Signals(number).name if known else f"signal {number}"
        told = " (an instruction that this CPU does not have)" if name == "SIGILL" else ""
        return Found(rule="runtime-crash", message=f"It crashed with {name}{told}.")
    return Found(
        rule="runtime-import", message="It is installed, and importing or starting it fails."
    )
