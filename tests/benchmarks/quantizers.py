"""medge's INT8 beside onnxruntime.quantization's and NNCF's: same network, pictures and judge.

Run: ``python tests/benchmarks/quantizers.py out/quantized/resnet18.medge... [--zoo out/zoo]`` after
``tests/benchmarks/zoo.py``. Every graph is made from the bundle's fp32 graph and the zoo's 300
calibration pictures, and judged on its 524 validation pictures; flips and times are taken by the
same code for all.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from medge.bench.drift import Judge
from medge.bench.graph_times import graph_times
from medge.engine.backends.silence import silent_onnxruntime, silent_openvino
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.manifest import MODEL
from medge.engine.select import choose
from medge.exporters.calibrate import CalibrationSet, read_calibration_set

Tensor = npt.NDArray[np.generic]
MAKERS: dict[str, Callable[[bytes, Sequence[Tensor]], bytes]] = {}


def main() -> None:
    """Compare on every bundle that is named."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("bundles", nargs="+")
    asked.add_argument("--zoo", type=Path, default=Path("out/zoo"))
    options = asked.parse_args()
    silent_onnxruntime()
    silent_openvino()
    warnings.simplefilter("ignore")
    print("| network | INT8 by | made in | onnxruntime | openvino |")
    print("|---|---|---|---|---|", flush=True)
    for name in options.bundles:
        with tempfile.TemporaryDirectory() as folder, open_bundle(find_bundle(name)) as bundle:
            pictures = read_calibration_set(options.zoo / "calibration", bundle.manifest)
            judge = Judge(bundle, options.zoo / "judge", validation(options.zoo, Path(folder)))
            for row in compared(bundle, pictures, judge):
                print(f"| {' | '.join([bundle.path.stem, *row])} |", flush=True)


def validation(zoo: Path, folder: Path) -> Path:
    """Write the labels of the 524 validation pictures to a file of their own."""
    with (zoo / "judge.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    path = folder / "validation.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if row["split"] == "validation")
    return path


def compared(bundle: Bundle, pictures: CalibrationSet, judge: Judge) -> Iterator[list[str]]:
    """Yield maker, seconds, and what each runtime makes of the graph: flips, and times of fp32."""
    fp32 = bundle.read(MODEL)
    graphs, seconds = {"fp32": fp32}, {"fp32": ""}
    for variant in bundle.manifest.variants:
        if variant.name.startswith("int8"):
            graphs[f"medge {variant.name}"] = bundle.read(variant.file)
            seconds[f"medge {variant.name}"] = "with its bundle"
    seen = list(pictures)
    for maker, make in MAKERS.items():
        start = time.perf_counter()
        graphs[maker] = make(fp32, seen)
        seconds[maker] = f"{time.perf_counter() - start:.0f} s"
        print(f"made by {maker}", file=sys.stderr, flush=True)
    cells = {name: [name, seconds[name]] for name in graphs}
    for backend in ("onnxruntime", "openvino"):
        choice = choose(bundle, backend, precision="fp32")
        times = dict(zip(graphs, graph_times(bundle, choice, list(graphs.values())), strict=True))
        for name, graph in graphs.items():
            if math.isinf(times[name]):
                cells[name].append("refused by the runtime")
            elif name == "fp32":
                cells[name].append(f"{times[name] / 1e6:.2f} ms")
            else:
                drift = judge.judge(choice, graph).drift
                lost = ", ".join(
                    f"{check.name} {check.verdict}"
                    for check in drift.checks
                    if check.verdict != "pass"
                )
                cells[name].append(
                    f"{times['fp32'] / times[name]:.2f}x, {drift.flips} of {drift.cases} flips"
                    + (f" ({lost})" if lost else "")
                )
    yield from cells.values()


def onnxruntime_quantization(method: str) -> Callable[[bytes, Sequence[Tensor]], bytes]:
    """Return its static quantization as documented for x86: uint8, int8 weights by channel."""

    def make(fp32: bytes, pictures: Sequence[Tensor]) -> bytes:
        silent_onnxruntime()  # before anything of it is imported
        quantization = import_module("onnxruntime.quantization")
        prepare = import_module("onnxruntime.quantization.shape_inference").quant_pre_process

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                self.left = iter(pictures)

            def get_next(self) -> dict[str, Tensor] | None:
                picture = next(self.left, None)
                return None if picture is None else {fed: picture}

        with tempfile.TemporaryDirectory() as folder:
            source, ready, made = (str(Path(folder) / f"{n}.onnx") for n in ("a", "b", "c"))
            Path(source).write_bytes(fp32)
            prepare(source, ready)
            fed = onnx.load(ready).graph.input[0].name
            quantization.quantize_static(
                ready,
                made,
                Reader(),
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                calibrate_method=getattr(quantization.CalibrationMethod, method),
            )
            return Path(made).read_bytes()

    return make


def nncf_quantization(preset: str) -> Callable[[bytes, Sequence[Tensor]], bytes]:
    """Return NNCF's post-training quantization of ONNX with all 300 pictures."""

    def make(fp32: bytes, pictures: Sequence[Tensor]) -> bytes:
        import logging

        import nncf  # type: ignore[import-untyped]

        logging.getLogger("nncf").setLevel(logging.ERROR)
        model = onnx.load_from_string(fp32)
        fed = model.graph.input[0].name
        transformer = any(node.op_type == "Softmax" for node in model.graph.node[:-3])
        made = nncf.quantize(
            model,
            nncf.Dataset(pictures, lambda picture: {fed: picture}),
            preset=getattr(nncf.QuantizationPreset, preset),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            subset_size=len(pictures),
        )
        return bytes(made.SerializeToString())

    return make


MAKERS["onnxruntime.quantization MinMax"] = onnxruntime_quantization("MinMax")
MAKERS["onnxruntime.quantization Entropy"] = onnxruntime_quantization("Entropy")
MAKERS["NNCF, performance"] = nncf_quantization("PERFORMANCE")
MAKERS["NNCF, mixed"] = nncf_quantization("MIXED")


if __name__ == "__main__":
    main()
