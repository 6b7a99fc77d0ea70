"""Whole processes of the catalog's verbs: how long a person waits for one device.

Run: ``python tests/benchmarks/targets.py``. Files are in the page cache, as on a second run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from pairs import sample, show, verdict


def main() -> None:
    """Measure and print."""
    tool = str(Path(sys.executable).with_name("medge"))
    commands = {
        "medge targets show": [tool, "targets", "show", "nvidia-gtx-1080-ti"],
        "medge targets show --json": [tool, "targets", "show", "nvidia-gtx-1080-ti", "--json"],
        "medge targets": [tool, "targets"],
        "medge targets match": [tool, "targets", "match"],
        "medge studies summary": [tool, "studies", "summary"],
        "medge estimate --all": [tool, "estimate", "--all"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    environment = {**os.environ, "COLUMNS": "80"}

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    found = sample(
        {name: lambda c=command: run(c) for name, command in commands.items()}, rounds=21
    )
    print("whole processes, warm page cache")
    show(found, "python -c pass")
    seconds = float(np.median(found["medge targets show"])) / 1e9
    verdict("medge targets show, s", seconds, "<= 0.3", seconds <= 0.3)
    seconds = float(np.median(found["medge estimate --all"])) / 1e9
    verdict("medge estimate --all, s", seconds, "<= 1", seconds <= 1.0)


if __name__ == "__main__":
    main()
