"""Train the zoo: eight classifiers of PneumoniaMNIST for benchmarks and the drift gate.

Usage: python examples/zoo.py build [--only resnet18,...] [--data FOLDER] [--out out/zoo]
       python examples/zoo.py data [--for zoo|chest-x-ray|breast-ultrasound] [--data FOLDER]
       python examples/zoo.py figures [--out out/zoo]

``build`` trains, exports and measures, and writes the pictures that judge and calibrate; what an
earlier run finished is kept. ``data`` writes pictures only. ``figures`` tells what the bundles say.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import zoo_bundle
import zoo_data
import zoo_folders
from zoo_members import ZOO

from medge.engine.bundle import open_bundle


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command and do it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("build", "data", "figures"))
    parser.add_argument("--data", type=Path, help="folder with the pictures; default: fetch them")
    parser.add_argument("--out", type=Path, default=Path("out/zoo"), help="folder to write")
    parser.add_argument("--only", default=",".join(ZOO), help="names, separated by commas")
    parser.add_argument(
        "--threads", type=int, default=2, help="of the training; other numbers round otherwise"
    )
    parser.add_argument(
        "--for",
        dest="bundle",
        choices=("zoo", *zoo_folders.DEMOS),
        default="zoo",
        help="whose pictures `data` writes; those of demo bundles go into a folder of that name",
    )
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    unknown = sorted(set(names) - set(ZOO))
    if unknown:
        parser.error(f"the zoo has no {unknown[0]!a}; it has {', '.join(ZOO)}")
    if asked.command == "figures":
        print(table([n for n in names if (asked.out / f"{n}.medge").is_dir()], asked.out))
    elif asked.command == "data" and asked.bundle != "zoo":
        write(zoo_folders.of_demo(asked.bundle, asked.data), asked.out / asked.bundle)
    else:
        data = zoo_data.read(asked.data)
        write(zoo_folders.of_zoo(data), asked.out)
        if asked.command == "build":
            torch.set_num_threads(asked.threads)
            for name in names:
                zoo_bundle.build(name, ZOO[name], data, asked.out, partial(say, name))


def say(name: str, text: str) -> None:
    """Print what happens to a network, at once: a build takes long."""
    print(f"{name}: {text}", flush=True)


def write(folders: zoo_folders.Folders, out: Path) -> None:
    """Write the folders and say where."""
    zoo_folders.write(folders, out)
    judge, calibration = len(folders.judge), len(folders.calibration)
    print(f"{out}: {judge} pictures judge, {calibration} calibrate", flush=True)


def table(names: Sequence[str], out: Path) -> str:
    """Return what the bundles say of themselves, as Markdown."""
    rows = ["| bundle | network | input | AUC | sensitivity | specificity | digest |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        with open_bundle(out / f"{name}.medge") as bundle:
            said, side = bundle.manifest, bundle.manifest.inputs[0].height
            figures = [f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for m in said.metrics]
            cells = [name, said.source.architecture, f"{side} x {side}", *figures]
            rows.append(f"| {' | '.join(cells)} | `{bundle.digest[:12]}` |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
