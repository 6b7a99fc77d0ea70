"""The published bindings of TensorRT: does every name that medge uses exist in each release?

Run: ``python tests/contracts/tensorrt_bindings.py`` (``make contracts``; 5 MB are fetched)

The bindings are the real, unmodified packages; TensorRT's own libraries are gigabytes and need a
GPU, so stand-ins whose functions return nothing take their place: enough for the import, for
nothing else. Then medge opens each release in the states that a machine can be in; every one must
have its name, and exit code 5.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from cuda_library import cuda_library

from medge.engine.backends.trt.surface import required_of
from medge.engine.state import state_folder

BINDINGS = {  # release, and the package that brings its bindings
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.16.1.11": "tensorrt-cu13-bindings==10.16.1.11",
    "11.4.0.106": "tensorrt-cu13-bindings==11.4.0.106",
}

# Runs with the bindings; says for each class which of the names it lacks.
ASK = """
import json, sys, tensorrt
lacking = {}
for kind, names in json.loads(sys.argv[1]).items():
    holder = tensorrt if kind == "" else getattr(tensorrt, kind, None)
    lacking[kind] = [name for name in names if not hasattr(holder, name)]
print(json.dumps({k: v for k, v in lacking.items() if v}), tensorrt.__version__)
"""

# Opens a graph as a session does.
OPEN = """
from medge.engine.backends import Options, Port
from medge.engine.backends.trt.backend import TensorRT
from medge.errors import MedgeError
port = Port("x", "float32", (3, 8, 8))
runtime = TensorRT()
try:
    runtime.load(b"", Options("nvidia:0", "fp32", 1, (port,), (port,)))
except MedgeError as error:
    print(error)
runtime.close()
"""


def main() -> int:
    """Fetch, stand in, ask; 1 when a name is missing or a state has another name."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        driver = cuda_library(Path(folder)).parent
        for version, package in BINDINGS.items():
            bindings = fetched(version, package)
            libraries = stood_in(bindings)
            wrong += lacking(version, bindings, libraries)
            for state, paths, expected in (
                ("no driver", [libraries], "E5 cuda-driver:"),
                ("a driver, no libraries", [driver], "E5 runtime-import:"),
                ("a driver, libraries that fail", [driver, libraries], "E5 runtime-"),
            ):
                said = asked(bindings, paths, OPEN).stdout.strip()
                print(f"  {state}: {said}")
                wrong += not said.startswith(expected)
    print(f"{wrong} wrong")
    return int(bool(wrong))


def lacking(version: str, bindings: Path, libraries: Path) -> int:
    """Print what a release lacks of what medge uses; return how many names that is."""
    names = {kind: sorted(each) for kind, each in required_of("tensorrt", version).items()}
    said = asked(bindings, [libraries], ASK, json.dumps(names))
    if said.returncode:
        print(f"tensorrt {version}: cannot be imported: {said.stderr[-500:]}")
        return 1
    found, _, told = said.stdout.strip().rpartition(" ")
    absent = json.loads(found)
    print(
        f"tensorrt {told}: {sum(map(len, names.values()))} names used, absent: {absent or 'none'}"
    )
    return len(absent) + (told != version)


def fetched(version: str, package: str) -> Path:
    """Return a folder that holds the bindings as the package ``tensorrt``."""
    folder = state_folder() / "contracts/tensorrt" / version
    if not (folder / "tensorrt/tensorrt.so").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command = [*pip, "--only-binary=:all:", "--dest", str(folder), package]
        plain = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        subprocess.run(command, check=True, env=plain)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        (folder / "tensorrt_bindings").rename(folder / "tensorrt")
    return folder


def stood_in(folder: Path) -> Path:
    """Make a library for each that the bindings need of NVIDIA's; return where they lie."""
    module = str(folder / "tensorrt/tensorrt.so")
    needed = re.findall(r"\(NEEDED\).*\[(libnv[\w.]+)\]", output_of("readelf", "-d", module))
    undefined = {line.split()[-1] for line in output_of("nm", "-D", "-u", module).splitlines()}
    # What has a version (@GLIBC) is somebody else's, as are Python's own.
    parts = ("[A-Za-z]*_INTERNAL", r"_ZN\d+nv\w*", r"\w*(nv[io]n|nvI|Nv|Plugin)\w*")
    of_nvidia = re.compile("|".join(parts))
    names = sorted(name for name in undefined if of_nvidia.fullmatch(name))
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    source = libraries / "libraries.c"
    lines = [f'void *made_{n}(void) __asm__("{name}");' for n, name in enumerate(names)]
    lines += [f"void *made_{n}(void) {{ return 0; }}" for n in range(len(names))]
    source.write_text("\n".join(lines) + "\n")
    for name in needed:
        target = ["-o", str(libraries / name), f"-Wl,-soname,{name}"]
        output_of("cc", "-shared", "-fPIC", *target, str(source))
    return libraries


def output_of(program: str, *arguments: str) -> str:
    """Run a tool that comes with every C compiler."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed: install a C compiler (gcc, binutils)")
    command = [path, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def asked(
    bindings: Path, libraries: list[Path], code: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a program that finds the bindings, and libraries in these folders."""
    paths = {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "PYTHONPATH": str(bindings)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **paths},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
