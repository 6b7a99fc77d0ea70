"""Write what the kernels are given on x86-64, and what the reference says they must answer.

Run: ``python tests/arm/vectors.py FILE CASES``; driver.cpp reads the file.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import preprocess_cases
import reference

from medge._native import Plan
from medge.engine.preprocess import Preprocessor, preprocessor

INTEGERS = (
    *("word", "packing", "map", "want", "signed", "bits_stored", "high_bit", "rows", "columns"),
    *("begin", "width", "channels", "height", "out_width", "top", "left", "rounded", "bytes"),
    *("nhwc", "median", "histogram", "tiles", "clip", "tile_height", "tile_width"),
)


class Recorder:
    """Stands before a Plan and keeps what it was told."""

    last: Recorder

    def __init__(self, fields: Any, rows: Any, columns: Any, build: str) -> None:
        self.fields, self.axes = fields, (rows, columns)
        self._plan = Plan(fields, rows, columns, build)

    def set_line(self, base: float, scale: float, offset: float, padding: Any) -> None:
        self.line, self.padding, self.table = (base, scale, offset), padding, None

    def set_table(self, table: Any) -> None:
        self.table = table

    def histogram(self, stored: Any, plane: int, counts: Any) -> None:
        self._plan.histogram(stored, plane, counts)

    def run(self, stored: Any, out: Any) -> None:
        Recorder.last = self
        self.stored = stored


def write_case(to: BinaryIO, plan: Recorder, expected: Any) -> None:
    """Write one case: numbers, then arrays, each after its size."""
    fields = plan.fields
    to.write(struct.pack(f"<{len(INTEGERS)}i", *(int(fields[name]) for name in INTEGERS)))
    to.write(struct.pack("<7f", fields["pad"], *fields["mean"], *fields["inverse_std"]))
    for first, count, weights in plan.axes:
        to.write(struct.pack("<2i", *weights.shape))
        to.write(first.tobytes() + count.tobytes() + weights.tobytes())
    table = np.zeros(0, np.float32) if plan.table is None else plan.table
    line = (0.0, 0.0, 0.0) if plan.table is not None else plan.line
    padding = None if plan.table is not None else plan.padding
    to.write(struct.pack("<3f", *line))
    to.write(struct.pack("<3i", padding is not None, *(padding or (0, 0))))
    for array in (table, plan.stored, expected):
        data = array.tobytes()
        to.write(struct.pack("<i", len(data)) + data)


def main() -> None:
    """Write the cases of the first seeds."""
    preprocessor.Plan = Recorder  # type: ignore[misc,assignment]
    path, cases = Path(sys.argv[1]), int(sys.argv[2])
    with path.open("wb") as to:
        to.write(struct.pack("<i", cases))
        for seed in range(cases):
            spec, frame = preprocess_cases.case(seed)
            Preprocessor(spec).prepare(frame, np.zeros(spec.shape, spec.dtype))
            write_case(to, Recorder.last, reference.prepare(spec, frame))


if __name__ == "__main__":
    main()
