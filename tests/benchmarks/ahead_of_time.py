"""Every bundle, every precision, five kinds of NVIDIA GPU: built ahead of time, twice.

Run: ``python tests/benchmarks/ahead_of_time.py [--zoo out/zoo] [--quantized out/quantized]
[NAME...]`` after ``make zoo`` and ``zoo.py``. It needs tensorrt-rtx and no GPU; no plan of it is
ever run.

First what TensorRT's releases take by their published tables, for every graph; then a row a graph
with the size of each plan in MB, or who refuses it. Exit code 1 when two builds of one plan differ,
or when something is refused that has no reason.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx

from medge.engine.backends.trt.plan import PlanRequest, build_plan
from medge.engine.backends.trt.words import REASONS, PlanRefusedError
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.session import ports
from medge.exporters.trt_rules import breaches, refusals
from medge.exporters.trt_tables import RTX, releases

CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0")
PRECISIONS = ("fp32", "fp16", "int8")
DEMONSTRATIONS = ("breast-ultrasound", "chest-x-ray")


class Tally:
    """What was built, what was refused and why, and what must not be."""

    def __init__(self) -> None:
        self.built = self.refused = 0
        self.seconds: list[float] = []
        self.reasons: dict[str, int] = {}
        self.wrong: list[str] = []

    def refuse(self, who: str, operator: str, reason: str) -> None:
        self.refused += 1
        words = f"{who}: {operator + ': ' if operator else ''}{reason}"
        self.reasons[words] = self.reasons.get(words, 0) + 1


def main() -> None:
    """Print two Markdown tables and what is wrong."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--zoo", type=Path, default=Path("out/zoo"))
    asked.add_argument("--quantized", type=Path, default=Path("out/quantized"))
    asked.add_argument("names", nargs="*")
    options = asked.parse_args()
    found = [
        (name, path)
        for name, path in bundles(options.zoo, options.quantized)
        if not options.names or name in options.names
    ]
    print("| graph | " + " | ".join(releases()) + " |")
    print("|---" * (len(releases()) + 1) + "|")
    for name, path in found:
        with open_bundle(path) as bundle:
            for row in legal(name, bundle):
                print(f"| {' | '.join(row)} |", flush=True)
    tally = Tally()
    print(
        "\n| graph | " + " | ".join(f"sm_{each.replace('.', '')}" for each in CAPABILITIES) + " |"
    )
    print("|---" * (len(CAPABILITIES) + 1) + "|")
    for name, path in found:
        with open_bundle(path) as bundle:
            for row in built(name, bundle, tally):
                print(f"| {' | '.join(row)} |", flush=True)
    show(tally)
    sys.exit(1 if tally.wrong else 0)


def bundles(zoo: Path, quantized: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and folder: quantized where it was, else with fp32 alone."""
    names = [*DEMONSTRATIONS, *sorted(path.stem for path in zoo.glob("*.medge"))]
    for name in names:
        made = quantized / f"{name}.medge"
        plain = find_bundle(name) if name in DEMONSTRATIONS else zoo / f"{name}.medge"
        yield name, made if made.is_dir() else plain


def legal(name: str, bundle: Bundle) -> Iterator[tuple[str, ...]]:
    """Yield, for each graph, what every release says: yes, or the first rule that it breaks."""
    for variant in bundle.manifest.variants:
        wrong = refusals(onnx.load_from_string(bundle.read(variant.file)))
        cells = []
        for release in releases():
            first = next(iter(wrong.get(release, ())), None)
            place = "" if first is None else f"{first.operator} " if first.operator else ""
            cells.append("yes" if first is None else f"no: {place}{first.rule}")
        yield (f"{name} {variant.name}", *cells)


def built(name: str, bundle: Bundle, tally: Tally) -> Iterator[tuple[str, ...]]:
    for variant in bundle.manifest.variants:
        if variant.name in PRECISIONS:
            graph = bundle.read(variant.file)
            cells = [cell(bundle, graph, each, tally) for each in CAPABILITIES]
            yield (f"{name} {variant.name}", *cells)


def cell(bundle: Bundle, graph: bytes, capability: str, tally: Tally) -> str:
    """Build one plan twice; return its size, or who refuses it."""
    rules = breaches(onnx.load_from_string(graph), releases()[RTX])
    if rules:
        tally.refuse("medge", rules[0].operator, rules[0].found)
        return "refused by medge"
    inputs, outputs = ports(bundle.manifest)
    request = PlanRequest(
        flavour="tensorrt-rtx", inputs=inputs, outputs=outputs, compute_capabilities=(capability,)
    )
    digests = set()
    for _ in range(2):
        start = time.perf_counter()
        try:
            plan = build_plan(graph, request)
        except PlanRefusedError as error:
            tally.refuse("tensorrt-rtx", error.operator, REASONS[error.reason])
            if error.reason == "build":
                tally.wrong.append(f"{bundle.manifest.name} sm {capability}: no reason is known")
            return f"refused: {error.reason}"
        tally.seconds.append(time.perf_counter() - start)
        digests.add(hashlib.sha256(plan.plan).hexdigest())
    tally.built += 1
    if len(digests) != 1:
        tally.wrong.append(f"{bundle.manifest.name} sm {capability}: two builds differ")
    return f"{len(plan.plan) / 1e6:.1f}"


def show(tally: Tally) -> None:
    """Print the sums."""
    print(f"\n{tally.built} plans, each built twice to the same bytes but for {len(tally.wrong)}")
    if tally.seconds:
        seconds = sorted(tally.seconds)
        middle = seconds[len(seconds) // 2]
        print(f"a build in its own process: median {middle:.1f} s, longest {seconds[-1]:.1f} s")
    print(f"{tally.refused} refused")
    for words, count in sorted(tally.reasons.items(), key=lambda each: -each[1]):
        print(f"  {count} by {words}")
    for line in tally.wrong:
        print(f"WRONG {line}")


if __name__ == "__main__":
    main()
