"""Every bundle for every kind of Jetson: converted, proven, run by the runner, parsed and built.

Run: ``python tests/benchmarks/jetson.py [--zoo out/zoo] [--quantized out/quantized] [--python
PYTHON] [NAME...]`` after ``make zoo`` and ``zoo.py``. It needs no Jetson, and no engine of it is
ever run.

A row a bundle and board: which graphs go into the build bundle and how far each is from its source
(largest difference of an answer); what the runner finds with ONNX Runtime, on PYTHON; how many
graphs TensorRT-RTX, in the place of TensorRT 10, parses and builds in the same runner; and what was
left out. Exit code 1 when a graph answers wrongly, or when something is left out for no reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medge.engine.bundle import find_bundle, open_bundle
from medge.exporters.jetson.write import SUFFIX, BuildBundle, write_build_bundle
from medge.profiles.target import find_target

BOARDS = (
    *("nvidia-jetson-nano", "nvidia-jetson-tx2", "nvidia-jetson-agx-xavier"),
    *("nvidia-jetson-agx-orin-64gb", "nvidia-jetson-thor-t5000"),
)
DEMONSTRATIONS = ("breast-ultrasound", "chest-x-ray")


@dataclass
class Tally:
    """What was left out and why, and what must not be."""

    python: str
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    """Print a Markdown table, the reasons of what was left out, and what is wrong."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--zoo", type=Path, default=Path("out/zoo"))
    asked.add_argument("--quantized", type=Path, default=Path("out/quantized"))
    asked.add_argument("--python", default=sys.executable, help="runs the runner")
    asked.add_argument("names", nargs="*")
    options = asked.parse_args()
    tally = Tally(options.python)
    print("| bundle | board | MB | graphs, by how far from their source | golden | RTX builds |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, path in bundles(options.zoo, options.quantized):
        if options.names and name not in options.names:
            continue
        for board in BOARDS:
            with tempfile.TemporaryDirectory(prefix="medge-") as place:
                os.environ["MEDGE_HOME"] = place  # what is kept of a build is not for the user
                row(name, path, board, Path(place), tally)
    print("\nLeft out:")
    for reason, count in tally.reasons.most_common():
        print(f"- {count} times: {reason}")
    for fault in tally.wrong:
        print(f"WRONG: {fault}")
    return bool(tally.wrong)


def bundles(zoo: Path, quantized: Path) -> Iterator[tuple[str, Path]]:
    """Yield each bundle once, with its variants where they were made."""
    names = dict.fromkeys((*DEMONSTRATIONS, *sorted(path.stem for path in zoo.glob("*.medge"))))
    for name in names:
        path = quantized / f"{name}.medge"
        if path.is_dir():
            yield name, path
        elif name in DEMONSTRATIONS:
            yield name, find_bundle(name)
        else:
            yield name, zoo / f"{name}.medge"


def row(name: str, path: Path, board: str, folder: Path, tally: Tally) -> None:
    """Write one build bundle, run it, print its row."""
    with open_bundle(path) as bundle:
        made = write_build_bundle(bundle, find_target(board), folder)
    for one in made.build.left_out:
        tally.reasons[f"{one.variant}: {one.reason[:110]}"] += 1
    graphs = ", ".join(f"{name} {value:.1g}" for name, value in made.max_abs.items())
    golden = answered(made, tally, f"{name} on {board}")
    # TensorRT 8 takes what RTX does not: weights as pairs are for it alone.
    rtx = parsed(made) if made.build.int8_weights == "integers" else "-"
    size = made.path.stat().st_size / 1e6
    print(f"| {name} | {board[14:]} | {size:.1f} | {graphs} | {golden} | {rtx} |", flush=True)


def answered(made: BuildBundle, tally: Tally, what: str) -> str:
    """Return how many graphs answer the golden cases through the runner."""
    found = told(made, tally.python, "onnxruntime")
    right = [graph for graph in found if graph.get("passed")]
    for graph in found:
        if not graph.get("passed"):
            reason = graph.get("reason", f"off by {graph.get('max_abs')}")
            tally.wrong.append(f"{what}: {graph['variant']}: {reason}")
    return f"{len(right)} of {len(found)}"


def parsed(made: BuildBundle) -> str:
    """Return how many graphs were built before the first call that needs a GPU."""
    found = told(made, sys.executable, "tensorrt-rtx")
    return f"{sum('plan_bytes' in graph for graph in found)} of {len(found)}"


def told(made: BuildBundle, python: str, runtime: str) -> list[dict[str, object]]:
    """Run the runner as a person would; return what it tells of each graph."""
    folder = made.path.parent / made.path.name.removesuffix(SUFFIX)
    if not folder.exists():
        with tarfile.open(made.path) as archive:
            archive.extractall(made.path.parent, filter="data")
    subprocess.run(
        [python, str(folder / "run.py"), "--runtime", runtime, "--duration-s", "0.01"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        capture_output=True,
        check=False,
    )
    found: list[dict[str, object]] = json.loads((folder / "result.json").read_bytes())["result"][
        "graphs"
    ]
    return found


if __name__ == "__main__":
    sys.exit(main())
