"""Whole processes: `medge run one.dcm` against a script that does the same, and `medge --version`.

Run: ``python tests/benchmarks/cold_start.py``. Files are in the page cache, as on a second run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from pairs import ratio, sample, show, verdict
from pydicom.data import get_testdata_file

from medge.engine.bundle import find_bundle

SCRIPT = """
import json, sys
import numpy as np, onnxruntime, pydicom
from PIL import Image
model, side, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
dataset = pydicom.dcmread(path)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
shown = dataset.pixel_array
if shown.ndim == 3:
    shown = np.asarray(Image.fromarray(shown).convert("L"))
small = np.asarray(Image.fromarray(shown).resize((side, side), Image.Resampling.BILINEAR))
tensor = ((small.astype(np.float32) / 255 - 0.5) / 0.5)[None, None]
tensor = np.repeat(tensor, session.get_inputs()[0].shape[1], axis=1)
logits = session.run(None, {session.get_inputs()[0].name: tensor})[0][0]
scores = np.exp(logits - logits.max())
print(json.dumps({"file": path, "scores": (scores / scores.sum()).tolist()}))
"""


def main() -> None:
    """Measure and print."""
    bundle = find_bundle("breast-ultrasound")
    from medge.engine.bundle import open_bundle

    with open_bundle(bundle) as opened:
        side = opened.manifest.inputs[0].height
    one = str(get_testdata_file("examples_rgb_color.dcm", download=False))
    tool = str(Path(sys.executable).with_name("medge"))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "by_hand.py"
        script.write_text(SCRIPT, encoding="utf-8")
        commands = {
            "medge run one.dcm": [tool, "run", one, "--json"],
            "script by hand": [sys.executable, str(script), f"{bundle}/model.onnx", str(side), one],
            "medge --version": [tool, "--version"],
            "python -c pass": [sys.executable, "-c", "pass"],
        }
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}

        def run(command: list[str]) -> None:
            subprocess.run(command, check=True, capture_output=True, env=environment)

        found = sample(
            {name: lambda c=command: run(c) for name, command in commands.items()}, rounds=21
        )
    print("whole processes, warm page cache")
    show(found, "script by hand")
    cold = ratio(found["medge run one.dcm"], found["script by hand"]).median
    verdict("medge run / script by hand", cold, "<= 1.15", cold <= 1.15)
    seconds = float(np.median(found["medge run one.dcm"])) / 1e9
    verdict("medge run one.dcm, s", seconds, "<= 0.9", seconds <= 0.9)
    version = float(np.median(found["medge --version"])) / 1e9
    verdict("medge --version, s", version, "<= 0.1", version <= 0.1)


if __name__ == "__main__":
    main()
