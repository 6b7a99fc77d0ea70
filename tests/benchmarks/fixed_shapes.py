"""What a graph of a free batch costs a runtime that is only ever given one picture.

Run: ``python tests/benchmarks/fixed_shapes.py BUNDLE...``; of each bundle the fp32 graph and, where
it has one, `int8-cpu`. OpenVINO as medge loads it, with shapes free and fixed, threads pinned too;
ONNX Runtime with the batch free and overridden. Sides take turns, each a wave of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import numpy as np
from pairs import Samples, ratio

from medge.engine.backends import Options, Tensor, backend_class, ov
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.manifest import MODEL
from medge.engine.session import ports
from medge.profiles.device import allowed_cores

ROUNDS = 15
WAVE_NS = 60_000_000
REST_S = 0.08  # until onnxruntime's threads sleep
FREE = "openvino, free"

Call = Callable[[], object]


def main(names: list[str]) -> None:
    """Print a row for each graph."""
    for name in names:
        with open_bundle(find_bundle(name)) as bundle:
            for variant, file in graphs(bundle):
                one = {key: np.array(each[:1]) for key, each in bundle.golden().inputs.items()}
                taken = waves(dict(sides(bundle, bundle.read(file), one)))
                print(f"{bundle.path.stem} {variant}", flush=True)
                for side, samples in taken.items():
                    told = "" if side == FREE else f"   x {ratio(samples, taken[FREE])}"
                    print(f"  {side:<28}{np.median(samples) / 1e6:9.3f} ms{told}", flush=True)


def graphs(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield what is compared of a bundle: names of variants, and their files."""
    yield "fp32", MODEL
    variant = bundle.manifest.variant("int8-cpu")
    if variant is not None:
        yield variant.name, variant.file


def sides(bundle: Bundle, model: bytes, one: dict[str, Tensor]) -> Iterator[tuple[str, Call]]:
    """Yield each way to load a graph, as a call on one picture."""
    asked = partial(Options, "cpu", "fp32", allowed_cores(), *ports(bundle.manifest))
    properties = ov._properties

    def pinned(device: str, options: Options) -> dict[str, object]:
        return {**properties(device, options), "ENABLE_CPU_PINNING": True}

    for side, fixed, how in (
        (FREE, False, properties),
        ("openvino, fixed", True, properties),
        ("openvino, fixed and pinned", True, pinned),
    ):
        backend = backend_class("openvino")()
        with mock.patch.object(ov, "_properties", how):
            backend.load(model, asked(fixed_batch=fixed))
        yield side, partial(backend.infer, one)
    for side, fixed in (("onnxruntime, free", False), ("onnxruntime, overridden", True)):
        yield side, overridden(model, one, fixed=fixed)


def overridden(model: bytes, one: dict[str, Tensor], *, fixed: bool) -> Call:
    """Return a call of an onnxruntime session whose batch is free, or set to 1."""
    library = silent_onnxruntime()
    options = library.SessionOptions()
    options.intra_op_num_threads = allowed_cores()
    if fixed:
        options.add_free_dimension_override_by_name("batch", 1)
    session = library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, one)


def waves(calls: dict[str, Call]) -> dict[str, Samples]:
    """Return the median time of a call in each wave, in ns; the order turns."""
    names, taken = list(calls), {name: [] for name in calls}
    for round_ in range(ROUNDS):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(REST_S)
            calls[name]()
            calls[name]()
            wave: list[int] = []
            begun = time.perf_counter_ns()
            while len(wave) < 3 or time.perf_counter_ns() - begun < WAVE_NS:
                start = time.perf_counter_ns()
                calls[name]()
                wave.append(time.perf_counter_ns() - start)
            taken[name].append(np.median(wave))
    return {name: np.array(values, np.int64) for name, values in taken.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
