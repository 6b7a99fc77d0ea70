"""Say as JSON what this machine is and what the shipped bundles answer to their golden cases here.

Run by decisions.py with the CPython of the aarch64 machine and with that of this one.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

import medge
from medge._native import kernel_builds, kernels
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.select import choose
from medge.engine.selftest import open_proven

BUNDLES = ("breast-ultrasound", "chest-x-ray")


def golden(name: str) -> dict[str, Any]:
    """Raw outputs of the golden cases, and how far they lie from those in the bundle."""
    with open_bundle(find_bundle(name)) as bundle:
        choice = choose(bundle, backend="onnxruntime", precision="fp32", threads=1)
        session, tested = open_proven(bundle, choice)
        with session:
            cases = bundle.golden()
            outputs = []
            for case in range(cases.cases):
                given = {key: array[[case]] for key, array in cases.inputs.items()}
                # Answers lie in memory of the session, which the next call fills anew.
                outputs.append({key: a.tolist() for key, a in session.infer(given).items()})
    return {"max_abs": tested.max_abs, "outputs": outputs}


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "kernels": kernels(),
                "builds": kernel_builds(),
                "python": platform.python_version(),
                "onnxruntime": version("onnxruntime"),
                "numpy": version("numpy"),
                "medge": medge.__file__,
                "golden": {name: golden(name) for name in BUNDLES},
            }
        )
    )
