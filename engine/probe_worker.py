"""Probe worker: the process in which one runtime shows what it can run here."""

from __future__ import annotations

import os
import sys
from contextlib import closing

import msgspec

from medge.engine.backends import backend_class
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.probe import Found
from medge.engine.select import AUTO, GPU_ONLY, choose
from medge.engine.selftest import kept_at, open_proven
from medge.errors import MedgeError

PROOF = "breast-ultrasound"  # the built-in bundle whose golden cases have to be answered


def show(name: str) -> Found:
    """Make the backend, ask for its devices, and let it answer golden cases at fp32.

    That is on the CPU, or on the first GPU where a backend runs on nothing else.
    """
    runtime = backend_class(name)()
    version = runtime.version
    devices: dict[str, tuple[str, ...]] = {}
    try:
        with closing(runtime):
            devices = {device: runtime.precisions(device) for device in runtime.devices()}
        with open_bundle(find_bundle(PROOF)) as bundle:
            choice = choose(bundle, name, AUTO if name in GPU_ONLY else "cpu", "fp32")
            session, tested = open_proven(bundle, choice, kept_at(choice))
            session.close()
    except MedgeError as error:
        return Found(version=version, devices=devices, rule=error.rule, message=error.message)
    return Found(version=version, devices=devices, cases=tested.cases)


def main() -> None:
    """Show the backend that the command line names; the only line on stdout is the answer."""
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a runtime prints goes nowhere
    with os.fdopen(answer, "wb") as stream:
        stream.write(msgspec.json.encode(show(sys.argv[1])) + b"\n")


if __name__ == "__main__":
    main()
