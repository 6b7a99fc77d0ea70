"""Every bundle of the zoo and the demonstrations: quantized, judged, compiled, all by one command.

Run: ``python tests/benchmarks/zoo.py [--zoo out/zoo] [--out out/quantized] [--kept] [NAME...]``
after ``make zoo``. No option differs from bundle to bundle. Results, and what was sealed, stay in
``--out``; ``--kept`` does not quantize again what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.evidence import Drift

MEDGE = Path(sys.executable).with_name("medge")


def main() -> None:
    """Work through all bundles and print a Markdown table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--zoo", type=Path, default=Path("out/zoo"))
    asked.add_argument("--out", type=Path, default=Path("out/quantized"))
    asked.add_argument("--kept", action="store_true")
    asked.add_argument("names", nargs="*")
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["MEDGE_HOME"] = str(options.out / "state")
    print("| bundle | quantize | peak | variants | compile | chosen | ms | fp32 default |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, bundle, data in bundles(options.zoo):
        if not options.names or name in options.names:
            print(f"| {' | '.join(row(name, bundle, data, options))} |", flush=True)


def bundles(zoo: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield name, bundle and the folder of its pictures."""
    for path in sorted(zoo.glob("*.medge")):
        yield path.stem, str(path), zoo
    # The chest demonstration learned from some of the zoo's pictures; its own validation split has
    # too few without pneumonia to bound anything at 1 %.
    yield "chest-x-ray", "chest-x-ray", zoo
    yield "breast-ultrasound", "breast-ultrasound", zoo / "breast-ultrasound"


def row(name: str, bundle: str, data: Path, options: argparse.Namespace) -> Iterator[str]:
    """Quantize and compile one bundle; yield the cells of its row."""
    made = options.out / f"{name}.medge"
    judged = ("--data", data / "judge", "--labels", data / "judge.csv")
    yield name
    if options.kept and made.is_dir():
        yield from ("before", "")
    else:
        start = time.perf_counter()
        _, peak_bytes = said(
            "quantize", bundle, "--calib", data / "calibration", *judged, "-o", made, "--overwrite"
        )
        yield f"{time.perf_counter() - start:.0f} s"
        yield f"{peak_bytes / 1e9:.2f} GB"
    with open_bundle(find_bundle(str(made))) as opened:
        narrow = [each for each in opened.manifest.variants if each.name != "fp32"]
    yield ", ".join(f"{each.name} {verdict(each.drift)}" for each in narrow) or "none"
    start = time.perf_counter()
    sealed, _ = said("compile", made)
    yield f"{time.perf_counter() - start:.1f} s"
    chosen, rows = sealed["chosen"], sealed["rows"]
    drift = sealed["drift"]
    yield (
        f"{chosen['backend']} {chosen['variant']}, {chosen['threads']} threads"
        + ("" if drift is None else f", {drift['flips']} of {drift['cases']} flips")
    )
    yield f"{rows[0]['picture_ns'] / 1e6:.2f}"
    yield next(
        f"{each['picture_ns'] / 1e6:.2f} ms, {each['ratio']:.2f}x"
        for each in rows
        if each["candidate"]["backend"] == "onnxruntime"
        and each["candidate"]["variant"] == "fp32"
        and each.get("picture_ns") is not None
    )


def verdict(drift: Drift | None) -> str:
    """Return a verdict in few words."""
    if drift is None:
        return "not judged"
    missing = max((check.missing_cases for check in drift.checks), default=0)
    return drift.verdict + (f" ({missing} more needed)" if missing else "")


def said(*words: object) -> tuple[dict[str, Any], int]:
    """Run a verb; return its JSON and the largest memory of its process in bytes."""
    process = subprocess.Popen(
        [str(MEDGE), *map(str, words), "--json"], stdout=subprocess.PIPE, text=True
    )
    text = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 8):
        raise SystemExit(f"medge {' '.join(map(str, words))} left with {process.returncode}")
    return json.loads(text), usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
