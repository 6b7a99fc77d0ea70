"""The real onnxruntime-gpu on a machine without a GPU: named states, and which nodes it takes.

Run: ``python tests/contracts/onnxruntime_gpu.py [--version V] [--venv FOLDER] [BUNDLE...]``

The package (256 MB) goes into an environment of its own, kept in FOLDER, beside this checkout's
medge. States: no driver; a driver (a stub of a few lines of C) that offers two GPUs, and no CUDA
library; CUDA's libraries (stand-ins), and no cuDNN; both packages of ONNX Runtime at once. What
onnxruntime itself does in the same place is shown beside. Then every graph in fp32 and fp16 of the
built-in bundles and of BUNDLE is opened on those stand-ins: the real provider says which nodes it
takes, and no kernel runs. What a GPU answers is not touched: that is what ``make gpu-check`` needs
one for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from cuda_library import cuda_library
from cuda_stubs import cuda_stubs

from medge.engine.state import state_folder

DEPENDENCIES = ("numpy", "msgspec", "click", "psutil", "pydicom", "pillow", "rich")


def main() -> int:
    """Install, ask in every state, compare; 1 when a state has another name."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--version", default="1.31.1")
    asked.add_argument("--venv", type=Path, default=state_folder() / "contracts/onnxruntime-gpu")
    asked.add_argument("bundles", nargs="*")
    options = asked.parse_args()
    python = environment(options.venv, options.version)
    wrong = []
    with tempfile.TemporaryDirectory() as driver, tempfile.TemporaryDirectory() as folder:
        cuda_library(Path(driver), GPUS=2)
        for provider in options.venv.rglob("libonnxruntime_providers_cuda.so"):
            cuda_stubs(provider, Path(folder))
        for state, library_path, packages in (
            ("no driver", "", "one"),
            ("a driver, no CUDA", driver, "one"),
            ("CUDA, no cuDNN", folder, "one"),
            ("both packages", driver, "both"),
        ):
            told = inside(python, library_path, packages, "states")
            print(f"\n{state}")
            for name, said in told.items():
                print(f"  {name}: {said}")
            wrong += [f"{state}: {each}" for each in faults(state, told)]
        bundles = ("breast-ultrasound", "chest-x-ray", *options.bundles)
        print("\ngraphs, opened by the provider on stand-ins for CUDA's libraries")
        for name, said in inside(python, folder, "one", "graphs", *bundles).items():
            print(f"  {name}: {said}")
            operator = name.removeprefix("must fail: ")
            expected = "taken" if operator == name else "E4 graph:"
            right = str(said).startswith(expected) and (operator == name or operator in str(said))
            wrong += [] if right else [f"{name}: {said}"]
    for each in wrong:
        print(f"WRONG {each}", file=sys.stderr)
    print(f"\n{len(wrong)} wrong")
    return int(bool(wrong))


def environment(folder: Path, version: str) -> Path:
    """Return the Python of an environment that holds the package, made where it is not there."""
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # It must not be held to this project's pins, which are for the package for CPUs.
    plain = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    needed = [f"onnxruntime-gpu=={version}", *DEPENDENCIES]
    subprocess.run([*command, *needed], check=True, env=plain)
    return python


def inside(
    python: Path, library_path: str, packages: str, mode: str, *bundles: str
) -> dict[str, object]:
    """Ask ``ort_inside.py`` in a process of its own."""
    script = Path(__file__).with_name("ort_inside.py")
    packages_here = next(each for each in sys.path if each.endswith("site-packages"))
    variables = {**os.environ, "LD_LIBRARY_PATH": library_path, "MEDGE_HOME": tempfile.gettempdir()}
    paths = [str(Path(each).absolute()) if Path(each).exists() else each for each in bundles]
    said = subprocess.run(
        [str(python), str(script), packages_here, packages, mode, *paths],
        capture_output=True,
        text=True,
        env=variables,
        cwd="/",
        timeout=600,
        check=False,
    )
    if said.returncode:
        raise SystemExit(f"it ended with {said.returncode}: {said.stderr[-2000:]}")
    found: dict[str, object] = json.loads(said.stdout.splitlines()[-1])
    return found


def faults(state: str, told: dict[str, object]) -> list[str]:
    """Return what is not as it has to be."""
    of_gpu = {
        "no driver": ("cuda-driver", "cuda-driver"),
        "a driver, no CUDA": ("provider", "device"),
        "CUDA, no cuDNN": ("provider", "device"),
        "both packages": ("backend-conflict", "backend-conflict"),
    }[state]
    expected = {
        "onnxruntime nvidia:0": f"E5 {of_gpu[0]}:",
        "onnxruntime nvidia:9": f"E5 {of_gpu[1]}:",
        "onnxruntime-tensorrt nvidia:0": f"E5 {of_gpu[0]}:",
        "onnxruntime cpu": "E5 backend-conflict:" if state == "both packages" else "cpu (",
    }
    wrong = [
        f"{name}: {told[name]!r}, expected {begins!r}"
        for name, begins in expected.items()
        if not str(told[name]).startswith(begins)
    ]
    if "CUDAExecutionProvider" not in str(told["available"]):
        wrong.append("this is not the package for GPUs")
    falls_back = state != "CUDA, no cuDNN"  # there it fails at the first convolution
    if falls_back and told["onnxruntime alone took"] != ["CPUExecutionProvider"]:
        wrong.append(
            "onnxruntime no longer falls back in silence: say so in docs/decisions/gpus.md"
        )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
