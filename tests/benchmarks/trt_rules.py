"""medge's rules for TensorRT against a real parser, on the tests of operators that ONNX publishes.

Run: ``python tests/benchmarks/trt_rules.py``. It needs tensorrt-rtx and no GPU. Every graph is told
by the rules for TensorRT-RTX and read by its parser, in a process that may crash; all graphs where
the two differ are listed with the operator.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.backend.test.loader import load_model_tests

from medge.exporters.trt_rules import breaches
from medge.exporters.trt_tables import RTX, releases

sys.path.insert(0, str(Path(__file__).parents[1]))
from rtx_parser import RtxParser


def main() -> None:
    """Print how often the two agree, and where they do not."""
    counts: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    with RtxParser() as parser:
        for name, model in graphs():
            found = breaches(model, releases()[RTX])
            refused, _ = parser.refuses(model.SerializeToString())
            said = f"{'refused' if found else 'taken'} by medge, "
            said += f"{'refused' if refused else 'taken'} by the parser"
            counts[said] += 1
            if found and not refused:
                differing[f"stricter: {found[0].operator or 'graph'}, {found[0].rule}"] += 1
            elif refused and not found:
                differing[f"missed: {model.graph.node[0].op_type} ({name})"] += 1
    for said, count in sorted(counts.items()):
        print(f"{count:5} {said}")
    for said, count in sorted(differing.items()):
        print(f"{count:5} {said}")


def graphs() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield ONNX's own tests of single operators that are of its default domain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests that are about overflow warn of it
        tests = load_model_tests(kind="node")
    for test in tests:
        model = test.model or onnx.load(Path(test.model_dir) / "model.onnx")
        if any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
            yield test.name, model


if __name__ == "__main__":
    main()
