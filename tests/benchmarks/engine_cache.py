"""From nothing to a proven session in a fresh process: engine built, and engine from the cache.

Run: ``python tests/benchmarks/engine_cache.py [BUNDLE ...]``, by default the built-in bundles. Each
line is one runtime and one variant; files are in the page cache, as on a second run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from pairs import ratio, sample

from medge.engine.bundle import built_in_names, find_bundle, open_bundle

CHILD = """
import sys
from pathlib import Path
from medge.engine.bundle import open_bundle
from medge.engine.cache import EngineCache
from medge.engine.select import choose
from medge.engine.selftest import open_proven
path, backend, precision, folder = sys.argv[1:]
with open_bundle(Path(path), wait=False) as bundle:
    choice = choose(bundle, backend=backend, precision=precision)
    session, _ = open_proven(bundle, choice, EngineCache(Path(folder)) if folder else None)
    print(int(session.from_cache), end="")
    session.close()
"""
ROUNDS = 7


def main() -> None:
    """Measure and print."""
    asked = sys.argv[1:] or [str(find_bundle(name)) for name in built_in_names()]
    for path in asked:
        with open_bundle(Path(path)) as bundle:
            variants = [variant.name for variant in bundle.manifest.variants]
        for backend in ("onnxruntime", "openvino"):
            if any(metadata.distributions(name=backend)):
                for variant in variants:
                    _compare(path, backend, variant)


def _compare(path: str, backend: str, variant: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MEDGE_HOME": folder}

        def opened(cache: str) -> str:
            return subprocess.run(
                [sys.executable, "-I", "-c", CHILD, path, backend, variant, cache],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            ).stdout

        try:
            opened(f"{folder}/cache")
        except subprocess.CalledProcessError as error:
            told = error.stderr.strip().splitlines()[-1]
            print(f"{Path(path).name} {backend} {variant}: {told[:90]}")
            return
        kept = opened(f"{folder}/cache") == "1"
        found = sample(
            {"built": lambda: opened(""), "cache": lambda: opened(f"{folder}/cache")},
            rounds=ROUNDS,
            warm=1,
        )
        gain = ratio(found["built"], found["cache"])
        built_ms, cache_ms = (float(np.median(found[name])) / 1e6 for name in ("built", "cache"))
        print(
            f"{Path(path).name} {backend} {variant}: built {built_ms:.0f} ms, with cache "
            f"{cache_ms:.0f} ms ({'kept' if kept else 'not worth keeping'}), times faster {gain}",
            flush=True,
        )


if __name__ == "__main__":
    main()
