"""Matrices for tests of `medge bench`: bundles, plans that the null runtime runs, the verb."""

from __future__ import annotations

import json
import os
from typing import Any

from command_line import Typed

from medge.bench.matrix.cells import Asked, Plan, Subject, plan
from medge.bench.matrix.places import Place
from medge.engine.bundle import find_bundle, open_bundle

CPUS = sorted(os.sched_getaffinity(0))
HERE = Place(device="cpu")
TWO = (Place(device="cpu", cpus=(CPUS[0],)), Place(device="cpu", cpus=(CPUS[-1],)))
SHORT = 0.05  # seconds of a cell


def subject(name: str = "breast-ultrasound") -> Subject:
    with open_bundle(find_bundle(name)) as bundle:
        return Subject.of(bundle)


def null_plan(places: tuple[Place, ...] = (HERE,), **changes: Any) -> Plan:
    asked = Asked(backends=("null",), seconds=SHORT, places=places, **changes)
    return plan([subject()], asked)


def bench(typed: Typed, *words: object, code: int = 0) -> dict[str, Any]:
    said = typed("bench", "--seconds", SHORT, *words, "--json")
    assert said.code == code, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found
