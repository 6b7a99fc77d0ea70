"""What a build bundle for a Jetson holds and what was left out of it, as rows and one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from medge.exporters.jetson.write import BuildBundle

COLUMNS = ("part", "what", "value")


def build_object(made: BuildBundle) -> dict[str, Any]:
    """Return where the archive is, its digest, and build.json as it stands in it."""
    return {
        "schema": "medge.build-bundle/1",
        "path": str(made.path),
        "build_sha256": made.digest,
        "run_on_a_gpu": False,
        "max_abs": dict(made.max_abs),
        "build": msgspec.to_builtins(made.build),
    }


def build_rows(made: BuildBundle) -> Iterator[tuple[str, str, str]]:
    """Yield what was written, for what, each graph, and what was left out."""
    build = made.build
    yield ("written", "archive", str(made.path))
    yield ("written", "build.json", made.digest[:16])
    sm = f"sm_{build.compute_capability.replace('.', '')}"
    yield ("for", f"{build.board}, {sm}", f"JetPack {build.jetpack}, TensorRT {build.tensorrt}")
    for graph in build.graphs:
        kept = f", {len(graph.kept_fp32)} operators in fp32" if graph.kept_fp32 else ""
        value = f"{graph.precision}{kept}, opset {graph.opset}, batch {build.batch}"
        judged = f"drift {graph.drift or 'not judged'}"
        told = "the reference" if graph.variant == "fp32" else judged
        yield ("graph", graph.variant, f"{value}; {told}")
    for left in build.left_out:
        yield ("left out", left.variant, left.reason)
    yield ("next", "on the Jetson", "unpack it, then python3 run.py; README.txt says how")
