"""Libraries that stand where CUDA's would: ONNX Runtime's CUDA provider loads, and nothing runs.

The provider's own list of undefined symbols says what has to be there, so that every release gets
the libraries that it asks for. A session on them is made by the real provider: which nodes it
takes, what it refuses and how it reads options is its own word; what a kernel would answer is not
known.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("cuda_stubs.c")
DRIVER = Path(__file__).parents[1] / "cuda_library.c"
RUNTIME = "libcudart"


def cuda_stubs(provider: Path, folder: Path) -> None:
    """Compile into ``folder`` every library of CUDA that a provider's library needs.

    Parameters
    ----------
    provider
        ``libonnxruntime_providers_cuda.so``.
    """
    symbols: dict[str, list[str]] = {
        name: [] for name in _needed(provider) if name.startswith("libcu")
    }
    symbols.pop("libcuda.so.1", None)  # the driver's, which others make
    for name, library in _undefined(provider):
        symbols.setdefault(library, []).append(name)
    for library, names in symbols.items():
        _compile(library, names, folder)
    _compile_driver(provider, folder)


def _needed(provider: Path) -> list[str]:
    return re.findall(r"NEEDED.*\[(.*?)\]", _told("readelf", "-d", str(provider)))


def _undefined(provider: Path) -> Iterator[tuple[str, str]]:
    """Yield the symbols that CUDA's libraries are asked for, each with its library."""
    for line in _told("readelf", "-W", "--dyn-syms", str(provider)).splitlines():
        found = re.search(r"\bUND\s+(\w+)@(libcu[\w.-]+)", line)
        if found:
            yield found[1], found[2]


def _told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _compile_driver(provider: Path, folder: Path) -> None:
    """Compile a driver with two GPUs, and what the provider asks of it besides."""
    told = _told("readelf", "-W", "--dyn-syms", str(provider))
    names = re.findall(r"\bUND\s+(cu[A-Z]\w+)$", told, re.MULTILINE)
    source = folder / "libcuda.c"
    more = "".join(f"int {name}(void) {{ return 0; }}\n" for name in names)
    source.write_text(f'#define GPUS 2\n#include "{DRIVER}"\n{more}', encoding="utf-8")
    library = folder / "libcuda.so.1"
    command = ["gcc", "-w", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run([*command, "-Wl,-soname,libcuda.so.1"], check=True, timeout=120)


def _compile(library: str, names: list[str], folder: Path) -> None:
    text = SOURCE.read_text(encoding="utf-8") if library.startswith(RUNTIME) else ""
    text += "\n#include <stdlib.h>\n"
    for name in names:
        if re.search(rf"\b{name}\(", text):
            continue
        makes = "if (made) *made = calloc(1, 64);" if "Create" in name else ""
        text += f"int {name}(void **made) {{ {makes} return 0; }}\n"
    source, versions = folder / f"{library}.c", folder / f"{library}.map"
    source.write_text(text, encoding="utf-8")
    versions.write_text(f"{library} {{ global: *; }};\n", encoding="utf-8")
    command = ["gcc", "-w", "-O1", "-shared", "-fPIC", "-o", str(folder / library), str(source)]
    links = [f"-Wl,-soname,{library}", f"-Wl,--version-script={versions}"]
    subprocess.run([*command, *links], check=True, timeout=120)
