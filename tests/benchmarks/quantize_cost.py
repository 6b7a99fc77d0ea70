"""What `medge quantize` costs: time and memory of the whole process, with 300 pictures.

Run: ``python tests/benchmarks/quantize_cost.py BUNDLE CALIBRATION_FOLDER``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pairs import verdict

MEDGE = Path(sys.executable).with_name("medge")


def main() -> None:
    """Quantize once and print."""
    bundle, calibration = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDGE_HOME"] = f"{folder}/state"
        words = ["quantize", bundle, "--calib", calibration, "-o", f"{folder}/made.medge"]
        start = time.perf_counter()
        process = subprocess.Popen([MEDGE, *words], stdout=subprocess.PIPE, text=True)
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    print(said)
    if process.returncode != 0:
        raise SystemExit(f"medge quantize left with {process.returncode}")
    verdict("minutes", seconds / 60, "<= 5", seconds <= 300)
    verdict("peak memory, GB", usage.ru_maxrss * 1024 / 1e9, "<= 2", usage.ru_maxrss <= 2e9 / 1024)


if __name__ == "__main__":
    main()
