"""What reading back costs: loading with and without a look, the reading, and every later call.

Run: ``python tests/benchmarks/placement_cost.py [BUNDLE ...]``, by default the built-in bundles.
ONNX Runtime with a look at what runs is paired with one that never looks.
"""

from __future__ import annotations

import sys
import time
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from pairs import ratio, sample, verdict

from medge.engine.backends import Backend, Options, Tensor, backend_class
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.bundle import Bundle, built_in_names, find_bundle, open_bundle
from medge.engine.session import ports
from medge.profiles.device import allowed_cores

ROUNDS = 101
LOADS = 11


class _Unwatched(OnnxRuntime):
    """The same runtime without its profiler."""

    def _watch(self, options: object) -> None:
        self._profile = b""

    def _look(self, model: bytes, engine: bytes | None) -> None:
        """Do not."""


def main() -> None:
    """Measure and print."""
    asked = sys.argv[1:] or [str(find_bundle(name)) for name in built_in_names()]
    for path in asked:
        with open_bundle(Path(path)) as bundle:
            golden = bundle.golden()
            feeds = {name: array[:1].copy() for name, array in golden.inputs.items()}
            for variant in bundle.manifest.variants:
                name = f"{Path(path).name} {variant.name}"
                _watched(name, _loaded(OnnxRuntime(), bundle, variant.file), feeds)
                _compared(name, bundle, variant.file, feeds)
                if any(metadata.distributions(name="openvino")):
                    _told(name, _loaded(backend_class("openvino")(), bundle, variant.file))


def _loaded(backend: Backend, bundle: Bundle, file: str) -> Backend:
    inputs, outputs = ports(bundle.manifest)
    options = Options("cpu", "fp32", allowed_cores(), inputs, outputs)
    backend.load(bundle.read(file), options)
    return backend


def _watched(name: str, backend: Backend, feeds: dict[str, Tensor]) -> None:
    start = time.perf_counter_ns()
    backend.infer(feeds)
    first = time.perf_counter_ns()
    placement = backend.placement()
    read = time.perf_counter_ns()
    backend.infer(feeds)
    second = time.perf_counter_ns()
    print(
        f"{name}, onnxruntime: first call {(first - start) / 1e6:.1f} ms, second "
        f"{(second - read) / 1e6:.1f} ms, reading {(read - first) / 1e6:.1f} ms, "
        f"{placement.total_nodes} nodes"
    )
    backend.close()


def _compared(name: str, bundle: Bundle, file: str, feeds: dict[str, Tensor]) -> None:
    loads = {
        kind.__name__: lambda kind=kind: _loaded(kind(), bundle, file).close()
        for kind in (OnnxRuntime, _Unwatched)
    }
    taken = sample(loads, rounds=LOADS)
    with_look, without = (float(np.median(values)) / 1e6 for values in taken.values())
    print(f"{name}, onnxruntime: loading {with_look:.1f} ms, without a look {without:.1f} ms")
    watched, never = (_loaded(kind(), bundle, file) for kind in (OnnxRuntime, _Unwatched))
    calls = {"watched once": lambda: watched.infer(feeds), "never": lambda: never.infer(feeds)}
    found = ratio(*sample(calls, rounds=ROUNDS).values())
    what = f"{name}, onnxruntime: later calls {found}, lower bound"
    verdict(what, found.low, "<= 1.02", found.low <= 1.02)
    watched.close()
    never.close()


def _told(name: str, backend: Backend) -> None:
    start = time.perf_counter_ns()
    backend._read_placement(backend._compiled)  # type: ignore[attr-defined]
    ms = (time.perf_counter_ns() - start) / 1e6
    print(f"{name}, openvino: reading {ms:.1f} ms, {backend.placement().total_nodes} nodes")
    backend.close()


if __name__ == "__main__":
    main()
