"""Run every speed figure of docs/results.md, one after the other: ``make bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "prepare.py",
    "file_to_tensor.py",
    "file_to_decision.py",
    "engine_overhead.py",
    "cold_start.py",
    "cine_memory.py",
    "measuring.py",
)


def main() -> int:
    """Return 0 when every script ran; what each must show it says itself."""
    failed = 0
    for name in SCRIPTS:
        print(f"\n$ python tests/benchmarks/{name}", flush=True)
        script = Path(__file__).with_name(name)
        failed += subprocess.run([sys.executable, str(script)], check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
