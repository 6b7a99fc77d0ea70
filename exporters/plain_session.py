"""Run a variant's graph as ONNX defines it, and as the runtimes here compute it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.backends import BACKENDS, Options, backend_class
from medge.engine.backends.presence import absence
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.select import GPU_ONLY
from medge.engine.session import ports
from medge.errors import BundleError
from medge.exporters.network import Tensor
from medge.profiles.device import allowed_cores

if TYPE_CHECKING:
    from medge.engine.manifest import Manifest

FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr


def defined_outputs(
    graph: bytes, inputs: Iterable[Tensor], manifest: Manifest
) -> dict[str, Tensor]:
    """Return what a graph means: every node on its own, none fused or moved.

    Parameters
    ----------
    inputs
        Pictures (1, ...) one by one.

    Returns
    -------
    dict
        By the name of the output an array (pictures, classes), float32.
    """
    onnxruntime = silent_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = allowed_cores()
    options.log_severity_level = FATAL
    names = [output.name for output in manifest.outputs]
    fed = manifest.inputs[0].name
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        rows = [session.run(names, {fed: picture}) for picture in inputs]
    except Exception as error:  # its classes have no base of their own
        raise BundleError(
            "graph",
            f"onnxruntime {onnxruntime.__version__} cannot run a variant's graph "
            f"({type(error).__name__}). Leave this precision out of --precisions.",
        ) from None
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}


def runtime_outputs(
    graph: bytes, inputs: Iterable[Tensor], manifest: Manifest, but: str | None = None
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield, for each runtime for CPUs here that takes the graph, its name and its outputs.

    Parameters
    ----------
    but
        A runtime that is left out.
    """
    pictures = list(inputs)
    for name in BACKENDS:
        kind = backend_class(name)
        if name in (but, *GPU_ONLY) or not kind.answers or absence(name) is not None:
            continue
        outputs = backend_outputs(name, graph, pictures, manifest)
        if outputs is not None:
            yield name, outputs


def backend_outputs(
    name: str, graph: bytes, inputs: Iterable[Tensor], manifest: Manifest
) -> dict[str, Tensor] | None:
    """Return what one backend computes, None where it refuses the graph."""
    taken, given = ports(manifest)
    runtime = backend_class(name)()
    with closing(runtime):
        try:
            runtime.load(
                graph,
                Options(
                    device="cpu",
                    precision="fp32",
                    threads=allowed_cores(),
                    inputs=taken,
                    outputs=given,
                ),
            )
        except BundleError:
            return None
        rows = [
            {k: v.copy() for k, v in runtime.infer({taken[0].name: picture}).items()}
            for picture in inputs
        ]
    return {port.name: np.concatenate([row[port.name] for row in rows]) for port in given}
